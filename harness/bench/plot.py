# SPDX-License-Identifier: MIT
"""The page of charts that a benchmark run writes, as SVG and PNG."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import TypeVar

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from harness.bench import plan as bench_plan
from harness.bench.baselines import BASELINES, PATCHED, PATCHED_4096, SCAN_ALWAYS, STOCK
from harness.bench.goals import over, overhead, time_ratio
from harness.bench.result import BenchResult, Measured
from harness.bench.stats import Estimate

NAME = "bench"
# Okabe and Ito's colours, which colour-blind readers can tell apart. A baseline has the same
# colour in every chart.
_COLOURS = ("#999999", "#0072B2", "#56B4E9", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#000000")
_MARKERS = "xoDsv^P*"
_STYLE = {
    name: (colour, marker)
    for name, colour, marker in zip(BASELINES, _COLOURS, _MARKERS, strict=True)
}
_WORKS = (*(work.name for work in bench_plan.REPORT_2020), "touch", "fork", "storm")


def draw(result: BenchResult, folder: Path) -> None:
    """Write bench.svg and bench.png."""
    measured = result.measured
    # With a fixed salt the same values make the same file, byte for byte.
    with mpl.rc_context({"svg.hashsalt": NAME, "svg.fonttype": "none", "font.size": 8}):
        figure = Figure(figsize=(11.7, 12), layout="constrained")
        axes = figure.subplot_mosaic("III;TTT;KPL")
        what = "Instructions over stock's, a limit of its own far above"
        _panel(axes["I"], what, _draw_ratios, instruction_ratios(measured))
        what = "Wall-clock over stock's, the same, 95 % intervals"
        _panel(axes["T"], what, _draw_ratios, time_ratios(measured))
        _panel(axes["K"], "Overshoot of each kill", _draw_overshoot, overshoots(measured))
        _panel(axes["P"], "Growth with the user's processes", _draw_growth, growth(measured))
        _panel(axes["L"], "Growth with others' limits", _draw_limits, limits_growth(measured))
        figure.suptitle(f"{result.command}, {result.when}")
        figure.savefig(folder / f"{NAME}.svg", metadata={"Date": None})
        figure.savefig(folder / f"{NAME}.png", dpi=150, metadata={"Software": None})


Ratios = dict[str, dict[str, Estimate]]
Points = list[tuple[int, float]]
_Values = TypeVar("_Values", Ratios, dict[str, list[int]], dict[str, Points], Points)


def instruction_ratios(measured: Measured) -> Ratios:
    """Return the ratios by baseline and work, where the user has a limit far above its usage."""
    return _ratios(lambda name, work: overhead(measured, name, bench_plan.OWN.name, work))


def time_ratios(measured: Measured) -> Ratios:
    """Return the same ratios of wall-clock times."""
    return _ratios(lambda name, work: time_ratio(measured, name, work))


def _ratios(ratio: Callable[[str, str], Estimate | None]) -> Ratios:
    """Return the ratios that were measured, by a baseline's name and a work's."""
    ratios: Ratios = {}
    for name, work in product((one.name for one in BASELINES.values() if one.has_limits), _WORKS):
        if (found := ratio(name, work)) is not None:
            ratios.setdefault(name, {})[work] = found
    return ratios


def overshoots(measured: Measured) -> dict[str, list[int]]:
    """Return, by baseline, how many pages above the limit each kill came, sorted."""
    return {
        name: sorted(over(kill) for case in measured.cases_of(name) for kill in case.kills)
        for name in BASELINES
        if measured.cases_of(name)
    }


def growth(measured: Measured) -> dict[str, Points]:
    """Return, by baseline, the number of the user's processes, and the instructions per page."""
    points: dict[str, Points] = {}
    for name, setting in product((STOCK.name, PATCHED.name, SCAN_ALWAYS.name), bench_plan.CROWDED):
        if count := measured.count(name, setting.name, bench_plan.TOUCH_LESS.name):
            points.setdefault(name, []).append((setting.processes, fmean(count.values)))
    return points


