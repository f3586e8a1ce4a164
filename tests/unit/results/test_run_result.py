# SPDX-License-Identifier: MIT
"""A result folder read back: as the run saw it, or an error; a pass is never made up."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from report_results import judged, kill, run_of
from summaries import summaries, summary, verdict

from harness.results.folder import _kills, _verdict
from harness.results.run_result import RunResult, Word, first_reason, parse_run
from harness.results.summary import Status, Summary
from harness.scenarios.verdict import Outcome


def read(run: Summary, **changes: Any) -> RunResult:
    return parse_run(json.dumps({**_verdict(run), **changes}), json.dumps(_kills(run)))


@given(summaries())
def test_every_run_reads_back(run: Summary) -> None:
    found = read(run)
    told = [one for one in found.scenarios if one.outcome is not None]
    assert [(one.scenario, one.policy, one.outcome) for one in told] == [
        (one.verdict.scenario, one.verdict.policy, one.verdict.outcome) for one in run.judged
    ]
    assert [one.kills for one in told] == [one.verdict.records for one in run.judged]
    assert found.stray_kills == ()
    missing = [one for one in found.scenarios if one.outcome is None]
    assert [(one.policy, one.scenario) for one in missing] == [
        (place.policy, place.scenario) for place in run.missing
    ]
    assert (found.word is Word.PASSED) == run.passed


@given(summaries())
def test_the_word_is_that_of_other_forms(run: Summary) -> None:
    words = {
        Status.FAILED: Word.FAILED,
        Status.ERROR: Word.NO_VERDICT,
        Status.MISSING: Word.NOT_FINISHED,
        Status.PASSED: Word.PASSED,
    }
    found = read(run)
    if not found.is_interrupted:
        assert found.word is words[run.status]


@pytest.mark.parametrize("problem", ["KeyboardInterrupt", "Terminated"])
def test_who_ends_a_run_says_nothing_about_it(problem: str) -> None:
    found = read(summary(verdict(), finished=False, problem=problem))
    assert found.word is Word.NOT_FINISHED
    assert found.reason == found.end
    assert found.end.startswith("ended by ")
    failed = summary(verdict("a", Outcome.NOT_KILLED, "x"), finished=False, problem=problem)
    assert read(failed).word is Word.FAILED


def test_an_older_result_is_read() -> None:
    told = _verdict(summary(verdict(records=1)))
    for name in ("started", "arch", "machine", "emulator", "toolchain", "missing"):
        del told[name]
    found = parse_run(json.dumps(told))
    assert found.word is Word.PASSED
    assert (found.machine, found.started) == ("", "")
    (one,) = found.scenarios
    assert (one.kill_count, one.kills) == (1, ())


def test_records_go_to_their_scenario_in_order() -> None:
    first, second, third = (kill(at, at) for at in (1, 2, 3))
    run = run_of(
        judged("a", kills=[first]),
        judged("b", Outcome.NOTHING_TO_KILL),
        judged("a", policy="runtime", kills=[second, third]),
    )
    found = read(run)
    assert [one.kills for one in found.scenarios] == [(first,), (), (second, third)]
    # kills.json is written before verdict.json: a run that is cut off between has more.
    more = [*_kills(run), {**_kills(run)[0], "scenario": "c"}]
    found = parse_run(json.dumps(_verdict(run)), json.dumps(more))
    assert [len(one.kills) for one in found.scenarios] == [1, 0, 2]
    assert found.stray_kills == (first,)


def test_the_gravest_reason_is_first() -> None:
    found = read(
        summary(
            verdict("a", Outcome.INFRASTRUCTURE_FAILED, "adb went away"),
            verdict("b", Outcome.KERNEL_DIED, "oops", "more"),
        )
    )
    assert first_reason(found.scenarios) == "oops"
    assert first_reason(read(summary(verdict())).scenarios) == ""


@pytest.mark.parametrize(
    ("run", "changes"),
    [
        (summary(verdict("a", Outcome.NOT_KILLED, "x")), {"passed": True}),
        (summary(verdict(), finished=False), {"passed": True}),
        (summary(verdict(), problem="x"), {"passed": True}),
        (summary(), {"passed": True}),
        (summary(verdict()), {"missing": [{"scenario": "a", "policy": "rss"}]}),
    ],
)
def test_a_pass_that_contradicts_itself_is_none(run: Summary, changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="says that all passed, and that it did not"):
        read(run, **changes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "verdict.json: Expecting value"),
        ('{"passed": tr', "verdict.json: "),
        ("[]", "verdict.json: is no object"),
        ("{}", "verdict.json: passed is no true or false"),
        ('{"passed": 1}', "verdict.json: passed is no true or false"),
    ],
)
def test_half_a_verdict_is_none(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_run(text)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"outcome": "MAYBE"}, "there is no outcome 'MAYBE'"),
        ({"passed": False}, "PASSED and passed contradict each other"),
        ({"kills": -1}, "kills is no number from 0 on"),
        ({"reasons": "x"}, "reasons is no list of strings"),
        ({"seconds": None}, "seconds is no number"),
    ],
)
def test_a_wrong_scenario_is_named(changes: dict[str, Any], message: str) -> None:
    told = _verdict(summary(verdict()))
    scenarios = told["scenarios"]
    assert isinstance(scenarios, list)
    scenarios[0].update(changes)
    with pytest.raises(ValueError, match=message):
        parse_run(json.dumps(told))


@pytest.mark.parametrize("kills", ["", "{}", "[{}]", '[{"scenario": "a", "uid": "b"}]'])
def test_wrong_records_are_an_error(kills: str) -> None:
    with pytest.raises(ValueError, match=r"^kills\.json"):
        parse_run(json.dumps(_verdict(summary(verdict()))), kills)
