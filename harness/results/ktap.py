# SPDX-License-Identifier: MIT
"""Results as KTAP version 1, the format of the kernel's own tests.

A policy is a test, its scenarios are its subtests; the boot log and the whole log are tests
beside it. A scenario without a verdict has no result line, though the plan counts it;
`Bail out!`, which KTAP inherits from TAP, says why.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence

from harness.core.text import visible
from harness.results.run_result import RunResult, ScenarioResult, Status
from harness.ui.events import Planned

_VERSION = "KTAP version 1"
_INDENT = "  "
# Characters that would end a name, or look like one of its escapes.
_NOT_IN_NAMES = "#\\"
_EDGE = re.compile(r"\A[ -]| \Z")

# A scenario or log with a verdict, or one without.
_Entry = ScenarioResult | Planned


def ktap(summary: RunResult) -> str:
    """Return the run as KTAP, with a line feed behind each line."""
    return "".join(f"{line}\n" for line in _run(summary))


def _run(summary: RunResult) -> Iterator[str]:
    """Yield all lines. A problem of the run is one more test, so that no reader counts a pass."""
    tests = _tests(summary)
    healthy = summary.complete and not summary.problem
    yield _VERSION
    yield f"1..{len(tests) + (not healthy)}"
    where = f" on {summary.release}" if summary.release else ""
    yield _comment(f"{summary.kernel}{where}: policy {summary.policy}, trigger {summary.trigger}")
    yield _comment(shlex.join(summary.command))
    for number, test in enumerate(tests, 1):
        # Missing tests come last, so the numbers have no gaps.
        if not isinstance(test[0], ScenarioResult):
            break
        if test[0].place.policy:
            yield from _policy(number, test)
        else:
            yield from _verdict(number, test[0])
    if not summary.complete:
        yield f"Bail out! {visible(summary.problem or summary.reason)}"
    elif summary.problem:
        yield _result(len(tests) + 1, "run", Status.ERROR, summary.problem)


def _tests(summary: RunResult) -> list[list[_Entry]]:
    """Group the tests of the top level: a policy's scenarios together, each log alone."""
    tests: dict[str | int, list[_Entry]] = {}
    entries: list[_Entry] = [*summary.judged, *summary.missing]
    for number, entry in enumerate(entries):
        tests.setdefault(_place(entry).policy or number, []).append(entry)
    return list(tests.values())


def _place(entry: _Entry) -> Planned:
    return entry.place if isinstance(entry, ScenarioResult) else entry


def _policy(number: int, scenarios: Sequence[_Entry]) -> Iterator[str]:
    """Yield a policy's scenarios and its result, which is a pass if each of them passed."""
    judged = [one for one in scenarios if isinstance(one, ScenarioResult)]
    yield f"{_INDENT}{_VERSION}"
    yield f"{_INDENT}1..{len(scenarios)}"
    for place, one in enumerate(judged, 1):
        yield from (f"{_INDENT}{line}" for line in _verdict(place, one))
    found = {one.status for one in judged}
    if len(judged) < len(scenarios):
        found.add(Status.MISSING)
    passed = sum(one.status is Status.PASSED for one in judged)
    yield _result(
        number,
        f"policy {_place(scenarios[0]).policy}",
        next(status for status in Status if status in found),
        f"{passed} of {len(scenarios)} scenarios passed",
    )


def _verdict(number: int, one: ScenarioResult) -> Iterator[str]:
    """Yield the reasons against a scenario or a log as comments, then its result."""
    name = one.scenario
    yield from (_comment(f"{name}: judged again: {why}") for why in one.set_aside)
    yield from (_comment(f"{name}: {reason}") for reason in one.reasons)
    yield _result(number, name, one.status, one.outcome.value)


def _result(number: int, name: str, status: Status, why: str) -> str:
    """Return a result line; only a line that is no pass says why."""
    if status is Status.PASSED:
        return f"ok {number} {_name(name)}".rstrip()
    # If the test itself did not work, a directive says so.
    directive = "" if status is Status.FAILED else "ERROR "
    return f"not ok {number} {_name(name)}".rstrip() + f" # {directive}{visible(why)}"


def _comment(text: str) -> str:
    return f"# {visible(text)}"


def _name(name: str) -> str:
    """Escape a name so that parsers read all of it: they drop outer spaces and a first dash."""
    return _EDGE.sub(lambda edge: f"\\x{ord(edge[0]):02x}", visible(name, also=_NOT_IN_NAMES))