def limits_growth(measured: Measured) -> Points:
    """Return pairs: how many other users have a limit, and a page's cost over stock's."""
    found = [
        (setting.others, overhead(measured, name, setting.name, bench_plan.TOUCH.name))
        for name, setting in (
            (PATCHED.name, bench_plan.NONE),
            (PATCHED.name, bench_plan.OTHERS_10),
            (PATCHED_4096.name, bench_plan.OTHERS_4096),
        )
    ]
    return [(count, ratio.value) for count, ratio in found if ratio is not None]


# --- panels -----------------------------------------------------------------------------


def _panel(
    axes: Axes, title: str, draw_values: Callable[[Axes, _Values], None], values: _Values
) -> None:
    """Draw a chart of the values; if there are none, say so in its place."""
    axes.set_title(title, loc="left")
    if values:
        draw_values(axes, values)
    else:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "not measured", ha="center", va="center", transform=axes.transAxes)


def _draw_ratios(axes: Axes, ratios: Ratios) -> None:
    works = [work for work in _WORKS if any(work in found for found in ratios.values())]
    width = 0.8 / len(ratios)
    for number, (name, found) in enumerate(ratios.items()):
        colour, marker = _STYLE[name]
        shift = (number + 0.5) * width - 0.4
        values = [found[work] for work in works if work in found]
        axes.errorbar(
            [place + shift for place, work in enumerate(works) if work in found],
            [100 * (one.value - 1) for one in values],
            yerr=(
                [100 * (one.value - one.low) for one in values],
                [100 * (one.high - one.value) for one in values],
            ),
            fmt=marker,
            color=colour,
            markersize=4,
            capsize=2,
            label=name,
        )
    axes.axhline(0, color="#999999", linewidth=0.8)
    axes.set_yscale("symlog", linthresh=1)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_ylabel("% more")
    axes.set_xlim(-0.5, len(works) - 0.5)
    axes.margins(y=0.15)
    axes.set_xticks(range(len(works)), ["fork+exit" if one == "fork" else one for one in works])
    axes.set_xlabel("processes x MB each")
    axes.grid(visible=True, axis="y", alpha=0.3)
    axes.legend(ncols=len(ratios), loc="upper left")


def _draw_overshoot(axes: Axes, found: dict[str, list[int]]) -> None:
    for name, pages in found.items():
        # A logarithmic axis has no 0: a kill without overshoot is drawn at half a page.
        shown = [max(size, 0.5) for size in pages]
        axes.step(
            [shown[0], *shown],
            [number / len(pages) for number in range(len(pages) + 1)],
            where="post",
            color=_STYLE[name][0],
            label=name,
        )
    axes.set_xscale("log")
    axes.set_xlabel("pages above the limit (none: 0.5)")
    axes.set_ylabel("share of the kills")
    axes.grid(visible=True, alpha=0.3)
    # Below the chart, or the legend would hide some of the lines.
    axes.legend(ncols=3, loc="upper left", bbox_to_anchor=(0, -0.18), fontsize=7)


def _draw_growth(axes: Axes, points: dict[str, Points]) -> None:
    for name, found in points.items():
        _draw_line(axes, name, found)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("processes")
    axes.set_ylabel("instructions per page")
    axes.grid(visible=True, alpha=0.3)
    axes.legend()


def _draw_limits(axes: Axes, found: Points) -> None:
    _draw_line(axes, PATCHED.name, found)
    axes.set_xscale("symlog", linthresh=1)
    axes.set_xlabel("limits of other users")
    axes.set_ylabel("instructions per page, over stock's")
    axes.grid(visible=True, alpha=0.3)


def _draw_line(axes: Axes, name: str, found: Points) -> None:
    colour, marker = _STYLE[name]
    axes.plot(*zip(*found, strict=True), color=colour, marker=marker, label=name)
