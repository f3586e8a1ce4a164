# SPDX-License-Identifier: MIT
"""What users used over time; usage.json and decisions.json, which read back, and nothing else."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.typed_json import to_text
from harness.kernel_output.proc_mm_limits import LimitEntry
from harness.kernel_output.programs_output import Usage
from harness.kernel_output.records import KillRecord
from harness.scenarios.evidence import (
    KILL_RECORD,
    PROC,
    PROC_MM_LIMITS,
    Candidate,
    Decision,
    LimitChange,
    Meanwhile,
    Peak,
    ScenarioUsage,
    parse_decisions,
    parse_usage,
    samples,
    samples_of,
)
from harness.scenarios.evidence import UsageSample as Sample

TEXTS = st.text(max_size=8)
SIZES = st.integers(0, 2**64)
TIMES = st.floats(-1e9, 1e9)
SOURCES = st.sampled_from((PROC, KILL_RECORD, PROC_MM_LIMITS))
SAMPLES = st.builds(Sample, TIMES, SIZES, SIZES, st.none() | SIZES, SOURCES)
PEAKS = st.builds(Peak, SIZES, SIZES, st.none() | SIZES)
USAGE = st.builds(
    ScenarioUsage,
    *(TEXTS, TEXTS, TEXTS, st.none() | TIMES),
    *(st.lists(SAMPLES, max_size=4).map(tuple), st.lists(PEAKS, max_size=4).map(tuple)),
)
UIDS = st.integers(10000, 10003)
USED = st.builds(Usage, TIMES, UIDS, SIZES)
CHANGES = st.builds(LimitChange, TIMES, UIDS, st.none() | SIZES)
CANDIDATES = st.builds(
    Candidate,
    *(SIZES, st.integers(-(2**63), 2**64), SIZES, st.integers(-1000, 1000)),
    *(SIZES, SIZES, st.booleans(), SIZES, TEXTS),
)
DECISIONS = st.builds(
    Decision,
    *(TIMES, SIZES, TEXTS, SIZES, st.lists(CANDIDATES, max_size=4).map(tuple)),
    st.none() | SIZES,
    *(st.lists(SIZES).map(tuple), st.booleans(), TEXTS, TEXTS),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(("scenario", "policy", "samples", "time", "uid", "candidates")), inner
        )
    ),
    max_leaves=8,
)
SAMPLE = {"time": 1.5, "uid": 10070, "rss": 4096, "mm_max": None}
CHOICE = {
    "scenario": "a",
    "policy": "rss",
    "trigger": "alloc",
    "time": 1,
    "uid": 10070,
    "chosen": 7,
    "expected": None,
    "candidates": [],
}


@given(st.lists(USAGE, max_size=3).map(tuple))
def test_usage_reads_back(usage: tuple[ScenarioUsage, ...]) -> None:
    assert parse_usage(to_text(usage)) == usage


@given(st.lists(DECISIONS, max_size=3).map(tuple))
def test_decisions_read_back(decisions: tuple[Decision, ...]) -> None:
    assert parse_decisions(to_text(decisions)) == decisions


@given(JSON)
def test_anything_else_is_one_kind_of_error(value: object) -> None:
    text = json.dumps(value)
    for parse in (parse_usage, parse_decisions):
        found: object = ()
        with suppress(ValueError):
            found = parse(text)
        assert isinstance(found, tuple)


def test_of_old_files_trigger_begin_source_and_peaks_may_be_missing() -> None:
    text = json.dumps([{"scenario": "a", "policy": "rss", "samples": [SAMPLE]}])
    expected = ScenarioUsage("a", "rss", "", None, (Sample(1.5, 10070, 4096, None),))
    assert parse_usage(text) == (expected,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"time": "1"}, r"usage\.json: .*`float`, got `str` - at `\$\[0\]\.samples\[0\]\.time`"),
        ({"time": True}, r"`float`, got `bool` - at .*\.time"),
        ({"uid": -1}, r"`int` >= 0 - at .*\.uid"),
        ({"rss": 1.5}, r"`int`, got `float` - at .*\.rss"),
        ({"rss": 2**80}, "no number of a sensible size"),
        ({"mm_max": "none"}, r"`int \| null`, got `str` - at .*\.mm_max"),
        ({"source": 7}, r"`str`, got `int` - at .*\.source"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, object], message: str) -> None:
    text = json.dumps([{"scenario": "a", "policy": "rss", "samples": [{**SAMPLE, **changes}]}])
    with pytest.raises(ValueError, match=message):
        parse_usage(text)


@pytest.mark.parametrize(
    "text",
    ["", "{", "{}", "[1]", '"', "[" * 100_000, '[{"scenario": NaN}]', "[" + "9" * 5000 + "]"],
)
def test_no_json_is_an_error(text: str) -> None:
    for parse in (parse_usage, parse_decisions):
        with pytest.raises(ValueError, match=r"^(usage|decisions)\.json"):
            parse(text)


@pytest.mark.parametrize("time", ["NaN", "Infinity", "1e999"])
def test_a_time_is_finite(time: str) -> None:
    text = json.dumps([CHOICE]).replace('"time": 1', f'"time": {time}')
    with pytest.raises(ValueError, match=r"decisions\.json"):
        parse_decisions(text)


def test_a_model_that_was_not_asked_does_not_disagree() -> None:
    for expected, is_disputed in ((None, False), (7, False), (8, True)):
        (found,) = parse_decisions(json.dumps([{**CHOICE, "chosen": 7, "expected": expected}]))
        assert found.is_disputed == is_disputed


def test_each_sample_has_the_limit_by_then() -> None:
    usage = [Usage(2.0, 10070, 50), Usage(4.0, 10070, 70), Usage(4.5, 10071, 5)]
    limits = [LimitChange(3.0, 10070, 60), LimitChange(5.0, 10070, None)]
    assert samples(usage, limits) == (
        Sample(2.0, 10070, 50, None),
        Sample(3.0, 10070, 50, 60),
        Sample(4.0, 10070, 70, 60),
        Sample(4.5, 10071, 5, None),
        Sample(5.0, 10070, 70, None),
    )


@given(st.lists(USED), st.lists(CHANGES))
def test_nothing_is_lost_and_time_goes_on(usage: list[Usage], limits: list[LimitChange]) -> None:
    found = samples(usage, limits)
    assert len(found) == len(usage) + len(limits)
    assert [one.time for one in found] == sorted(one.time for one in found)
    seen = {(one.time, one.uid, one.rss) for one in found}
    assert {(one.time, one.uid, one.rss) for one in usage} <= seen


def test_both_ends_of_a_time_belong_to_it() -> None:
    usage = [Usage(time, 10070, 1) for time in (1.0, 2.0, 3.0, 4.0)]
    found = samples_of(Meanwhile(2.0, 3.0), usage, [], ahead=0.0)
    assert [one.time for one in found] == [2.0, 3.0]


def entry(uid: int, rss: int, peak: int, last_uid: int | None = None) -> LimitEntry:
    return LimitEntry(uid, 60, rss, peak, 0, 0, 0, "", last_uid)


def test_the_kernels_own_sums_stand_among_those_that_were_seen() -> None:
    kill = KillRecord(13.25, 10070, 90, 60, 7, 50, None, "rss", "alloc", None, "x")
    unplaced = replace(kill, time=None)
    entries = (entry(10070, 40, 95), entry(10071, 0, 0), entry(10100, 0, 0, last_uid=10200))
    meanwhile = Meanwhile(2.0, 5.0, (LimitChange(2.5, 10070, 60),), 4.0, entries)
    seen = [Usage(1.0, 10070, 1), Usage(3.0, 10070, 50), Usage(6.0, 10070, 1)]
    assert samples_of(meanwhile, seen, [kill, unplaced], ahead=10.0) == (
        Sample(12.5, 10070, 0, 60),
        Sample(13.0, 10070, 50, 60),
        Sample(13.25, 10070, 90, 60, KILL_RECORD),
        Sample(14.0, 10070, 40, 60, PROC_MM_LIMITS),
    )
    # Nobody else had a limit and used anything.
    assert meanwhile.peaks == (Peak(10070, 95, 60),)
    not_read = Meanwhile(2.0, 5.0)
    assert samples_of(not_read, [], [], ahead=0.0) == ()
    assert not_read.peaks == ()
