# SPDX-License-Identifier: MIT
"""Guests side by side: who does what, in which order it is told, what ends it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bundles
import psutil
import pytest
from emulator_bench import Bench
from fake_guest import BOOT_LOG, at, interrupt_main, panicked, together, without_record
from world import World

from harness.core.cache import Cache
from harness.core.errors import BootError, DeviceError, InfrastructureError, UsageError
from harness.core.lifetime import Health
from harness.jobs import pool
from harness.jobs.guests import WORTH_A_GUEST, Work, names_in, plan
from harness.jobs.pool import boot_of, count_of
from harness.kernel_output.klog import Section
from harness.results.folder import LATEST
from harness.scenarios.catalogue import SCENARIOS, UIDS, Scenario
from harness.scenarios.observations import Observations
from harness.targets.goldfish_3_4 import GOLDFISH_3_4
from harness.targets.linux_6_1 import LINUX_6_1
from harness.targets.model import QemuMachine

WORK = [Work("rss", scenario) for scenario in SCENARIOS]
GIB = 1 << 30


def machine(monkeypatch: pytest.MonkeyPatch, cpus: int, free: int) -> None:
    monkeypatch.setattr(pool, "usable_cpus", lambda: cpus)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=free))


@pytest.mark.parametrize(
    ("cpus", "free", "count"),
    [
        (1, 64 * GIB, 1),
        (3, 64 * GIB, 1),
        (4, 64 * GIB, 2),
        (64, 64 * GIB, 4),
        (64, 4 * GIB, 2),
        (8, GIB // 2, 1),
    ],
)
def test_as_many_guests_as_make_sense(
    monkeypatch: pytest.MonkeyPatch, cpus: int, free: int, count: int
) -> None:
    machine(monkeypatch, cpus, free)
    assert count_of("", LINUX_6_1, 16, WORTH_A_GUEST) == count
    assert count_of("0", LINUX_6_1, 16, WORTH_A_GUEST) == count
    assert count_of("3", LINUX_6_1, 16, WORTH_A_GUEST) == 3
    assert count_of("", LINUX_6_1, 1, WORTH_A_GUEST) == 1


@pytest.mark.parametrize(
    ("cpus", "free", "count"),
    # One guest with two CPUs, and others with one. With little memory they run in turn.
    [(1, 64 * GIB, 2), (2, 64 * GIB, 3), (4, 64 * GIB, 5), (64, 64 * GIB, 5), (2, 2 * GIB, 2)],
)
def test_most_guests_have_one_cpu_and_as_many_as_there_are_make_sense(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, cpus: int, free: int, count: int
) -> None:
    machine(monkeypatch, cpus, free)
    assert bench.run(jobs="", target=LINUX_6_1) == 0
    assert sorted(cpus_of(bench)) == [*[1] * (count - 1), 2]
    check_who_did_what(bench)


def cpus_of(bench: Bench) -> list[int]:
    """Return the number of CPUs of each guest, in the order in which they were opened."""
    machines = [one.boot.target.machine for one in bench.opened]
    return [one.smp for one in machines if isinstance(one, QemuMachine)]


def check_who_did_what(bench: Bench) -> None:
    """Check that the first guest did what needs two CPUs, and nothing else."""
    needs = {scenario.name: scenario.two_cpus for scenario in SCENARIOS}
    for one in bench.verdict["scenarios"]:
        if one["scenario"] in needs:
            assert (one["guest"] == 1) == needs[one["scenario"]]


def test_one_guest_at_a_time_has_one_cpu_where_that_is_enough(bench: Bench) -> None:
    running: list[str] = []

    def boot(name: str, _started: Callable[[Health], None]) -> None:
        if name == "guest2":
            # All that needs two CPUs has been done, and the first guest's log has been judged.
            assert {one["guest"] for one in bench.verdict["scenarios"]} == {1}
            assert bench.verdict["scenarios"][-1]["scenario"] == "whole log"
        running.append(name)

    bench.boot = boot
    assert bench.run(jobs="1", target=LINUX_6_1) == 0
    assert cpus_of(bench) == [2, 1]
    assert running[1:] == ["guest2"]
    check_who_did_what(bench)
    names = [one["scenario"] for one in bench.verdict["scenarios"]]
    assert names == [
        *("boot", "boot, guest 2"),
        *(scenario.name for scenario in SCENARIOS),
        *("whole log", "whole log, guest 2"),
    ]
    assert bench.verdict["machine"].endswith("2 CPUs, 1024 MiB, 1 CPU from guest 2 on")
    assert "2 guests in turn" in bench.output.getvalue()
    assert "--jobs 1" in bench.command


@pytest.mark.parametrize(
    ("scenario", "jobs", "cpus"),
    [("course", "1", [1]), ("many-small", "1", [2]), ("course", "", [1]), ("many-small", "", [2])],
)
def test_one_kind_of_guest_is_enough_for_one_kind_of_scenario(
    bench: Bench, scenario: str, jobs: str, cpus: list[int]
) -> None:
    assert bench.run(jobs=jobs, target=LINUX_6_1, scenarios=(scenario,)) == 0
    assert cpus_of(bench) == cpus
    names = [one["scenario"] for one in bench.verdict["scenarios"]]
    assert names == ["boot", scenario, "whole log"]


def test_after_a_death_in_the_first_guest_there_is_no_second(bench: Bench) -> None:
    bench.change = at("many-small", panicked)
    assert bench.run(jobs="1", target=LINUX_6_1) == 1
    assert bench.verdict["result"] == "FAIL: kernel died in many-small (policy rss)"
    assert cpus_of(bench) == [2]


def test_a_wrong_first_guest_does_not_hide_a_second(bench: Bench) -> None:
    bench.change = at("many-small", survives)
    assert bench.run(jobs="1", target=LINUX_6_1) == 1
    assert cpus_of(bench) == [2, 1]
    assert bench.verdict["missing"] == []


def test_where_nothing_needs_two_cpus_the_first_guest_does_its_share(bench: Bench) -> None:
    meet = together(2)

    def change(_scenario: Scenario, seen: Observations) -> Observations:
        meet()
        return seen

    bench.change = change
    assert bench.run(jobs="2", scenarios=("report", "course")) == 0
    judged = bench.verdict["scenarios"]
    assert {one["guest"] for one in judged if one["policy"]} == {1, 2}


@pytest.mark.parametrize("text", ["x", "-1", "1.5", "\u0661", "17"])
def test_a_wrong_number_of_guests(text: str) -> None:
    with pytest.raises(UsageError):
        count_of(text, LINUX_6_1, 16)


def test_an_avd_is_alone() -> None:
    avd = GOLDFISH_3_4.on("sdk")
    assert count_of("", avd, 16) == 1
    with pytest.raises(UsageError, match="AVD"):
        count_of("2", avd, 16)


def test_an_android_gets_all_that_its_system_lacks(tmp_path: Path) -> None:
    files = replace(bundles.cached(Cache(tmp_path)), tools=(Path("su"),))
    boot = boot_of(GOLDFISH_3_4.on("sdk"), files, snapshot=True, avd="gfoom")
    assert (boot.image, boot.initramfs, boot.release) == (
        *(files.image, files.initramfs, files.release),
    )
    assert (boot.tools, boot.pushed) == (files.tools, (*files.programs, *files.modules))
    assert (boot.uids, boot.snapshot, boot.avd) == (UIDS, True, "gfoom")


def test_the_guest_of_an_edit_is_not_saved(tmp_path: Path) -> None:
    files = bundles.cached(Cache(tmp_path))
    assert boot_of(LINUX_6_1, files, snapshot=True).snapshot
    assert not boot_of(LINUX_6_1, replace(files, is_edit=True), snapshot=True).snapshot


def test_the_plan_has_each_guests_logs() -> None:
    names = [planned.scenario for planned in plan(WORK[:2], 2)]
    assert names == [
        *("boot", "boot, guest 2", WORK[0].scenario.name, WORK[1].scenario.name),
        *("whole log", "whole log, guest 2"),
    ]


def test_two_guests_share_the_work_and_it_is_told_in_order(bench: Bench) -> None:
    meet = together(2)

    def change(_scenario: Scenario, seen: Observations) -> Observations:
        meet()
        return seen

    bench.change = change
    assert bench.run(jobs="2") == 0
    names = [one["scenario"] for one in bench.verdict["scenarios"]]
    assert names == [
        *("boot", "boot, guest 2"),
        *(scenario.name for scenario in SCENARIOS),
        *("whole log", "whole log, guest 2"),
    ]
    assert (bench.results / LATEST / "guest2" / "kernel.log").read_text() == BOOT_LOG
    assert "--jobs 2" in bench.command


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_kernel_that_dies_fails_the_test_and_ends_the_work_of_all(
    bench: Bench, jobs: str
) -> None:
    def die(seen: Observations) -> Observations:
        # Of several guests, the others live.
        bench.cause = BootError("the kernel panicked") if jobs == "1" else None
        return panicked(seen)

    bench.change = at("course", die)
    assert bench.run(jobs=jobs) == 1
    assert bench.verdict["finished"] is False
    assert bench.verdict["result"] == "FAIL: kernel died in course (policy rss)"
    names = [one["scenario"] for one in bench.verdict["scenarios"]]
    assert names == ["boot", "report", "course"] if jobs == "1" else len(names) < len(SCENARIOS)


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_machine_that_goes_is_no_verdict_and_ends_the_work_of_all(
    bench: Bench, jobs: str
) -> None:
    bench.change = at("course", bench.machine_goes)
    with pytest.raises(DeviceError):
        bench.run(jobs=jobs)
    assert bench.verdict["passed"] is False
    outcomes = {one["scenario"]: one["outcome"] for one in bench.verdict["scenarios"]}
    assert outcomes["course"] == "INFRASTRUCTURE_FAILED"
    assert len(outcomes) < len(SCENARIOS)


def test_a_guest_that_does_not_boot_ends_it(bench: Bench) -> None:
    def boot(name: str, _started: Callable[[Health], None]) -> None:
        if name == "guest2":
            raise BootError("the kernel panicked")

    bench.boot = boot
    with pytest.raises(BootError):
        bench.run(jobs="2")
    assert bench.verdict["problem"] == "the kernel panicked"


def test_who_interrupts_does_not_wait_for_a_boot(bench: Bench) -> None:
    ended: list[str] = []

    def boot(name: str, started: Callable[[Health], None]) -> None:
        health = Health()
        started(health)
        if name == "guest2":
            try:
                assert health.pause(120)
                health.check()
            except InfrastructureError as error:
                ended.append(error.message)
                raise

    def ctrl_c(_scenario: Scenario, seen: Observations) -> Observations:
        interrupt_main()
        return seen

    bench.boot, bench.change = boot, ctrl_c
    with pytest.raises(KeyboardInterrupt):
        bench.run(jobs="2")
    assert ended == ["the run was ended"]


# --- a host that stands still ---------------------------------------------------


def survives(seen: Observations) -> Observations:
    """Have nobody killed, as if the programs had waited too short a time."""
    (name, run), *_ = seen.runs.items()
    ends = tuple(replace(end, outcome="lived", status=0) for end in run.output.children)
    runs = {**seen.runs, name: replace(run, output=replace(run.output, children=ends))}
    limits = tuple(replace(one, kills=0, last_pid=0, last_comm="") for one in seen.limits or ())
    return replace(seen, runs=runs, section=Section("", True, True), decisions=(), limits=limits)


def locked_up(seen: Observations) -> Observations:
    """Have the kernel complain that a CPU stood still for long."""
    died = "soft lockup: watchdog: BUG: soft lockup - CPU#0 stuck for 33s! [sh:1]"
    return replace(seen, died=died, section=Section("", False, False))


class Standing:
    """What is seen of the scenario `course` on a host that stands still during some attempts."""

    def __init__(self, bench: Bench, *attempts: tuple[float, Callable[..., Observations]]) -> None:
        self.bench = bench
        self.attempts = iter(attempts)
        self.count = 0
        bench.change = at("course", self._see)

    def _see(self, seen: Observations) -> Observations:
        self.count += 1
        self.bench.cause = None
        self.bench.stood_still, change = next(self.attempts, (0.0, lambda seen: seen))
        return change(seen)

    @property
    def judged(self) -> dict[str, Any]:
        found = [one for one in self.bench.verdict["scenarios"] if one["scenario"] == "course"]
        assert len(found) == 1
        return dict(found[0])


STILL = "the host stood still for 30.0 s"


def test_a_scenario_during_which_the_host_stood_still_is_judged_again(bench: Bench) -> None:
    course = Standing(bench, (30.0, survives))
    assert bench.run() == 0
    assert course.count == 2
    (why,) = course.judged["set_aside"]
    assert why.startswith(f"{STILL}: not killed: ")
    assert course.judged["stood_still"] == 0
    assert f"course rss: {why}; judged again" in bench.output.getvalue()
    assert len(bench.opened) == 1
    assert (
        f"# course: judged again: {STILL}" in (bench.results / LATEST / "results.ktap").read_text()
    )
    assert f"judged again: {STILL}" in (bench.results / LATEST / "report.html").read_text()


def test_a_pass_is_a_pass_and_it_is_told(bench: Bench) -> None:
    course = Standing(bench, (30.0, lambda seen: seen))
    assert bench.run() == 0
    assert course.count == 1
    assert (course.judged["set_aside"], course.judged["stood_still"]) == ([], 30.0)
    assert f"course rss: {STILL} meanwhile, without effect" in bench.output.getvalue()


def test_a_wrong_kernel_fails_in_the_next_attempt(bench: Bench) -> None:
    course = Standing(bench, (30.0, survives), (0.0, survives))
    assert bench.run() == 1
    assert course.count == 2
    assert course.judged["outcome"] == "NOT_KILLED"


@pytest.mark.parametrize("change", [without_record, panicked])
def test_what_no_clock_explains_is_the_kernels_fault(
    bench: Bench, change: Callable[[Observations], Observations]
) -> None:
    course = Standing(bench, (30.0, change))
    assert bench.run() == 1
    assert course.count == 1
    assert course.judged["set_aside"] == []


def test_without_a_standstill_nothing_is_repeated(bench: Bench) -> None:
    course = Standing(bench, (0.9, survives))
    assert bench.run() == 1
    assert course.count == 1


def test_a_host_that_always_stands_still_gives_no_verdict(bench: Bench) -> None:
    course = Standing(bench, *[(30.0, survives)] * 9)
    with pytest.raises(InfrastructureError, match="course") as caught:
        bench.run()
    assert course.count == 3
    assert f"{STILL}: not killed" in caught.value.tail
    assert course.judged["outcome"] == "INFRASTRUCTURE_FAILED"
    assert len(course.judged["set_aside"]) == 2
    # The others were performed.
    assert bench.verdict["missing"] == []


def test_a_guest_whose_session_ended_by_it_is_started_anew(bench: Bench) -> None:
    def die(seen: Observations) -> Observations:
        bench.cause = BootError("soft lockup: …")
        (bench.results / LATEST / "console.log").write_text("of the first guest")
        return locked_up(seen)

    course = Standing(bench, (30.0, die))
    # The session that is open then ends with the guest; the next one is healthy.
    bench.boot = lambda *_: setattr(bench, "cause", None)
    assert bench.run() == 0
    assert (course.count, len(bench.opened)) == (2, 2)
    assert "soft lockup" in course.judged["set_aside"][0]
    names = [one["scenario"] for one in bench.verdict["scenarios"]]
    assert (names[0], names[-1], len(names)) == ("boot", "whole log", len(SCENARIOS) + 2)
    assert (
        bench.results / LATEST / "console.stood-still-1.log"
    ).read_text() == "of the first guest"


def test_a_guest_whose_kernel_complained_is_started_anew(bench: Bench) -> None:
    """Its session may end soon, and its log is no longer that of a healthy kernel."""

    def complain(seen: Observations) -> Observations:
        line = "<4>[   12.000000] watchdog: BUG: soft lockup - CPU#0 stuck for 33s! [sh:1]\n"
        section = replace(seen.section, text=seen.section.text + line)
        return replace(seen, section=section, log=BOOT_LOG + line)

    course = Standing(bench, (30.0, complain))
    assert bench.run() == 0
    assert (course.count, len(bench.opened)) == (2, 2)


@pytest.mark.parametrize("still", [30.0, 0.0])
def test_a_guest_whose_kernel_complained_between_two_scenarios_is_started_anew(
    bench: Bench, still: float
) -> None:
    """As when QEMU was stopped before the scenario's script began."""
    stall = "<3>[   12.000000] rcu: INFO: rcu_sched self-detected stall on CPU\n"

    def complain(seen: Observations) -> Observations:
        return replace(seen, log=BOOT_LOG + stall)

    course = Standing(bench, (still, complain))
    # The fake guest's log at the end is that of its boot.
    assert bench.run() == 0
    assert (course.count, len(bench.opened)) == (1, 2 if still else 1)
    assert course.judged["passed"]
    kept = bench.results / LATEST / "kernel.stood-still-1.log"
    assert kept.exists() == bool(still)
    assert not still or kept.read_text() == BOOT_LOG + stall


