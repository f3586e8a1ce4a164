# SPDX-License-Identifier: MIT
"""usage.json and decisions.json: what is written is read back, and nothing else is read."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.typed_json import to_text
from harness.scenarios.evidence import (
    KILL_RECORD,
    PROC,
    PROC_MM_LIMITS,
    Candidate,
    Decision,
    Peak,
    ScenarioUsage,
    UsageSample,
    parse_decisions,
    parse_usage,
)

TEXTS = st.text(max_size=8)
SIZES = st.integers(0, 2**64)
TIMES = st.floats(-1e9, 1e9)
SOURCES = st.sampled_from((PROC, KILL_RECORD, PROC_MM_LIMITS))
SAMPLES = st.builds(UsageSample, TIMES, SIZES, SIZES, st.none() | SIZES, SOURCES)
PEAKS = st.builds(Peak, SIZES, SIZES, st.none() | SIZES)
USAGE = st.builds(
    ScenarioUsage,
    TEXTS,
    TEXTS,
    TEXTS,
    st.none() | TIMES,
    st.lists(SAMPLES).map(tuple),
    st.lists(PEAKS).map(tuple),
)
CANDIDATES = st.builds(
    Candidate,
    *(SIZES, st.integers(-(2**63), 2**64), SIZES, st.integers(-1000, 1000)),
    *(SIZES, SIZES, st.booleans(), SIZES, TEXTS),
)
DECISIONS = st.builds(
    Decision,
    *(TIMES, SIZES, TEXTS, SIZES, st.lists(CANDIDATES).map(tuple), st.none() | SIZES),
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
    expected = ScenarioUsage("a", "rss", "", None, (UsageSample(1.5, 10070, 4096, None),))
    assert parse_usage(text) == (expected,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"time": "1"},
            r"usage\.json: .*`float`, got `str` - at `\$\[0\]\.samples\[0\]\.time`",
        ),
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


@pytest.mark.parametrize(
    ("chosen", "expected", "is_disputed"),
    [(7, None, False), (7, 7, False), (7, 8, True)],
)
def test_a_model_that_was_not_asked_does_not_disagree(
    chosen: int, expected: int | None, is_disputed: bool
) -> None:
    (found,) = parse_decisions(json.dumps([{**CHOICE, "chosen": chosen, "expected": expected}]))
    assert found.is_disputed == is_disputed
