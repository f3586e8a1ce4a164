# SPDX-License-Identifier: MIT
"""A chart of a user's memory over time: where its lines and marks are. Pure.

Lengths are in the chart's own units. The x axis is time, in seconds of the kernel log; the y
axis is memory, in bytes from 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

from harness.scenarios.evidence import KILL_RECORD, UsageSample

# More samples than this look no different, and make the page large.
MOST_POINTS = 400
_MOST_TICKS = 5
# A limit above this multiple of the largest usage would flatten the line of the usage.
_FAR = 3
_ROOM = 1.1
# More numbers than this would overlap on so small a chart.
_MOST_LABELS = 9
_UNITS = ((10**9, "GB"), (10**6, "MB"), (10**3, "kB"), (1, "B"))


@dataclass(frozen=True)
class Box:
    """The chart's size, and the edges of the plot area in it."""

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int


# Small enough that the words are readable on a page 320 pixels wide.
BOX = Box(width=320, height=206, left=56, right=312, top=34, bottom=164)


@dataclass(frozen=True)
class KillMark:
    """A kill: its time, its user's RSS just before, and its number on the page."""

    time: float
    user_rss: int
    number: int


@dataclass(frozen=True)
class Tick:
    """A place on an axis, and its label."""

    at: float
    label: str


@dataclass(frozen=True)
class Mark:
    """The place of a kill; `label` is its number, or empty if there is no room."""

    x: float
    y: float
    label: str


@dataclass(frozen=True)
class Chart:
    """The chart. `memory` and `limits` are lists of points, as SVG writes them.

    `kernels` are the places of the sums that the kernel itself computed, except those at
    kills; `peak` is the height of the largest. `far_limit` is the highest of the limits that
    are too high for the chart.
    """

    memory: str
    kernels: tuple[tuple[float, float], ...]
    peak: float | None
    limits: tuple[str, ...]
    marks: tuple[Mark, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    far_limit: int | None
    box: Box = BOX


@dataclass(frozen=True)
class _Scale:
    """A linear scale from values to lengths along one axis."""

    low: float
    high: float
    begin: float
    end: float

    def place(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.begin + share * (self.end - self.begin), 1)


def draw(
    samples: Sequence[UsageSample],
    kills: Sequence[KillMark],
    span: Sequence[float] = (),
    peak: int | None = None,
) -> Chart:
    """Return the chart of one user's samples (at least one) and kills.

    It covers the times in `span`, too, so that two users' charts can be compared.
    `peak` is the largest sum that the kernel computed.
    """
    ordered = sorted(samples, key=lambda sample: sample.time)
    times = [*(sample.time for sample in ordered), *(kill.time for kill in kills), *span]
    sums = [*(sample.rss for sample in ordered), *(kill.user_rss for kill in kills)]
    top = max(*sums, peak or 0)
    limits = [sample.mm_max for sample in ordered if sample.mm_max is not None]
    near = [limit for limit in limits if top == 0 or limit <= _FAR * top]
    far = [limit for limit in limits if limit not in near]
    low, high = min(times), max(times)
    if high - low < 1e-6 * max(abs(high), 1.0):
        low, high = low - 0.5, high + 0.5
    ceiling = max([top, *near, 1]) * _ROOM
    x = _Scale(low, high, BOX.left, BOX.right)
    y = _Scale(0, ceiling, BOX.bottom, BOX.top)
    numbered = len(kills) <= _MOST_LABELS
    return Chart(
        memory=_points(
            [(x.place(time), y.place(rss)) for time, rss in _line(ordered, kills, high)]
        ),
        kernels=tuple(
            (x.place(one.time), y.place(one.rss))
            for one in ordered
            if one.is_kernels and one.source != KILL_RECORD
        ),
        peak=None if peak is None else y.place(peak),
        limits=tuple(_limits(ordered, set(near), x, y)),
        marks=tuple(
            Mark(x.place(kill.time), y.place(kill.user_rss), str(kill.number) if numbered else "")
            for kill in kills
        ),
        x_ticks=tuple(Tick(x.place(at), label) for at, label in _numbers(low, high)),
        y_ticks=tuple(Tick(y.place(at), label) for at, label in _sizes(ceiling)),
        far_limit=max(far, default=None),
    )


def thinned(samples: Sequence[UsageSample], most: int = MOST_POINTS) -> list[UsageSample]:
    """Return at most `most` samples, in order, with the ends, the peaks and the dips."""
    if len(samples) <= most:
        return list(samples)
    # The lowest and the highest of each bucket, and the two ends.
    size = math.ceil((len(samples) - 2) / ((most - 2) // 2))
    kept = {0, len(samples) - 1}
    for start in range(1, len(samples) - 1, size):
        bucket = range(start, min(start + size, len(samples) - 1))
        kept.add(min(bucket, key=lambda at: samples[at].rss))
        kept.add(max(bucket, key=lambda at: samples[at].rss))
    return [samples[at] for at in sorted(kept)]


def _line(
    samples: Sequence[UsageSample], kills: Sequence[KillMark], end: float
) -> list[tuple[float, int]]:
    """Return the times and bytes of the memory line.

    A kill's sum counts as a sample. The last sample is extended to the end, unless a kill
    follows it: the memory left after that kill was not measured.
    """
    killed = [(kill.time, kill.user_rss) for kill in kills]
    others = [
        one for one in samples if one.source != KILL_RECORD or (one.time, one.rss) not in killed
    ]
    seen = [(one.time, one.rss) for one in thinned(others)]
    found = sorted([*seen, *killed], key=itemgetter(0))
    if seen and found[-1] == seen[-1] and seen[-1][0] < end:
        found.append((end, seen[-1][1]))
    return found


def ticks(low: float, high: float, most: int = _MOST_TICKS) -> tuple[float, list[float]]:
    """Return a round step, and its multiples from `low` to `high`, at most `most` of them."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10, 20) if factor * power >= rough)
    first, last = math.ceil(low / step), math.floor(high / step)
    return step, [number * step for number in range(first, last + 1)][:most]


def _limits(samples: Sequence[UsageSample], near: set[int], x: _Scale, y: _Scale) -> Iterator[str]:
    """Yield the lines of limits: level between samples, with gaps where no limit is shown."""

    def level(sample: UsageSample) -> float | None:
        limit = sample.mm_max
        return y.place(limit) if limit is not None and limit in near else None

    # Each height, and the time from which the limit has it.
    steps = [(height, next(same).time) for height, same in groupby(samples, level)]
    ends = [*(time for _, time in steps[1:]), x.high]
    line: list[tuple[float, float]] = []
    for (height, begin), end in zip(steps, ends, strict=True):
        if height is not None:
            line += [(x.place(begin), height), (x.place(end), height)]
        elif line:
            yield _points(line)
            line = []
    if line:
        yield _points(line)


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in points)


def _numbers(low: float, high: float) -> list[tuple[float, str]]:
    step, found = ticks(low, high)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return [(at, f"{at:.{digits}f}") for at in found]


def _sizes(ceiling: float) -> list[tuple[float, str]]:
    unit, name = next((unit for unit in _UNITS if ceiling >= unit[0]), _UNITS[-1])
    _, found = ticks(0, ceiling)
    return [(at, f"{at / unit:g} {name}" if at else "0") for at in found]
