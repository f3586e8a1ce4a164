# SPDX-License-Identifier: MIT
"""A run as far as it has come: when it is a pass, and what it is to other people's tools."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from summaries import summaries, summary, texts, verdict

from harness.core.text import public, visible
from harness.results.summary import STATUS_OF, Status, Summary
from harness.scenarios.verdict import Outcome
from harness.ui.events import Planned


def test_every_outcome_has_a_status() -> None:
    assert STATUS_OF.keys() == set(Outcome)


@pytest.mark.parametrize("outcome", Outcome)
def test_a_pass_is_a_pass_and_nothing_else_is(outcome: Outcome) -> None:
    assert (STATUS_OF[outcome] is Status.PASSED) == outcome.passed
    errors = {Outcome.INFRASTRUCTURE_FAILED}
    assert (STATUS_OF[outcome] is Status.ERROR) == (outcome in errors)
    assert STATUS_OF[outcome] is not Status.MISSING


def test_a_status_is_as_grave_as_its_outcome() -> None:
    ranks = [list(Status).index(STATUS_OF[outcome]) for outcome in Outcome]
    assert ranks == sorted(ranks)


def test_the_whole_run_is_as_bad_as_the_worst_of_it() -> None:
    good, bad = verdict(), verdict("course", Outcome.NOT_KILLED, "x")
    broken = verdict("course", Outcome.INFRASTRUCTURE_FAILED, "x")
    assert summary(good).status is Status.PASSED
    assert summary(good, broken).status is Status.ERROR
    assert summary(bad, broken, finished=False).status is Status.FAILED
    assert summary(good, problem="QEMU was killed").status is Status.ERROR
    assert summary(good, finished=False).status is Status.MISSING
    assert summary().status is Status.MISSING


@given(summaries())
def test_only_a_pass_has_the_status_of_one(run: Summary) -> None:
    assert (run.status is Status.PASSED) == run.passed
    assert (run.reason == "") == run.passed


def test_what_has_no_verdict_is_missing_and_no_pass() -> None:
    whole = summary(verdict(), verdict("course"), verdict(policy="badness"))
    assert whole.passed
    assert whole.missing == ()
    cut = replace(whole, judged=whole.judged[:1])
    assert cut.missing == (Planned("rss", "course"), Planned("badness", "report"))
    assert not cut.passed
    assert cut.last_line == "FAIL: the run did not finish"


def test_two_of_a_name_are_two() -> None:
    twice = summary(verdict(), verdict())
    assert twice.passed
    assert replace(twice, judged=twice.judged[:1]).missing == (Planned("rss", "report"),)


@given(texts())
def test_what_is_visible_is_one_line_and_reads_back(text: str) -> None:
    shown = visible(text, also="\\")
    assert len(shown.splitlines()) <= 1
    shown.encode()
    escaped = "".join(c if c.isascii() else f"\\U{ord(c):08x}" for c in shown)
    assert escaped.encode().decode("unicode_escape") == text


def test_passwords_are_not_public() -> None:
    assert public("git fetch https://me:pass@word@a.example/x.git@0123 failed") == (
        "git fetch https://a.example/x.git@0123 failed"
    )
    assert public("https://a.example/b@0123 of a@b") == "https://a.example/b@0123 of a@b"
