# SPDX-License-Identifier: MIT
"""Invented runs of emulator-test, for tests of what is made from runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from hypothesis import strategies as st

from harness.kernel_output.records import KillRecord
from harness.results.run_result import RunResult, ScenarioResult
from harness.scenarios.verdict import Finding, Outcome, ScenarioVerdict
from harness.ui.events import Planned

STARTED = datetime(2026, 11, 22, 22, 31, 45, tzinfo=UTC)
RECORD = KillRecord(
    12.5, 10070, 100003840, 100000000, 211, 97484800, None, "rss", "alloc", None, "a|b\n# SKIP"
)
# Texts that have a meaning in one of the formats, or end something in it.
NASTY = (
    *("# SKIP", "ok 1 x", "a\nnot ok 2 b", "Bail out!", "KTAP version 1", "- a", " a ", "\\x0a"),
    *("a | b", "</pre><b>", "<!-- ", "&lt;", "*a* _b_ `c`", "[a](http://b)", "![](b)", "@a #1"),
    *("::error::a", "a,b:c%0A", "\x00", "\x1b[31m", "\u2028", "\x85", "\ud800", "\U0001f600", ""),
)


def verdict(
    scenario: str = "report",
    outcome: Outcome = Outcome.PASSED,
    *reasons: str,
    policy: str = "rss",
    records: int = 0,
) -> ScenarioVerdict:
    findings = tuple(Finding(outcome, reason) for reason in reasons)
    return ScenarioVerdict(scenario, policy, "alloc", outcome, findings, (RECORD,) * records)


def summary(*verdicts: ScenarioVerdict, **changes: Any) -> RunResult:
    """Return a run that judged all it planned, and came to its end."""
    fields: dict[str, Any] = {
        "kernel": "linux-6.1",
        "policy": "all",
        "trigger": "alloc",
        "command": ("./inv", "emulator-test", "--source", "a b"),
        "run": "20261122-223145-linux-6.1-all-01234567",
        "started": STARTED,
        "planned": tuple(Planned(one.policy, one.scenario) for one in verdicts),
        "arch": "arm",
        "machine": "a machine",
        "release": "6.1.153-gfoom-0123456789ab",
        "toolchain": "gcc 12; ld 2.40",
        "origin": "Debian's linux-source-6.1 6.1.153-1",
        "judged": tuple(ScenarioResult.of(one, 1.25, STARTED) for one in verdicts),
        "finished": True,
    }
    return RunResult(**{**fields, **changes})


def texts() -> st.SearchStrategy[str]:
    """Generate any text, also invalid Unicode, and often a text with a meaning in a format."""
    anything = st.text(st.characters(exclude_categories=()), max_size=12)
    return st.one_of(st.sampled_from(NASTY), anything)


def _judged(place: Planned) -> st.SearchStrategy[ScenarioResult]:
    verdicts = st.builds(
        lambda outcome, reasons, records: verdict(
            place.scenario, outcome, *reasons, policy=place.policy, records=records
        ),
        st.sampled_from(Outcome),
        st.lists(texts(), max_size=7),
        st.integers(0, 2),
    )
    times = st.sampled_from((None, STARTED, STARTED.astimezone(timezone(timedelta(hours=5.5)))))
    return st.builds(ScenarioResult.of, verdicts, st.floats(0, 1e6), times)


@st.composite
def summaries(draw: st.DrawFn) -> RunResult:
    """Generate any run: in progress, ended early, or with a verdict that was not planned."""
    policies = st.sampled_from(("", "rss", "runtime", "badness")) | texts()
    planned = draw(st.lists(st.builds(Planned, policies, texts()), max_size=8))
    done = planned[: draw(st.integers(0, 8))] if draw(st.booleans()) else planned
    unplanned = draw(st.lists(st.builds(Planned, policies, texts()), max_size=1))
    judged = [draw(_judged(place)) for place in (*done, *unplanned)]
    if draw(st.booleans()):
        passed = st.sampled_from((Outcome.PASSED, Outcome.NOTHING_TO_KILL))
        judged = [
            ScenarioResult(one.scenario, one.policy, "alloc", draw(passed), seconds=1.0)
            for one in judged
        ]
    return summary(
        planned=tuple(planned),
        judged=tuple(judged),
        policy=draw(texts()),
        trigger=draw(texts()),
        command=tuple(draw(st.lists(texts(), max_size=3))),
        arch=draw(texts()),
        machine=draw(texts()),
        release=draw(texts()),
        toolchain=draw(texts()),
        origin=draw(texts()),
        repository=draw(st.none() | texts() | st.just("https://a.example/linux.git")),
        commit=draw(st.none() | texts() | st.just("0123456789" * 4)),
        changed=tuple(draw(st.lists(texts(), max_size=2))),
        problem=draw(st.just("") | texts()),
        finished=draw(st.booleans()),
    )