LOCKED_UP = "soft lockup: watchdog: BUG: soft lockup - CPU#0 stuck for 33s! [sh:1]"


@pytest.mark.parametrize(
    ("still", "cause", "passes"),
    [
        (30.0, LOCKED_UP, True),
        (0.0, LOCKED_UP, False),
        (30.0, "kernel panic: Kernel panic - not syncing: x", False),
    ],
)
def test_a_session_that_ends_between_two_scenarios(
    bench: Bench, still: float, cause: str, passes: bool
) -> None:
    def end(seen: Observations) -> Observations:
        bench.stood_still, bench.cause = still, BootError(cause)
        return seen

    bench.change = at("course", end)
    bench.boot = lambda *_: setattr(bench, "cause", None)
    assert bench.run() == (0 if passes else 1)
    assert len(bench.opened) == (2 if passes else 1)
    assert (f"the guest is started anew: {LOCKED_UP}" in bench.output.getvalue()) == passes


@pytest.mark.parametrize("still", [30.0, 0.0])
def test_a_session_that_ends_behind_the_last_scenario(bench: Bench, still: float) -> None:
    def end(seen: Observations) -> Observations:
        bench.stood_still, bench.cause = still, BootError(LOCKED_UP)
        return seen

    bench.change = at(SCENARIOS[-1].name, end)
    if still:
        with pytest.raises(InfrastructureError, match="whole log") as caught:
            bench.run()
        assert STILL in caught.value.tail
    else:
        assert bench.run() == 1


