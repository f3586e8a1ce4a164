# SPDX-License-Identifier: MIT
"""docs/benchmarks.md: a run of the benchmark as a page to read."""

from __future__ import annotations

import re
import shlex
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

from harness.bench import plan as bench_plan
from harness.bench import plot
from harness.bench.baselines import BASELINES, STOCK
from harness.bench.goals import (
    AGREEMENT_PAGES,
    AGREEMENT_PAGES_EACH,
    Judgement,
    agrees,
    judge,
    mean_over,
    over,
    overhead,
    time_ratio,
)
from harness.bench.result import JSON, BenchResult, Count, KillCase, Measured, Timing, from_json
from harness.bench.stats import Estimate, percentile
from harness.core.errors import UsageError
from harness.core.paths import REPO, RESULTS
from harness.targets.model import DEFAULT_TARGET
from harness.targets.table import TARGETS
from harness.ui.workspace import Workspace

_HEAD = """\
<!-- SPDX-License-Identifier: MIT -->
<!-- Written by ./inv bench-docs from the results of ./inv bench: change those, not this. -->
# Benchmarks
"""
_KERNEL = re.compile(r"^<!-- (\S+): -->\n.*?^<!-- :\1 -->\n", re.MULTILINE | re.DOTALL)
_METHOD = f"""\
## How it is measured

Instructions are counted, not timed: QEMU runs with `-icount shift=0,sleep=off` and one CPU, so
that the guest's clock goes on by a nanosecond with each instruction, whatever else the host does.
The layout of programs is not randomised there, or forks would copy now more, now fewer page
tables. A program (`ndk_tests/bench_work`) measures several times, and the first time is left out;
it is run five times in each setting, on a machine that was booted for it, so that all kernels do
the same in the same order. "Between" is between the smallest and the largest ratio of two runs in
the same place of that order. The clock's own interrupts are in it.

Wall-clock times are of guests with two CPUs that all run at the same time, one work after the other
on each of them in turns; a ratio is of times of the same round, with a 95 % interval by bootstrap.

For a kill the processes of a user with a limit grow a page at a time until the first is dead. Each
counts its pages, and remembers the time of each; what they had before is read from their page
tables. From outside the overshoot is their sum at the time that the kernel's log gives for the
kill, less the limit; from inside it is `uRSS` less `mm_max` of the kill's record. They agree if
they differ by at most {AGREEMENT_PAGES} pages and {AGREEMENT_PAGES_EACH} for each process. The
larger one counts. Processes stop to grow {bench_plan.MOST_ABOVE_MIB} MB above the limit: what is
marked + would have got further. The latency is from the page that crossed the limit until the
victim could be waited for, which is when its memory is free.
"""


def page(result: BenchResult, before: str = "") -> str:
    """Return the text of docs/benchmarks.md; raise ValueError for a run that did not end.

    The page's sections on other kernels are taken from `before`, the present text.
    """
    if not result.finished:
        raise ValueError("the run did not come to its end")
    kernel = kernel_of(result)
    found = {match[1]: match[0] for match in _KERNEL.finditer(before)}
    found[kernel] = "\n".join(_of_kernel(kernel, result))
    order = [*TARGETS, *sorted(found.keys() - TARGETS.keys())]
    return "\n".join([_HEAD, *(found[name] for name in order if name in found), _METHOD])


def kernel_of(result: BenchResult) -> str:
    """Return the name of the kernel that was measured."""
    words = shlex.split(result.command)
    return words[words.index("--kernel") + 1] if "--kernel" in words else DEFAULT_TARGET


def picture(kernel: str) -> str:
    """Return the file name of a kernel's picture, which is beside the page."""
    return f"benchmarks-{kernel}.svg"


def _of_kernel(kernel: str, result: BenchResult) -> list[str]:
    """Return the page's section on one kernel, between marks by which page() finds it again."""
    measured = result.measured
    published = TARGETS[kernel].published if kernel in TARGETS else ""
    return [
        f"<!-- {kernel}: -->\n## {kernel}\n",
        _origin(result),
        "### Goals\n",
        _goals(judge(measured)),
        f"![What it costs, and how far above the limit]({picture(kernel)})\n",
        "### The alternatives\n",
        _alternatives(result),
        *_section("### Instructions, over stock's", _instructions(measured)),
        *_section("### Wall-clock, over stock's", _times(measured)),
        *_section("### Kills", _kills(measured)),
        *_section(
            f"### {bench_plan.CROWD_PROCESSES} processes of {bench_plan.CROWD_MIB} MB over a limit "
            f"of {bench_plan.CROWD_LIMIT_MIB} MB",
            _crowds(measured),
        ),
        *_section("### What others have published", published),
        f"<!-- :{kernel} -->\n",
    ]


def _section(title: str, text: str) -> list[str]:
    """Return a section; nothing if its text is empty."""
    return [f"{title}\n", text] if text else []


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table, right-aligned but for its first column; empty without rows."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    if not lines:
        return ""
    rule = "|---|" + "---:|" * (len(head) - 1)
    return "\n".join(["| " + " | ".join(head) + " |", rule, *lines]) + "\n"


def _origin(result: BenchResult) -> str:
    rows = [("command", f"`{result.command}`"), ("when", result.when), *result.machine.items()]
    rows += [(f"kernel: {name}", f"`{release}`") for name, release in result.kernels.items()]
    return "| | |\n|---|---|\n" + "".join(f"| {name} | {value} |\n" for name, value in rows)


def _goals(judgements: Sequence[Judgement]) -> str:
    return table(
        ("figure", "goal", "measured", "between", "verdict", "the alternatives"),
        (
            (one.goal.figure, one.goal.goal, one.value, one.spread, one.verdict.value, one.beside)
            for one in judgements
        ),
    )


