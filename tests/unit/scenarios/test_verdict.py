# SPDX-License-Identifier: MIT
"""The judge: a passing observation passes, and any single falsification does not."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from world import TWO_VICTIMS, World, told, weighed

from harness.kernel_output.klog import Section
from harness.kernel_output.records import KillRecord, format_record
from harness.scenarios.catalogue import POLICIES, SCENARIOS, Enough, Scenario, Victims, uid_of
from harness.scenarios.observations import Observations, ProgramRun
from harness.scenarios.verdict import Outcome, judge, judge_log

CASES = [
    (scenario, policy, trigger)
    for scenario in (*SCENARIOS, TWO_VICTIMS)
    for policy in POLICIES
    for trigger in scenario.triggers
]
KILLING = [case for case in CASES if case[0].expected[case[1]] is not None]
EXACT = [case for case in KILLING if isinstance(case[0].expected[case[1]], Victims)]
WITH_SURVIVOR = [case for case in EXACT if len(case[0].runs[-1].children) > 1]
WITH_RUNS = [case for case in CASES if case[0].runs]
NOBODY_DIES = [case for case in WITH_RUNS if case[0].expected[case[1]] is None]
SETTING = [case for case in CASES if case[0].settings]
LIMITED = [case for case in CASES if any(case[0].limits.values())]
GROWN = [
    case
    for case in CASES
    if case[2] == "alloc" and not case[0].settings and not case[0].nobody_left
]
GROWN_AND_KILLED = [case for case in GROWN if case in KILLING]
SHARING = [
    case for case in CASES if any(child.is_sharer for run in case[0].runs for child in run.children)
]
BY_DAEMON = [case for case in CASES if case[2] == "daemon"]

Case = tuple[Scenario, str, str]
Change = Callable[[Case, Observations], Observations]


def case_of(name: str, policy: str = "rss", trigger: str = "alloc") -> Case:
    return next(case for case in CASES if (case[0].name, *case[1:]) == (name, policy, trigger))


def seen(case: Case) -> Observations:
    return World(*case).observe()


def outcome(case: Case, observations: Observations) -> Outcome:
    return judge(*case, observations).outcome


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0].name}-{case[1]}-{case[2]}")
def test_what_went_as_it_should_passes(case: Case) -> None:
    verdict = judge(*case, seen(case))
    assert verdict.reasons == ()
    nobody = case[0].expected[case[1]] is None
    assert verdict.outcome is (Outcome.NOTHING_TO_KILL if nobody else Outcome.PASSED)
    assert verdict.passed


# -- falsifications ----------------------------------------------------------


def with_run(observations: Observations, name: str, **changes: Any) -> Observations:
    run = observations.runs[name]
    runs = {**observations.runs, name: replace(run, output=replace(run.output, **changes))}
    return replace(observations, runs=runs)


def with_end(observations: Observations, name: str, at: int, **changes: Any) -> Observations:
    ends = list(observations.runs[name].output.children)
    ends[at] = replace(ends[at], **changes)
    return with_run(observations, name, children=tuple(ends))


def first_run(case: Case) -> str:
    expected = case[0].expected[case[1]]
    return case[0].runs[0].name if expected is None else expected.run


def first_victim(case: Case, observations: Observations) -> int:
    ends = observations.runs[first_run(case)].output.children
    return next(end.index for end in ends if end.outcome == "killed")


def with_log(observations: Observations, text: str) -> Observations:
    return replace(observations, section=Section(text, True, True))


def edit_record(field: str, value: str) -> Change:
    """Changes the first record's field, whatever it was."""

    def change(case: Case, observations: Observations) -> Observations:
        text = observations.section.text
        begin = text.index(f"{field}=") + len(field) + 1
        stop = min(at for at in (text.find(",", begin), text.find("\n", begin)) if at >= 0)
        assert text[begin:stop] != value
        return with_log(observations, text[:begin] + value + text[stop:])

    return change