def test_what_the_first_guest_did_wrong_before_is_not_forgotten(bench: Bench) -> None:
    def complain(seen: Observations) -> Observations:
        return replace(seen, log=f"{BOOT_LOG}<4>[    1.000000] WARNING: CPU: 0 PID: 1 at x\n")

    def die(seen: Observations) -> Observations:
        bench.cause = BootError("soft lockup: …")
        return locked_up(seen)

    course = Standing(bench, (30.0, die))
    in_course = bench.change
    first = SCENARIOS[0].name
    bench.change = lambda scenario, seen: (
        complain(seen) if scenario.name == first else in_course(scenario, seen)
    )
    bench.boot = lambda *_: setattr(bench, "cause", None)
    assert bench.run() == 1
    assert course.judged["passed"]
    assert bench.verdict["result"] == "FAIL: kernel complained in whole log"
    assert [one["scenario"] for one in bench.verdict["scenarios"]].count("whole log") == 1


def test_each_process_has_the_name_that_the_kernel_knows() -> None:
    scenario = next(one for one in SCENARIOS if one.name == "hostile-name")
    seen = World(scenario, "rss", "daemon").observe()
    (run,) = scenario.runs
    output = seen.runs[run.name].output
    names = names_in(scenario, "daemon", seen)
    assert names[output.children[0].pid] == run.children[0].name
    assert output.pid is not None
    assert names[output.pid] == "oom_test_daemon"
    assert names_in(scenario, "alloc", replace(seen, runs={})) == {}


