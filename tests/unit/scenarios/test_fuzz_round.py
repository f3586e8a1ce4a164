# SPDX-License-Identifier: MIT
"""What a round of the fuzz test means, from what it printed and what the kernel logged."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import UsageError
from harness.jobs.fuzz import minutes_of, seed_of
from harness.kernel_output.klog import Section
from harness.scenarios.fuzz_round import Death, Problem, RoundOutput, judge_round, parse_round

OUTPUT = """\
death: pid=123, uid=10070, adj=0
death: pid=124, uid=10071, adj=300
counts: calls=12, forks=3, threads=2, deaths=2, odd=0
ends: settled=1, ended=1, protected=1, mistakes=0
done: program=mm_limits_fuzz, marker=cafe, checks=1/1
"""
RECORD = (
    "<3>[    1.000000] uid=10070,\tuRSS=20000768,\tmm_max=20000000,\tpid={pid},\tpRSS=100,"
    "\tpolicy=rss,\ttrigger=alloc,\tcomm=x\n"
)


def log_of(*pids: int) -> Section:
    return Section("".join(RECORD.format(pid=pid) for pid in pids), has_begin=True, has_end=True)


GOOD = log_of(123, 124)


def judged(output: str = OUTPUT, log: Section = GOOD) -> tuple[Problem, ...]:
    return tuple(judge_round(parse_round(output, "cafe"), log))


def problems(output: str = OUTPUT, log: Section = GOOD) -> tuple[str, ...]:
    return tuple(one.text for one in judged(output, log))


def test_a_good_round() -> None:
    assert problems() == ()
    parsed = parse_round(OUTPUT, "cafe")
    assert parsed.deaths == (Death(123, 10070, 0), Death(124, 10071, 300))
    assert parsed.counts["forks"] == 3


@pytest.mark.parametrize(
    "line",
    [
        "Huh VM_FAULT_OOM leaked out to the #PF handler. Retrying PF",
        "pagefault_out_of_memory: 12 callbacks suppressed",
    ],
)
def test_what_an_injected_fault_has_the_kernel_say_is_no_trouble(line: str) -> None:
    assert problems(log=Section(f"<4>[    1.000000] {line}\n{GOOD.text}", True, True)) == ()
    assert problems(log=Section(f"<4>[    1.000000] {line}!\n{GOOD.text}", True, True)) != ()


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("uid=10071", "uid=10080", "pid 124 died, of uid 10080, which has no limit"),
        ("uid=10071", "uid=0", "pid 124 died, of uid 0, which has no limit"),
        ("adj=300", "adj=-1000", "pid 124 died, which was protected"),
        ("settled=1", "settled=0", "a user stayed above its limit"),
        ("ended=1", "ended=0", "a process did not end when it was told to"),
        ("protected=1", "protected=0", "the protected process is gone"),
        ("mistakes=0", "mistakes=2", "2 thing(s) that must work did not"),
        ("marker=cafe", "marker=beef", "the program did not come to its end"),
    ],
)
def test_a_broken_invariant_is_named(old: str, new: str, problem: str) -> None:
    assert problems(OUTPUT.replace(old, new)) == (problem,)


@pytest.mark.parametrize(
    ("log", "found"),
    [
        (log_of(123), ("pid 124 (uid 10071) was killed without a record",)),
        # It ended by itself.
        (log_of(123, 124, 125), ()),
        (
            Section(GOOD.text + "<4>[    2.0] WARNING: CPU: 1\n", True, True),
            ("WARNING: <4>[    2.0] WARNING: CPU: 1",),
        ),
        (Section(GOOD.text, False, True), ("the kernel log of the round is not whole",)),
    ],
    ids=["no record", "a record without a death", "a complaint", "not whole"],
)
def test_what_the_log_shows(log: Section, found: tuple[str, ...]) -> None:
    assert problems(log=log) == found


LOCKUP = "<0>[    1.5] watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [x:123]\n"


@pytest.mark.parametrize(
    ("output", "log"),
    [
        (OUTPUT.replace("settled=1", "settled=0"), GOOD),
        (OUTPUT.replace("ended=1", "ended=0"), GOOD),
        (OUTPUT.replace("marker=cafe", "marker=beef"), GOOD),
        (OUTPUT, Section(GOOD.text + LOCKUP, True, True)),
    ],
    ids=["above", "goes on", "no end", "lockup"],
)
def test_what_a_healthy_kernel_does_too_if_its_clock_jumps(output: str, log: Section) -> None:
    found = judged(output, log)
    assert found
    assert all(one.by_clock for one in found)


def test_what_no_clock_explains() -> None:
    found = judged(OUTPUT.replace("settled=1", "settled=0"), log_of(123))
    assert [one.by_clock for one in found] == [False, True]


@given(st.text(), st.text())
def test_any_output_is_read(text: str, marker: str) -> None:
    assert isinstance(parse_round(text, marker), RoundOutput)


def test_numbers_of_a_person() -> None:
    assert seed_of("17") == 17
    assert minutes_of("0.5") == 0.5
    assert seed_of("") != seed_of("")
    for text in ("x", "-1", "1.5"):
        with pytest.raises(UsageError, match="not a seed"):
            seed_of(text)
    with pytest.raises(UsageError, match="minutes"):
        minutes_of("soon")