def entry_changed(**changes: Any) -> Change:
    def change(case: Case, observations: Observations) -> Observations:
        assert observations.limits
        first, *rest = observations.limits
        return replace(observations, limits=(replace(first, **changes), *rest))

    return change


def done_changed(**changes: Any) -> Change:
    def change(case: Case, observations: Observations) -> Observations:
        name = first_run(case)
        done = observations.runs[name].output.done
        assert done is not None
        return with_run(observations, name, done=replace(done, **changes))

    return change


def run_changed(**changes: Any) -> Change:
    return lambda case, observations: with_run(observations, first_run(case), **changes)


def logged(text: str) -> Change:
    return lambda case, observations: with_log(observations, observations.section.text + text)


def changed(**changes: Any) -> Change:
    return lambda case, observations: replace(observations, **changes)


def victim_lives(case: Case, observations: Observations) -> Observations:
    """One victim lived and has no record: the rest of the evidence agrees with that."""
    at = first_victim(case, observations)
    pid = observations.runs[first_run(case)].output.children[at].pid
    lines = observations.section.text.splitlines(keepends=True)
    lived = with_end(observations, first_run(case), at, outcome="lived", status=0)
    return with_log(lived, "".join(line for line in lines if f"pid={pid}," not in line))


def sharer_lives(case: Case, observations: Observations) -> Observations:
    """Keep all that share the victim's memory alive, and without a record."""
    run = case[0].run("main")
    lines = observations.section.text.splitlines(keepends=True)
    for index, child in enumerate(run.children):
        if child.is_sharer:
            observations = with_end(observations, "main", index, outcome="lived", status=0)
    return with_log(observations, "".join(line for line in lines if "sharer_of=" not in line))


def sharer_dies_for_itself(case: Case, observations: Observations) -> Observations:
    """The kernel chose it, too, after its memory had not gone with the victim."""
    text = re.sub(r"\tsharer_of=[0-9]+,", "", observations.section.text)
    return with_log(observations, text)


def another_dies_too(case: Case, observations: Observations) -> Observations:
    """A survivor of the last run died too, with a record that is flawed and the last."""
    name = case[0].runs[-1].name
    ends = observations.runs[name].output.children
    at = next(end.index for end in ends if end.outcome == "lived")
    run = case[0].run(name)
    record = KillRecord(
        12.1, uid_of(run.user), 10**9, 10**8, ends[at].pid, 4096, None, "rss", "alloc", None, "x"
    )
    dead = with_end(observations, name, at, outcome="killed", status=9)
    return logged(f"<3>[   12.100000] {format_record(record)}\n")(case, dead)


def another_dies_instead(case: Case, observations: Observations) -> Observations:
    name = first_run(case)
    at = first_victim(case, observations)
    ends = observations.runs[name].output.children
    survivor = next(end.index for end in ends if end.outcome == "lived")
    lives = victim_lives(case, observations)
    dies = with_end(lives, name, survivor, outcome="killed", status=9)
    pids = [observations.runs[name].output.children[index].pid for index in (at, survivor)]
    text = observations.section.text.replace(f"pid={pids[0]},", f"pid={pids[1]},")
    return with_log(dies, text)


def parent_dies(case: Case, observations: Observations) -> Observations:
    """The run's parent was the victim: its children went with it, and no end was told."""
    name = first_run(case)
    parent = observations.runs[name].output.pid
    assert parent is not None
    text = observations.section.text.splitlines(keepends=True)[0]
    begin, _, rest = text.partition("\tpid=")
    line = f"{begin}\tpid={parent},{rest.partition(',')[2]}"
    lost = with_run(observations, name, children=(), done=None, holding=None)
    runs = {**lost.runs, name: replace(lost.runs[name], status=137)}
    return with_log(replace(lost, runs=runs), line)


def malloc_fails(case: Case, observations: Observations) -> Observations:
    name = first_run(case)
    return with_end(observations, name, 0, outcome="failed", status=3 << 8)


