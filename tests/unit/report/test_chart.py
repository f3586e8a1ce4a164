# SPDX-License-Identifier: MIT
"""The picture of a user's memory: everything is in it, in the right order and place."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.report.chart import BOX, MOST_POINTS, Chart, KillMark, draw, thinned, ticks
from harness.scenarios.evidence import KILL_RECORD, PROC, PROC_MM_LIMITS, UsageSample

SIZES = st.integers(0, 2**64)
TIMES = st.floats(0, 1e7)
SOURCES = st.sampled_from((PROC, PROC_MM_LIMITS))
SAMPLES = st.builds(UsageSample, TIMES, st.just(10070), SIZES, st.none() | SIZES, SOURCES)
KILLS = st.builds(KillMark, TIMES, SIZES, st.integers(1, 99))


def sample(time: float, rss: int, mm_max: int | None = None) -> UsageSample:
    return UsageSample(time, 10070, rss, mm_max)


def points(text: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in text.split())]


@given(st.lists(SAMPLES, min_size=1, max_size=30), st.lists(KILLS, max_size=12))
def test_everything_is_inside(samples: list[UsageSample], kills: list[KillMark]) -> None:
    chart = draw(samples, kills)
    lines = [points(chart.memory), *(points(limit) for limit in chart.limits)]
    marks = [(mark.x, mark.y) for mark in chart.marks]
    for x, y in [*(point for line in lines for point in line), *marks]:
        assert BOX.left <= x <= BOX.right
        assert BOX.top <= y <= BOX.bottom
    for line in lines:
        assert [x for x, _ in line] == sorted(x for x, _ in line)
    # One more where the last sample is not the last moment.
    assert len(points(chart.memory)) - len(samples) - len(kills) in {0, 1}
    assert len(chart.marks) == len(kills)
    assert all(BOX.left <= tick.at <= BOX.right for tick in chart.x_ticks)
    assert all(BOX.top <= tick.at <= BOX.bottom for tick in chart.y_ticks)
    assert len({tick.label for tick in chart.y_ticks}) == len(chart.y_ticks)


@given(st.floats(-1e9, 1e9), st.floats(1e-3, 1e9))
def test_ticks_are_round_and_few(low: float, length: float) -> None:
    high = low + length
    step, found = ticks(low, high)
    assert len(found) <= 5
    assert all(low - step / 1e3 <= at <= high + step / 1e3 for at in found)
    assert round(step / 10 ** math.floor(math.log10(step) + 1e-9)) in (1, 2, 5)


def test_more_memory_is_higher_and_later_is_further_right() -> None:
    (x0, y0), (x1, y1) = points(draw([sample(1, 0), sample(2, 100)], ()).memory)
    assert (x0, y0) == (BOX.left, BOX.bottom)
    assert x1 == BOX.right
    assert y1 < y0


def test_samples_need_no_order() -> None:
    ordered = [sample(1, 5), sample(2, 9), sample(3, 7)]
    assert draw(ordered[::-1], ()) == draw(ordered, ())


def test_one_sample_is_a_picture() -> None:
    chart = draw([sample(7, 5, 10)], [KillMark(7, 11, 1)])
    assert BOX.left < points(chart.memory)[0][0] < BOX.right


def limits_of(*limits: int | None) -> Chart:
    return draw([sample(at, 50, limit) for at, limit in enumerate(limits)], ())


def test_a_limit_is_level_until_it_changes() -> None:
    (line,) = limits_of(100, 100, 60).limits
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = points(line)
    assert (x0, x3) == (BOX.left, BOX.right)
    assert y0 == y1 < y2 == y3
    assert x1 == x2


def test_where_there_is_no_limit_there_is_no_line() -> None:
    assert limits_of(None, None).limits == ()
    first, second = limits_of(100, None, 100, None).limits
    assert points(first)[-1][0] < points(second)[0][0]


def test_a_limit_far_above_is_told_and_not_drawn() -> None:
    chart = limits_of(100, 3_000_000_000)
    assert chart.far_limit == 3_000_000_000
    assert len(chart.limits) == 1
    assert min(y for _, y in points(chart.memory)) < BOX.bottom - 20


def test_a_kill_may_be_higher_and_later_than_all_samples() -> None:
    chart = draw([sample(1, 50)], [KillMark(9, 500, 1)])
    (mark,) = chart.marks
    assert (mark.x, mark.label) == (BOX.right, "1")
    assert mark.y < points(chart.memory)[0][1]


def test_the_memory_goes_through_the_kills_and_on_to_the_end() -> None:
    chart = draw([sample(1, 50), sample(3, 20)], [KillMark(2, 100, 1)], (0, 5))
    (mark,) = chart.marks
    first, second, third, fourth = points(chart.memory)
    assert first[0] > BOX.left
    assert second == (mark.x, mark.y)
    assert third[1] == fourth[1] > first[1]
    assert fourth[0] == BOX.right


def test_what_is_left_behind_a_last_kill_nobody_has_seen() -> None:
    chart = draw([sample(1, 50)], [KillMark(2, 100, 1)], (0, 5))
    assert points(chart.memory)[-1] == (chart.marks[0].x, chart.marks[0].y)
    assert points(chart.memory)[-1][0] < BOX.right


def test_the_kernels_own_sums_are_marked_but_for_those_at_kills() -> None:
    at_kill = UsageSample(2, 10070, 100, 60, KILL_RECORD)
    at_end = UsageSample(3, 10070, 20, 60, PROC_MM_LIMITS)
    chart = draw([sample(1, 50), at_kill, at_end], [KillMark(2, 100, 1)], peak=110)
    (mark,) = chart.marks
    first, second, third = points(chart.memory)
    # The kill is there once.
    assert second == (mark.x, mark.y)
    assert chart.kernels == (third,)
    assert chart.peak is not None
    assert BOX.top <= chart.peak < mark.y < first[1]
    assert draw([sample(1, 50)], ()).peak is None


def test_a_kill_that_only_the_samples_tell_is_in_the_line() -> None:
    chart = draw([sample(1, 50), UsageSample(2, 10070, 100, 60, KILL_RECORD)], ())
    assert points(chart.memory)[1][1] < points(chart.memory)[0][1]


def test_there_may_be_nothing_but_a_kill() -> None:
    chart = draw([UsageSample(2, 10070, 100, 60, KILL_RECORD)], [KillMark(2, 100, 1)])
    assert len(points(chart.memory)) == 1


def test_many_kills_have_no_numbers() -> None:
    marks = draw([sample(1, 50)], [KillMark(at, 50, at) for at in range(1, 40)]).marks
    assert {mark.label for mark in marks} == {""}


@pytest.mark.parametrize(
    ("rss", "label"), [(400, "B"), (90_000, "kB"), (100_000_000, "MB"), (3 * 10**9, "GB")]
)
def test_sizes_have_a_unit_that_fits(rss: int, label: str) -> None:
    first, *rest = draw([sample(1, rss)], ()).y_ticks
    assert first.label == "0"
    assert rest
    assert all(tick.label.endswith(f" {label}") for tick in rest)


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=2000), st.integers(4, 500))
def test_thinning_keeps_ends_and_extremes(sizes: list[int], most: int) -> None:
    samples = [sample(at, size) for at, size in enumerate(sizes)]
    kept = thinned(samples, most)
    assert len(kept) <= max(most, 0)
    assert (kept[0], kept[-1]) == (samples[0], samples[-1])
    assert max(one.rss for one in kept) == max(sizes)
    assert min(one.rss for one in kept) == min(sizes)
    assert [one.time for one in kept] == sorted({one.time for one in kept})
    assert kept == samples or len(samples) > most


def test_a_picture_of_many_samples_is_small() -> None:
    chart = draw([sample(at, at % 7) for at in range(50_000)], ())
    assert len(points(chart.memory)) <= MOST_POINTS
