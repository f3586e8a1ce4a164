# SPDX-License-Identifier: MIT
"""A run as far as it has come, and read back from its folder: a pass is never made up."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from report_results import judged, kill, run_of
from summaries import summaries, summary, verdict

from harness.results.run_result import (
    RunResult,
    ScenarioResult,
    Status,
    first_reason,
    kills_json,
    parse_run,
    verdict_json,
)
from harness.scenarios.verdict import Outcome
from harness.ui.events import Planned


def told(run: RunResult) -> dict[str, Any]:
    found = json.loads(verdict_json(run))
    assert isinstance(found, dict)
    return found


def read(run: RunResult, **changes: Any) -> RunResult:
    return parse_run(json.dumps({**told(run), **changes}), kills_json(run))


@given(summaries())
def test_every_run_reads_back(run: RunResult) -> None:
    found = read(run)
    assert [(one.outcome, one.kills) for one in found.judged] == [
        (one.outcome, one.kills) for one in run.judged
    ]
    assert (found.passed, found.status, found.stray_kills) == (run.passed, run.status, ())
    assert len(found.missing) == len(run.missing)
    # Half a surrogate pair is escaped the first time.
    assert read(found) == found
    # Only a pass has the status of one.
    assert (run.status is Status.PASSED) == run.passed
    assert (run.reason == "") == run.passed


@pytest.mark.parametrize("problem", ["KeyboardInterrupt", "Terminated", "Abandoned"])
def test_who_ends_a_run_says_nothing_about_it(problem: str) -> None:
    found = read(summary(verdict(), finished=False, problem=problem))
    assert found.status is Status.MISSING
    assert found.headline == found.end
    assert found.end.startswith("ended by ")
    failed = summary(verdict("a", Outcome.NOT_KILLED, "x"), finished=False, problem=problem)
    assert read(failed).status is Status.FAILED


def test_an_older_result_is_read() -> None:
    old = told(summary(verdict(records=1)))
    for name in ("started", "arch", "machine", "emulator", "toolchain", "missing", "source"):
        del old[name]
    found = parse_run(json.dumps(old))
    assert found.status is Status.PASSED
    assert (found.machine, found.started, found.origin) == ("", None, "")
    (one,) = found.judged
    assert (one.kill_count, one.lost, one.kills) == (1, 1, ())


def test_records_go_to_their_scenario_in_order() -> None:
    first, second, third = (kill(at, at) for at in (1, 2, 3))
    run = run_of(
        judged("a", kills=[first]),
        judged("b", Outcome.NOTHING_TO_KILL),
        judged("a", policy="runtime", kills=[second, third]),
    )
    found = read(run)
    assert [one.kills for one in found.judged] == [(first,), (), (second, third)]
    # kills.json is written before verdict.json: a run that is cut off between has more.
    records = json.loads(kills_json(run))
    more = [*records, {**records[0], "scenario": "c"}]
    found = parse_run(verdict_json(run), json.dumps(more))
    assert [len(one.kills) for one in found.judged] == [1, 0, 2]
    assert found.stray_kills == (first,)


def test_the_gravest_reason_is_first() -> None:
    adb = verdict("a", Outcome.INFRASTRUCTURE_FAILED, "adb went away")
    found = read(summary(adb, verdict("b", Outcome.KERNEL_DIED, "oops", "more")))
    assert first_reason(found) == "oops"
    assert found.last_line == "FAIL: kernel died in b (policy rss)"
    assert first_reason(read(summary(verdict()))) == ""
    assert summary(problem="no space left").last_line == "FAIL: no space left"


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
def test_a_pass_that_contradicts_itself_is_none(run: RunResult, changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="says that all passed, and that it did not"):
        read(run, **changes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "verdict.json: Expecting value"),
        ('{"passed": tr', "verdict.json: "),
        ("[]", "verdict.json: Expected `object`, got `array`"),
        ("{}", "verdict.json: Object missing required field `passed`"),
        ('{"passed": 1}', "verdict.json: Expected `bool`, got `int`"),
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
        ({"kills": -1}, r"Expected `int` >= 0 - at `\$\.kills`"),
        ({"reasons": "x"}, r"Expected `array`, got `str` - at `\$\.reasons`"),
        ({"seconds": None}, r"Expected `float`, got `null` - at `\$\.seconds`"),
    ],
)
def test_a_wrong_scenario_is_named(changes: dict[str, Any], message: str) -> None:
    wrong = told(summary(verdict()))
    wrong["scenarios"][0].update(changes)
    with pytest.raises(ValueError, match=message):
        parse_run(json.dumps(wrong))


@pytest.mark.parametrize("kills", ["", "{}", "[{}]", '[{"scenario": "a", "uid": "b"}]'])
def test_wrong_records_are_an_error(kills: str) -> None:
    with pytest.raises(ValueError, match=r"^kills\.json"):
        parse_run(verdict_json(summary(verdict())), kills)


def test_a_pass_is_a_pass_and_nothing_else_is() -> None:
    statuses = [ScenarioResult("report", "rss", "alloc", outcome).status for outcome in Outcome]
    for outcome, status in zip(Outcome, statuses, strict=True):
        assert (status is Status.PASSED) == outcome.passed
        assert (status is Status.ERROR) == (outcome is Outcome.INFRASTRUCTURE_FAILED)
        assert status is not Status.MISSING
    # A status is as grave as its outcome.
    assert statuses == sorted(statuses, key=list(Status).index)


def test_the_whole_run_is_as_bad_as_the_worst_of_it() -> None:
    good, bad = verdict(), verdict("course", Outcome.NOT_KILLED, "x")
    broken = verdict("course", Outcome.INFRASTRUCTURE_FAILED, "x")
    assert summary(good).status is Status.PASSED
    assert summary(good, broken).status is Status.ERROR
    assert summary(bad, broken, finished=False).status is Status.FAILED
    assert summary(good, problem="QEMU was killed").status is Status.ERROR
    assert summary(good, finished=False).status is Status.MISSING
    assert summary().status is Status.MISSING


def test_what_has_no_verdict_is_missing_and_no_pass() -> None:
    whole = summary(verdict(), verdict("course"), verdict(policy="badness"))
    assert whole.passed
    assert whole.missing == ()
    cut = replace(whole, judged=whole.judged[:1])
    assert cut.missing == (Planned("rss", "course"), Planned("badness", "report"))
    assert not cut.passed
    assert cut.last_line == "FAIL: the run did not finish"
    # Two of a name are two.
    twice = summary(verdict(), verdict())
    assert twice.passed
    assert replace(twice, judged=twice.judged[:1]).missing == (Planned("rss", "report"),)