def test_a_kernel_that_dies_between_two_scenarios_has_failed(bench: Bench) -> None:
    def die(seen: Observations) -> Observations:
        bench.cause = BootError("the kernel panicked")
        return seen

    bench.change = at("course", die)
    assert bench.run(jobs="1") == 1
    assert bench.verdict["result"] == "FAIL: kernel died in whole log"
    assert [one["scenario"] for one in bench.verdict["scenarios"]][-2:] == ["course", "whole log"]
    assert bench.verdict["finished"] is False


def test_what_goes_wrong_behind_the_kernels_fault_does_not_hide_it(bench: Bench) -> None:
    def fail(scenario: Scenario, seen: Observations) -> Observations:
        return without_record(seen) if scenario.name == "report" else bench.machine_goes(seen)

    bench.change = fail
    assert bench.run(jobs="1") == 1
    assert bench.verdict["result"] == "FAIL: records disagree in report (policy rss)"
    assert "what ended it: the machine (QEMU) was killed by SIGKILL" in bench.output.getvalue()


def test_who_interrupts_gets_no_verdict_on_what_was_under_way(bench: Bench) -> None:
    machine = Health()
    bench.boot = lambda _name, started: started(machine)

    def ctrl_c(_scenario: Scenario, seen: Observations) -> Observations:
        interrupt_main()
        # A wait that the interrupt ends.
        assert machine.pause(120)
        bench.cause = InfrastructureError("the run was ended")
        return replace(seen, problem=bench.cause.message, runs={})

    bench.change = ctrl_c
    with pytest.raises(KeyboardInterrupt):
        bench.run(jobs="1")
    assert bench.verdict["result"] == "FAIL: KeyboardInterrupt"
    assert [one["scenario"] for one in bench.verdict["scenarios"]] == ["boot"]