def setting_refused(case: Case, observations: Observations) -> Observations:
    first, *rest = observations.settings
    answer = replace(first.output.limits[0], ret=-1, errno=12)
    done = replace(first.output.done, passed=0) if first.output.done else None
    output = replace(first.output, limits=(answer,), done=done)
    return replace(observations, settings=(ProgramRun(1, output), *rest))


OOPS = "<1>[   12.9] Unable to handle kernel NULL pointer dereference at virtual address 00000008\n"
PANIC = "<0>[   12.9] Kernel panic - not syncing: Fatal exception\n"
RECORD = (
    "<3>[   12.700000] uid=10070,\tuRSS=100003840,\tmm_max=100000000,\tpid=9999,\tpRSS=97484800,"
    "\tpolicy=rss,\ttrigger=alloc,\tcomm=system_server\n"
)
NOBODY_LEFT = (
    "<3>[   12.8] mm_limits: uid=10099 is over its limit and has nobody left to kill:"
    " uRSS=2, mm_max=1\n"
)

FALSIFICATIONS: list[tuple[str, list[Case], Change, Outcome]] = [
    ("the kernel died", CASES, changed(died="it panicked"), Outcome.KERNEL_DIED),
    ("a panic in the log", CASES, logged(PANIC), Outcome.KERNEL_DIED),
    ("an oops in the log", CASES, logged(OOPS), Outcome.KERNEL_COMPLAINED),
    ("a warning", CASES, logged("<4>[   12.9] odd\n"), Outcome.KERNEL_COMPLAINED),
    ("a refused malloc", NOBODY_DIES, malloc_fails, Outcome.ALLOCATION_FAILED),
    ("another dies instead", WITH_SURVIVOR, another_dies_instead, Outcome.WRONG_VICTIM),
    ("another dies too", WITH_SURVIVOR, another_dies_too, Outcome.TOO_MANY_KILLED),
    ("one dies where nobody should", NOBODY_DIES, another_dies_too, Outcome.TOO_MANY_KILLED),
    ("the victim lives", EXACT, victim_lives, Outcome.NOT_KILLED),
    ("a sharer lives", SHARING, sharer_lives, Outcome.NOT_KILLED),
    ("an overshoot", GROWN, entry_changed(overshoot=10**8), Outcome.KILLED_LATE),
    ("a late kill", GROWN_AND_KILLED, edit_record("uRSS", "999000000"), Outcome.KILLED_LATE),
    ("a sharer as a victim", SHARING, sharer_dies_for_itself, Outcome.RECORDS_DISAGREE),
    ("another's sharer", SHARING, edit_record("sharer_of", "9999"), Outcome.RECORDS_DISAGREE),
    ("the parent is the victim", KILLING, parent_dies, Outcome.WRONG_VICTIM),
    ("a stranger is a victim", CASES, logged(RECORD), Outcome.WRONG_VICTIM),
    ("a syscall is refused", SETTING, setting_refused, Outcome.WRONG_ANSWER),
    ("rmmod fails", SETTING, changed(module_problems=("rmmod",)), Outcome.WRONG_ANSWER),
    ("another limit", LIMITED, entry_changed(mm_max=10**10, rss=10**10), Outcome.WRONG_ANSWER),
    ("the limits are gone", LIMITED, changed(limits=()), Outcome.WRONG_ANSWER),
    ("a torn record", CASES, logged("<3>[   12.9] uid=10070,\tuRSS=1\n"), Outcome.RECORDS_DISAGREE),
    ("a word of being stuck", CASES, logged(NOBODY_LEFT), Outcome.RECORDS_DISAGREE),
    ("a record of another user", KILLING, edit_record("uid", "10001"), Outcome.RECORDS_DISAGREE),
    ("a limit nobody set", KILLING, edit_record("mm_max", "12345"), Outcome.RECORDS_DISAGREE),
    ("a sum below the limit", KILLING, edit_record("uRSS", "12345"), Outcome.RECORDS_DISAGREE),
    ("an impossible RSS", KILLING, edit_record("pRSS", "999000000"), Outcome.RECORDS_DISAGREE),
    ("a foreign policy", KILLING, edit_record("policy", "mine"), Outcome.RECORDS_DISAGREE),
    ("a foreign trigger", KILLING, edit_record("trigger", "timer"), Outcome.RECORDS_DISAGREE),
    ("a foreign name", KILLING, edit_record("comm", "init"), Outcome.RECORDS_DISAGREE),
    ("kills not counted", KILLING, entry_changed(kills=0), Outcome.RECORDS_DISAGREE),
    ("another last victim", KILLING, entry_changed(last_pid=7), Outcome.RECORDS_DISAGREE),
    ("a peak below the sum", KILLING, entry_changed(peak_rss=7), Outcome.RECORDS_DISAGREE),
    ("no done line", WITH_RUNS, run_changed(done=None), Outcome.INFRASTRUCTURE_FAILED),
    ("an old marker", WITH_RUNS, done_changed(marker="0"), Outcome.INFRASTRUCTURE_FAILED),
    ("other checks", WITH_RUNS, done_changed(total=99, passed=99), Outcome.INFRASTRUCTURE_FAILED),
    ("a check failed", WITH_RUNS, done_changed(passed=0), Outcome.INFRASTRUCTURE_FAILED),
    ("another program", WITH_RUNS, done_changed(program="x"), Outcome.INFRASTRUCTURE_FAILED),
    ("a torn line", WITH_RUNS, run_changed(strange=("child e",)), Outcome.INFRASTRUCTURE_FAILED),
    ("another user", WITH_RUNS, run_changed(uid=10099), Outcome.INFRASTRUCTURE_FAILED),
    ("no ends", WITH_RUNS, run_changed(children=()), Outcome.INFRASTRUCTURE_FAILED),
    ("never held", WITH_RUNS, run_changed(holding=None), Outcome.INFRASTRUCTURE_FAILED),
    ("not started", WITH_RUNS, run_changed(started=()), Outcome.INFRASTRUCTURE_FAILED),
    ("did not run", WITH_RUNS, changed(runs={}), Outcome.INFRASTRUCTURE_FAILED),
    ("nothing was set", SETTING, changed(settings=()), Outcome.INFRASTRUCTURE_FAILED),
    ("no /proc/mm_limits", CASES, changed(limits=None), Outcome.INFRASTRUCTURE_FAILED),
    ("a lost log", CASES, changed(section=Section("", False, True)), Outcome.INFRASTRUCTURE_FAILED),
    ("a cut log", CASES, changed(section=Section("", True, False)), Outcome.INFRASTRUCTURE_FAILED),
    ("adb gone", CASES, changed(problem="adb went away"), Outcome.INFRASTRUCTURE_FAILED),
    ("an idle daemon", BY_DAEMON, changed(daemon_calls=0), Outcome.INFRASTRUCTURE_FAILED),
]


