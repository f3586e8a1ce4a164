# SPDX-License-Identifier: MIT
"""A sweep as JUnit XML, which most CI systems show."""

from __future__ import annotations

from junitparser import Error, Failure, JUnitXml, TestCase, TestSuite

from harness.core.text import public
from harness.results.junit import xml_text
from harness.results.run_result import Status
from harness.sweep.result import CellResult, SweepResult


def sweep_junit(sweep: SweepResult) -> str:
    """Build the XML: a build is a suite, a cell is a test case, each repetition one of its own.

    A cell without a verdict is an error, also one that was not run: a reader must not take it
    for a pass.
    """
    flaky = sweep.flaky()
    suites: dict[str, list[TestCase]] = {}
    for one in sweep.cells:
        case = _case(one, one.cell.title in flaky)
        suites.setdefault(one.cell.build.title, []).append(case)
    if sweep.problem:
        case = TestCase("sweep", classname=xml_text(sweep.file))
        case.result = [_result(Error, sweep.problem)]
        suites.setdefault("sweep", []).append(case)
    xml = JUnitXml(xml_text(sweep.file))
    for name, cases in suites.items():
        suite = TestSuite(xml_text(name))
        # One after the other would count all of them again each time.
        suite.add_testcases(cases)
        xml.add_testsuite(suite)
    content: bytes = xml.tostring()  # type: ignore[no-untyped-call]
    return content.decode()


def _case(one: CellResult, is_flaky: bool) -> TestCase:
    cell = one.cell
    again = f" #{cell.repetition}" if cell.repetition > 1 else ""
    case = TestCase(
        xml_text(f"{cell.column}{again}"), classname=xml_text(f"{cell.build.title}.{cell.task}")
    )
    case.time = one.last.seconds if one.last is not None else 0.0
    if one.status is Status.FAILED:
        case.result = [_result(Failure, one.headline)]
    elif one.status is not Status.PASSED:
        case.result = [_result(Error, one.headline)]
    case.system_out = _told(one, is_flaky)
    return case


def _result(kind: type[Failure | Error], why: str) -> Failure | Error:
    found = kind(xml_text(public(why)))
    found.text = xml_text(public(why))
    return found


def _told(one: CellResult, is_flaky: bool) -> str:
    """Return what belongs to a cell beside its verdict: the command, and each attempt."""
    lines = [one.cell.line]
    if is_flaky:
        lines.append("flaky: its repetitions did not all come out the same")
    lines += [
        f"attempt {number} on {attempt.worker}: {attempt.line}"
        for number, attempt in enumerate(one.attempts, 1)
    ]
    return "\n".join(xml_text(public(line)) for line in lines)
