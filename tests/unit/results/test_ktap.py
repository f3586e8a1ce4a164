# SPDX-License-Identifier: MIT
"""KTAP that a strict parser reads back: the verdicts, the plan, and what is missing."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from itertools import groupby

import pytest
from hypothesis import given
from summaries import summaries, summary, texts, verdict

from harness.core.text import visible
from harness.results.ktap import ktap
from harness.results.run_result import RunResult, Status
from harness.scenarios.verdict import Outcome

_RESULT = re.compile(r"(?P<result>ok|not ok) (?P<number>[1-9][0-9]*)(?P<rest>| .*)")
_REST = re.compile(r"(?: (?P<name>[^#]+?))??(?: # (?P<data>.*))?")
DIRECTIVES = {"SKIP", "TODO", "XFAIL", "TIMEOUT", "ERROR"}


# Policy, name, status and comments of a verdict.
Read = tuple[str, str, Status, list[str]]


@dataclass
class Case:
    """A result line, the comments before it, and the subtests that it sums up."""

    ok: bool
    name: str
    data: str
    comments: list[str]
    subtests: Suite | None


@dataclass
class Suite:
    """A version line, a plan and what stands below them."""

    planned: int
    tests: list[Case] = field(default_factory=list)
    bail_out: str | None = None

    @property
    def ok(self) -> bool:
        """What somebody says who believes the results, and counts them."""
        return len(self.tests) == self.planned and all(test.ok for test in self.tests)


def parse(text: str) -> Suite:
    """Parse KTAP version 1 as the kernel's documentation has it; anything else is an error."""
    assert text.endswith("\n")
    lines = text[:-1].split("\n")
    assert lines == text.splitlines(), "a line that ends where none should"
    return suite_in(lines)


def suite_in(lines: list[str]) -> Suite:
    version, plan, *rest = lines
    assert version == "KTAP version 1"
    planned = re.fullmatch(r"1\.\.([0-9]+)", plan)
    assert planned is not None
    suite = Suite(int(planned[1]))
    comments: list[str] = []
    subtests: Suite | None = None
    for is_inner, group in groupby(rest, lambda line: line.startswith("  ")):
        if is_inner:
            assert subtests is None
            subtests = suite_in([line[2:] for line in group])
            assert subtests.bail_out is None
            continue
        for line in group:
            assert suite.bail_out is None, f"behind the end: {line!r}"
            if line.startswith("# "):
                comments.append(line[2:])
            elif line.startswith("Bail out! "):
                suite.bail_out = line.removeprefix("Bail out! ")
            else:
                suite.tests.append(case_in(line, len(suite.tests) + 1, comments, subtests))
                comments, subtests = [], None
    assert subtests is None, "subtests without a result"
    assert len(suite.tests) <= suite.planned
    return suite


def case_in(line: str, number: int, comments: list[str], subtests: Suite | None) -> Case:
    found = _RESULT.fullmatch(line)
    assert found is not None, f"no line of KTAP: {line!r}"
    assert int(found["number"]) == number
    rest = _REST.fullmatch(found["rest"])
    assert rest is not None, f"no line of KTAP: {line!r}"
    ok = found["result"] == "ok"
    if subtests is not None:
        assert ok == subtests.ok
    # As many parsers do.
    name = re.sub(r"^- ", "", (rest["name"] or "").strip())
    return Case(ok, unescape(name), rest["data"] or "", comments, subtests)


def unescape(name: str) -> str:
    return re.sub(
        r"\\x([0-9a-f]{2})|\\u([0-9a-f]{4})|\\U([0-9a-f]{8})",
        lambda found: chr(int(found[1] or found[2] or found[3], 16)),
        name,
    )


def status_of(test: Case) -> Status:
    if test.ok:
        assert test.data == ""
        return Status.PASSED
    word = test.data.partition(" ")[0]
    return Status.ERROR if word == "ERROR" else Status.FAILED


def verdicts_in(suite: Suite) -> list[Read]:
    """All verdicts, in the order of the lines."""
    found = []
    for test in suite.tests:
        policy = test.name.removeprefix("policy ") if test.subtests else ""
        ones = test.subtests.tests if test.subtests else [test]
        found += [(policy, one.name, status_of(one), one.comments) for one in ones]
    return found


def test_a_run_that_passes() -> None:
    names = [("", "boot"), ("rss", "report"), ("rss", "course"), ("badness", "report"), ("", "log")]
    run = summary(*(verdict(name, policy=policy) for policy, name in names))
    suite = parse(ktap(run))
    assert suite.ok
    found = [(policy, name, status) for policy, name, status, _ in verdicts_in(suite)]
    assert found == [(*name, Status.PASSED) for name in names]
    # What was run on what, before the first result.
    said = "\n".join(suite.tests[0].comments)
    assert run.release in said
    assert "--source 'a b'" in said