@given(st.data())
@pytest.mark.parametrize(
    ("cases", "change", "named"),
    [row[1:] for row in FALSIFICATIONS],
    ids=[row[0] for row in FALSIFICATIONS],
)
def test_a_single_falsification_is_named(
    cases: list[Case], change: Change, named: Outcome, data: st.DataObject
) -> None:
    case = data.draw(st.sampled_from(cases))
    verdict = judge(*case, change(case, seen(case)))
    assert not verdict.passed
    assert verdict.outcome is named, verdict.reasons


@given(st.data())
def test_losing_any_line_of_the_log_that_matters_fails(data: st.DataObject) -> None:
    case = data.draw(st.sampled_from(KILLING))
    observations = seen(case)
    lines = observations.section.text.splitlines(keepends=True)
    del lines[data.draw(st.integers(0, len(lines) - 1))]
    assert outcome(case, with_log(observations, "".join(lines))) is Outcome.RECORDS_DISAGREE


@given(st.data())
def test_a_child_that_died_of_anything_else_fails(data: st.DataObject) -> None:
    case = data.draw(st.sampled_from(WITH_RUNS))
    observations = seen(case)
    status = data.draw(st.sampled_from([6, 11, 139, 1 << 8, 4 << 8]))
    changed = with_end(observations, first_run(case), 0, outcome="other", status=status)
    assert not outcome(case, changed).passed


