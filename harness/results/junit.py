# SPDX-License-Identifier: MIT
"""Results as JUnit XML, which most CI systems show."""

from __future__ import annotations

from junitparser import Error, Failure, JUnitXml, TestCase, TestSuite

from harness.results.run_result import RunResult, Status

# The element of a case that is no pass.
_KINDS = {Status.ERROR: Error, Status.FAILED: Failure}


def junit(summary: RunResult) -> str:
    """Build the XML: a run is a suite, a scenario under a policy is a test case."""
    suite = TestSuite(f"emulator-test {summary.kernel} {summary.policy} {summary.trigger}")
    cases = []
    for one in summary.judged:
        case = TestCase(one.scenario, classname=f"{summary.kernel}.{one.policy or 'log'}")
        case.time = one.seconds
        if one.status in _KINDS:
            result = _KINDS[one.status](one.outcome.value)
            result.text = "\n".join(xml_text(reason) for reason in one.reasons)
            case.result = [result]
        cases.append(case)
    if summary.problem:
        case = TestCase("run", classname=summary.kernel)
        case.result = [Error(xml_text(summary.problem))]
        cases.append(case)
    # One after the other would count all of them again each time.
    suite.add_testcases(cases)
    xml = JUnitXml()
    xml.add_testsuite(suite)
    content: bytes = xml.tostring()  # type: ignore[no-untyped-call]
    return content.decode()


def xml_text(text: str) -> str:
    """Return `text` with `?` for each character that is not printable: XML allows few of them."""
    return "".join(
        character if character in "\t\n" or character.isprintable() else "?" for character in text
    )