def test_failures_have_their_reasons_before_them() -> None:
    run = summary(
        verdict("report", Outcome.WRONG_VICTIM, "child 1 died", "the record lies"),
        verdict("course", Outcome.INFRASTRUCTURE_FAILED, "adb went away"),
    )
    (policy,) = parse(ktap(run)).tests
    assert policy.data == "0 of 2 scenarios passed"
    assert policy.subtests is not None
    report, course = policy.subtests.tests
    assert (report.data, course.data) == ("wrong victim", "ERROR infrastructure failed")
    assert report.comments == ["report: child 1 died", "report: the record lies"]
    assert course.comments == ["course: adb went away"]


def test_a_run_that_ended_early_misses_results_and_bails_out() -> None:
    whole = summary(
        verdict("boot", policy=""),
        verdict("report"),
        verdict("course"),
        verdict(policy="badness"),
        verdict("whole log", policy=""),
    )
    cut = replace(whole, judged=whole.judged[:2], finished=False, problem="QEMU\nwas killed")
    suite = parse(ktap(cut))
    assert suite.planned == 5
    assert [test.name for test in suite.tests] == ["boot", "policy rss"]
    subtests = suite.tests[1].subtests
    assert subtests is not None
    assert (subtests.planned, len(subtests.tests)) == (2, 1)
    assert suite.tests[1].data == "ERROR 1 of 2 scenarios passed"
    assert suite.bail_out == "QEMU\\x0awas killed"


def test_a_run_that_judged_nothing_bails_out() -> None:
    suite = parse(ktap(summary(finished=False, problem="build kernel failed")))
    assert (suite.planned, suite.tests, suite.bail_out) == (1, [], "build kernel failed")


def test_what_comes_to_light_at_the_end_is_a_test_more() -> None:
    suite = parse(ktap(summary(verdict(), problem="QEMU would not end")))
    assert suite.bail_out is None
    assert [(test.ok, test.name) for test in suite.tests] == [(True, "policy rss"), (False, "run")]
    assert suite.tests[1].data == "ERROR QEMU would not end"


@pytest.mark.parametrize("outcome", Outcome)
def test_no_outcome_reads_as_a_directive(outcome: Outcome) -> None:
    assert outcome.value.split()[0].upper() not in DIRECTIVES
    (test,) = parse(ktap(summary(verdict("report", outcome, policy="")))).tests
    assert test.data.partition(" ")[0].upper() not in DIRECTIVES - {"ERROR"}


@given(summaries())
def test_what_was_judged_reads_back(run: RunResult) -> None:
    # A policy's scenarios stand together, where its first one does; a log stands alone.
    together: dict[str | int, list[Read]] = {}
    for number, one in enumerate(run.judged):
        policy, scenario = one.policy, one.scenario
        comments = [visible(f"{scenario}: {text}") for text in one.reasons]
        read_back = (policy, scenario, one.status, comments)
        together.setdefault(policy or number, []).append(read_back)
    expected = [one for group in together.values() for one in group]
    suite = parse(ktap(run))
    # The lines about the run itself are before its first test.
    if suite.tests:
        first = suite.tests[0]
        top = first.comments if first.subtests is None else []
        del top[:2]
    read = verdicts_in(suite)
    if run.complete and run.problem:
        assert read.pop()[1:3] == ("run", Status.ERROR)
    assert read == expected
    # A reader who only counts finds a pass where there is one.
    assert suite.ok == run.passed
    assert (suite.bail_out is None) == run.complete


@given(texts(), texts())
def test_no_name_breaks_a_line(name: str, reason: str) -> None:
    run = summary(verdict(name, Outcome.NOT_KILLED, reason, policy=name))
    assert verdicts_in(parse(ktap(run)))[-1][1] == name


@pytest.mark.parametrize(
    "text",
    [
        "1..1\nok 1 a\n",
        "KTAP version 1\nok 1 a\n",
        "KTAP version 1\n1..1\nok 2 a\n",
        "KTAP version 1\n1..1\nok 1 a\nok 2 b\n",
        "KTAP version 1\n1..1\nok 1 a\nhello\n",
        "KTAP version 1\n1..1\nok 1 a # b # c\x0b\n",
        "KTAP version 1\n1..1\n  KTAP version 1\n  1..1\n  ok 1 a\n",
        "KTAP version 1\n1..1\n  KTAP version 1\n  1..1\n  not ok 1 a\nok 1 b\n",
        "KTAP version 1\n1..2\nBail out! a\nok 1 b\n",
        "KTAP version 1\n1..1\nok 1 a",
    ],
)
def test_the_parser_is_strict(text: str) -> None:
    with pytest.raises(AssertionError):
        parse(text)


def test_a_policy_that_lacks_a_verdict_is_one_test_that_has_not_passed() -> None:
    run = summary(verdict("report"), verdict("course"), verdict("report", policy="runtime"))
    run = replace(run, judged=(run.judged[0], run.judged[2]), finished=False)
    tests = [(test.name, test.ok) for test in parse(ktap(run)).tests]
    assert tests == [("policy rss", False), ("policy runtime", True)]