@pytest.mark.parametrize("trigger", ["alloc", "daemon"])
def test_only_the_daemon_may_kill_a_child_that_has_said_nothing(trigger: str) -> None:
    case = case_of("many-small", "runtime", trigger)
    observations = seen(case)
    output = observations.runs["main"].output
    silent = next(end.pid for end in output.children if end.outcome == "killed")
    changed = with_run(
        observations,
        "main",
        started=tuple(one for one in output.started if one.pid != silent),
        finished=tuple(one for one in output.finished if one.pid != silent),
    )
    expected = Outcome.PASSED if trigger == "daemon" else Outcome.INFRASTRUCTURE_FAILED
    assert outcome(case, changed) is expected


def all_live(case: Case, observations: Observations) -> Observations:
    ends = observations.runs["main"].output.children
    alive = tuple(replace(end, outcome="lived", status=0) for end in ends)
    return with_log(with_run(observations, "main", children=alive), "")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (entry_changed(rss=10**9), Outcome.NOT_KILLED),
        (entry_changed(rss=20_000_000), Outcome.TOO_MANY_KILLED),
        (all_live, Outcome.NOT_KILLED),
    ],
    ids=["still over the limit", "more than must", "none"],
)
def test_enough_must_die_and_no_more(change: Change, named: Outcome) -> None:
    case = case_of("many-small")
    assert isinstance(case[0].expected["rss"], Enough)
    assert outcome(case, change(case, seen(case))) is named


def test_a_wrong_first_victim_is_wrong_even_if_the_right_one_followed() -> None:
    """What an inverted comparison does: it kills upwards until the large one is gone."""
    case = case_of("report")
    observations = another_dies_too(case, seen(case))
    lines = observations.section.text.splitlines(keepends=True)
    backwards = with_log(observations, "".join(reversed(lines)))
    assert outcome(case, backwards) is Outcome.WRONG_VICTIM


def two_victims(policy: str, trigger: str, *dead: int) -> Outcome:
    """The outcome of the scenario if exactly these of its three children die."""
    died = replace(TWO_VICTIMS, expected={policy: Victims("main", dead) if dead else None})
    return outcome((TWO_VICTIMS, policy, trigger), World(died, policy, trigger).observe())


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("trigger", TWO_VICTIMS.triggers)
def test_two_victims_and_no_others(policy: str, trigger: str) -> None:
    assert two_victims(policy, trigger, 1, 2) is Outcome.PASSED
    assert two_victims(policy, trigger, 2, 1) is Outcome.PASSED
    assert two_victims(policy, trigger, 1) is Outcome.NOT_KILLED
    assert two_victims(policy, trigger, 2) is Outcome.NOT_KILLED
    assert two_victims(policy, trigger) is Outcome.NOT_KILLED
    assert two_victims(policy, trigger, 0, 1) is Outcome.WRONG_VICTIM
    assert two_victims(policy, trigger, 0) is Outcome.WRONG_VICTIM
    # The first to die is the one that should not.
    assert two_victims(policy, trigger, 0, 1, 2) is Outcome.WRONG_VICTIM


def test_every_outcome_but_two_can_be_named() -> None:
    named = {falsification[3] for falsification in FALSIFICATIONS}
    assert set(Outcome) - named == {Outcome.PASSED, Outcome.NOTHING_TO_KILL}


def decided(case: Case, **changes: Any) -> Outcome:
    """The outcome where the kernel tells of its decisions, one of which is changed."""
    observations = told(seen(case))
    assert observations.decisions is not None
    *others, last = observations.decisions
    changed = (*others, replace(last, **changes))
    return outcome(case, replace(observations, decisions=changed))