def _alternatives(result: BenchResult) -> str:
    return "".join(
        f"- **{name}**: {BASELINES[name].text}\n" for name in result.kernels if name in BASELINES
    )


def _ratio(estimate: Estimate | None, form: str = "{:.4f}") -> str:
    if estimate is None:
        return ""
    low, high = form.format(estimate.low), form.format(estimate.high)
    value = form.format(estimate.value)
    return value if low == high else f"{value} ({low} … {high})"


def _instructions(measured: Measured) -> str:
    """Return a table with a row for each setting and work, and a column for each kernel."""
    names = _compared(measured.counts)
    keys = dict.fromkeys((c.setting, c.work) for c in measured.counts if c.baseline in names)
    return table(
        ("setting, work", *names),
        (
            (
                f"{bench_plan.SETTINGS[setting].text}: {work}",
                *(_ratio(overhead(measured, name, setting, work)) for name in names),
            )
            for setting, work in sorted(keys, key=_place)
        ),
    )


def _compared(values: Sequence[Count] | Sequence[Timing]) -> list[str]:
    """Return the names of the kernels, but for the stock one, that have some of the values."""
    measured = {one.baseline for one in values} - {STOCK.name}
    return [name for name in BASELINES if name in measured]


def _place(key: tuple[str, str]) -> tuple[int, int]:
    """Return the sort key: settings in their order, and in each the works in theirs."""
    works = ["touch", "touch-less", "fork", "storm", *(w.name for w in bench_plan.REPORT_2020)]
    return list(bench_plan.SETTINGS).index(key[0]), works.index(key[1])


def _times(measured: Measured) -> str:
    names = _compared(measured.timings)
    works = dict.fromkeys(t.work for t in measured.timings)
    return table(
        ("work", *names),
        (
            (work, *(_ratio(time_ratio(measured, name, work), "{:.3f}") for name in names))
            for work in works
        ),
    )


def _kills(measured: Measured) -> str:
    return table(
        (
            *("kernel, processes and limit", "kills", "mean overshoot", "worst", "agree"),
            *("latency: median", "p99", "worst, ms"),
        ),
        (_kill_row(case) for case in measured.kill_cases),
    )


def _kill_row(case: KillCase) -> tuple[str, ...]:
    title = f"{case.baseline}: {case.processes} at {case.limit_mib} MB"
    if not case.kills:
        return (title, f"0 of {case.wanted}", *[""] * 6)
    pages = [over(kill) for kill in case.kills]
    capped = "+" if any(kill.capped for kill in case.kills) else ""
    latencies = [kill.latency_us / 1000 for kill in case.kills]
    recorded = any(kill.inside is not None for kill in case.kills)
    agreeing = sum(agrees(case, kill) for kill in case.kills)
    return (
        title,
        f"{len(case.kills)} of {case.wanted}",
        f"{mean_over(case).value:.1f}{capped}",
        f"{max(pages)}{capped}",
        f"{agreeing} of {len(case.kills)}" if recorded else "no record",
        f"{median(latencies):.1f}",
        f"{percentile(latencies, 0.99):.1f}",
        f"{max(latencies):.1f}",
    )


def _crowds(measured: Measured) -> str:
    rows = []
    for name in BASELINES:
        found = [one for one in measured.crowds if one.baseline == name]
        if found:
            times = [one.us / 1000 for one in found]
            kills = [one.kills for one in found]
            within = sum(one.within for one in found)
            rows.append(
                (
                    name,
                    f"{within} of {len(found)}",
                    f"{median(times):.0f}",
                    f"{max(times):.0f}",
                    f"{min(kills)} … {max(kills)}",
                )
            )
    return table(("kernel", "within the limit again", "median ms", "worst ms", "killed"), rows)


def _without_folders(result: BenchResult) -> BenchResult:
    """Return the result with DIR for each folder of this machine (a local source)."""

    def told(word: str) -> str:
        return "DIR" if word.startswith("/") else word

    return replace(
        result,
        command=shlex.join(map(told, shlex.split(result.command))),
        machine={name: told(value) for name, value in result.machine.items()},
    )


def publish(
    ws: Workspace, result: Path | None, results: Path = RESULTS, docs: Path = REPO / "docs"
) -> Path:
    """Write the page and its picture into `docs`; return the page's path.

    The page's sections on other kernels stay. Raise UsageError if there is no such result, or
    it cannot be shown.
    """
    folder = result or _last(results)
    written = docs / "benchmarks.md"
    try:
        loaded = _without_folders(from_json((folder / JSON).read_text()))
        text = page(loaded, written.read_text() if written.is_file() else "")
    except OSError as error:
        raise UsageError(f"there is no {folder / JSON}", hint="./inv bench makes one") from error
    except ValueError as error:
        raise UsageError(f"{folder / JSON}: {error}", hint="./inv bench makes another") from error
    with tempfile.TemporaryDirectory() as scratch:
        plot.draw(loaded, Path(scratch))
        shutil.copyfile(Path(scratch, f"{plot.NAME}.svg"), docs / picture(kernel_of(loaded)))
    written.write_text(text)
    ws.reporter.result(f"{written}, from {folder}")
    return written


def _last(results: Path) -> Path:
    """Return the folder of the last benchmark run: folder names begin with the time."""
    found = sorted(
        path.parent for path in results.glob(f"*/{JSON}") if not path.parent.is_symlink()
    )
    if not found:
        raise UsageError("there are no results of the benchmark", hint="./inv bench makes some")
    return found[-1]