@pytest.mark.parametrize("case", [case for case in CASES if case[0].name in ("report", "course")])
def test_the_oracle_has_a_say(case: Case) -> None:
    assert decided(case) is Outcome.PASSED
    assert decided(case, expected=4711) is Outcome.WRONG_VICTIM
    assert decided(case, expected=None) is Outcome.WRONG_VICTIM
    assert decided(case, misjudged=(4711,)) is Outcome.WRONG_VICTIM
    assert decided(case, candidates=()) is (
        Outcome.WRONG_VICTIM if case[0].name == "report" else Outcome.PASSED
    )
    assert decided(case, chosen=4711, expected=4711) is Outcome.RECORDS_DISAGREE
    missing = replace(seen(case), decisions=())
    assert outcome(case, missing) is Outcome.RECORDS_DISAGREE


def test_a_kernel_that_has_to_tell_its_decisions_and_does_not() -> None:
    case = EXACT[0]
    assert judge(*case, seen(case)).passed
    silent = judge(*case, seen(case), decisions_tell=True)
    assert silent.outcome is Outcome.INFRASTRUCTURE_FAILED
    assert judge(*case, told(seen(case)), decisions_tell=True).passed
    lost = replace(seen(case), decisions=None, decisions_lost=True)
    assert outcome(case, lost) is Outcome.INFRASTRUCTURE_FAILED


def test_a_log_without_trouble_does_not_outdo_the_consoles_reports() -> None:
    assert judge_log("whole log", "alloc", "").passed
    reported = judge_log("whole log", "alloc", "", reports=["oops: in x"])
    assert reported.outcome is Outcome.KERNEL_COMPLAINED
    assert reported.reasons == ("oops: in x",)


@pytest.mark.parametrize("case", [case for case in CASES if case[0].name == "two-users"])
def test_another_users_process_is_no_candidate(case: Case) -> None:
    observations = told(seen(case))
    assert observations.decisions is not None
    neighbour = observations.runs["neighbour"].output.children[0]
    more = (*observations.decisions[-1].candidates, weighed(neighbour.pid))
    assert decided(case) is Outcome.PASSED
    assert decided(case, candidates=more) is Outcome.WRONG_VICTIM


@pytest.mark.parametrize("case", SHARING)
def test_who_shares_an_older_ones_memory_is_no_candidate(case: Case) -> None:
    observations = told(seen(case))
    assert observations.decisions is not None
    children = case[0].run("main").children
    sharer = next(index for index, child in enumerate(children) if child.is_sharer)
    pid = observations.runs["main"].output.children[sharer].pid
    more = (*observations.decisions[-1].candidates, weighed(pid))
    assert decided(case) is Outcome.PASSED
    assert decided(case, candidates=more) is Outcome.WRONG_VICTIM


@pytest.mark.parametrize("policy", POLICIES)
def test_a_user_may_get_beyond_its_limit_by_what_a_process_brings_along(policy: str) -> None:
    case = case_of("setuid", policy)
    brought = entry_changed(overshoot=7 * 10**6)(case, seen(case))
    assert outcome(case, brought) is Outcome.PASSED
    far = entry_changed(overshoot=2 * 10**7)(case, seen(case))
    assert outcome(case, far) is Outcome.KILLED_LATE


# --- what a clock that jumped explains -----------------------------------------------------

LOCKUP = "<4>[   12.000000] watchdog: BUG: soft lockup - CPU#0 stuck for 33s! [sh:1]\n"
STALL = "<3>[   12.000000] rcu: INFO: rcu_sched self-detected stall on CPU\n"
# The rest of a report counts with its first line.
WHOLE_STALL = (
    STALL.replace("self-detected stall on CPU", "detected stalls on CPUs/tasks:")
    + "<4>[   12.000001] \t(detected by 1, t=7507 jiffies, g=501, q=48 ncpus=2)\n"
    "<3>[   12.000002] rcu: rcu_sched kthread starved for 7504 jiffies! g501 f0x2\n"
    "<6>[   12.000003]  __schedule from schedule+0x50/0xa0\n"
    "<4>[   12.000004] CPU: 1 PID: 64 Comm: adbd Tainted: G           O       6.1.192 #1 \n"
    "<4>[   12.000005] PC is at _raw_spin_lock_bh+0x38/0x50\n"
)
ODD = "<4>[   11.900000] an odd thing happened\n"
BUG = "<0>[   12.000000] kernel BUG at mm/mm_limits/scan.c:1!\n"


def nobody_killed(case: Case, observations: Observations) -> Observations:
    """The programs gave up before anybody was killed, with which all evidence agrees."""
    change = entry_changed(rss=2 * 10**8, kills=0, last_pid=0, last_comm="")
    return change(case, victim_lives(case, observations))


@pytest.mark.parametrize(
    ("change", "explained"),
    [
        (changed(problem="the guest does not answer any more", runs={}), True),
        (nobody_killed, True),
        (victim_lives, False),
        (logged(LOCKUP), True),
        (logged(STALL), True),
        (logged(WHOLE_STALL), True),
        (logged(ODD + WHOLE_STALL), False),
        (logged(WHOLE_STALL + BUG), False),
        (logged(STALL + BUG), False),
        (logged(BUG), False),
        (changed(died="RCU stall: rcu: INFO: rcu_sched detected stalls on CPUs/tasks:"), True),
        (changed(died="kernel panic: Kernel panic - not syncing: softlockup: hung tasks"), False),
        (changed(died="kernel bug: BUG: scheduling while atomic: sh/1/0x2"), False),
        (edit_record("policy", "runtime"), False),
        (edit_record("uRSS", "1"), False),
        (run_changed(strange=("torn",)), True),
    ],
)
def test_what_a_clock_that_jumped_explains(change: Change, explained: bool) -> None:
    case = case_of("course")
    verdict = judge(*case, change(case, seen(case)))
    assert not verdict.passed
    assert verdict.by_clock == explained


@pytest.mark.parametrize(
    ("report", "explained"),
    [
        ("soft lockup: BUG: soft lockup in x", True),
        ("RCU stall: INFO: rcu detected stall in x", True),
        ("BUG: BUG: workqueue lockup", False),
        ("KASAN report: KASAN: use-after-free", False),
    ],
)
def test_which_reports_a_clock_that_jumped_explains(report: str, explained: bool) -> None:
    assert judge_log("whole log", "alloc", "", reports=[report]).by_clock == explained


def test_a_pass_needs_no_explanation() -> None:
    case = case_of("course")
    assert not judge(*case, seen(case)).by_clock


@pytest.mark.parametrize("policy", POLICIES)
def test_only_cpu_time_depends_on_the_clock(policy: str) -> None:
    """A task that runs when the guest is stopped has used CPU time until it goes on."""
    case = case_of("runtime-pick", policy)
    ends = seen(case).runs[first_run(case)].output.children
    other = next(end.index for end in ends if end.outcome == "lived")
    swapped = with_end(seen(case), first_run(case), other, outcome="killed", status=9)
    swapped = with_end(
        swapped, first_run(case), first_victim(case, seen(case)), outcome="lived", status=0
    )
    verdict = judge(*case, with_log(swapped, ""))
    of_victim = [one for one in verdict.findings if one.outcome is Outcome.WRONG_VICTIM]
    assert [one.by_clock for one in of_victim] == [policy == "runtime"]


def test_a_verdict_that_is_withdrawn_keeps_what_was_found() -> None:
    case = case_of("course")
    verdict = judge(*case, victim_lives(case, seen(case)))
    withdrawn = verdict.withdrawn("the host stood still")
    assert withdrawn.outcome is Outcome.INFRASTRUCTURE_FAILED
    assert withdrawn.reasons == ("the host stood still", *verdict.reasons)
