# SPDX-License-Identifier: MIT
"""The `bench` task: builds the kernels to compare, measures on them, and judges the goals.

Instructions are counted on a machine with one CPU, whose clock counts instructions (QEMU's
-icount). Kills, crowds and wall-clock times are measured on the board's own machine.
"""

from __future__ import annotations

import os
import platform
import re
import secrets
import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from statistics import fmean

import psutil
from rich.box import SIMPLE_HEAD
from rich.table import Table

from harness.bench import goals as bench_goals
from harness.bench import plan as bench_plan
from harness.bench import plot as bench_plot
from harness.bench.baselines import Baseline
from harness.bench.goals import Judgement, Verdict
from harness.bench.output import PROGRAM, BenchOutput, idle_pid, parse_bench
from harness.bench.plan import MIB, PARTS, UID, Bystanders, Overcommit, Plan, Setting, Work
from harness.bench.result import (
    JSON,
    BenchResult,
    Count,
    Crowd,
    Kill,
    KillCase,
    Looks,
    Massacre,
    PipeReads,
    Timing,
    to_csv,
    to_json,
)
from harness.build import kernel, modules, programs, rootfs
from harness.build.kernel import KernelBuild
from harness.build.modules import ModuleBuild
from harness.build.programs import ProgramBuild
from harness.build.rootfs import Rootfs
from harness.build.toolchain import toolchain_version
from harness.core.errors import EXIT_FAILED, EXIT_PASSED, DeviceError, UsageError
from harness.core.paths import RESULTS
from harness.kernel_output.records import KillRecord, parse_log
from harness.machine import qemu
from harness.machine.adb import Device
from harness.machine.session import Boot, open_session
from harness.results.folder import ResultFolder
from harness.scenarios.run import DEVICE_FOLDER, parse_limits
from harness.scenarios.script import TRACING, events_command
from harness.targets.model import PAGE, QemuMachine, Target
from harness.ui.workspace import Workspace

CSV = "bench.csv"

_DAEMON = "oom_daemon"
_DAEMON_MODULE = "my_oom_killer"
# The console shows only what ends a kernel: to write a kill's record to an emulated serial port
# takes as long as the kill.
_CONSOLE_LEVEL = 3
# The layout of a program's address space decides how many page tables a fork copies.
_RANDOM_LAYOUT = "/proc/sys/kernel/randomize_va_space"
_FIND_TRACE = " || ".join(f"trace={folder}/trace; [ -e $trace ]" for folder in TRACING)
_CLEAR_TRACE = f"{{ {_FIND_TRACE}; }} && : > $trace"
_READ_TRACE = f"{{ {_FIND_TRACE}; }} && cat $trace"
_SETTING_SECONDS = 300.0
# An idle host executes and counts 200 million instructions per second; a busy one far fewer.
_WORK_SECONDS = 900.0
# The time to wait for a kill. The slowest daemon checks every 5 s.
_KILL_SECONDS = 15.0
# The rest of the time that a run takes, also on a busy host.
_RUN_SECONDS = 15.0
_PROCESS_SECONDS = 0.1


@dataclass(frozen=True)
class _Built:
    """The builds that a baseline boots."""

    kernel: KernelBuild
    # Only if a daemon needs them.
    modules: ModuleBuild | None


@dataclass
class _Run:
    """A run in progress: its builds, its result folder, and its results so far."""

    ws: Workspace
    plan: Plan
    folder: ResultFolder
    result: BenchResult
    built: dict[str, _Built]
    programs: ProgramBuild
    rootfs: Rootfs

    def add(self, **more: tuple[object, ...]) -> None:
        """Add measured values to the result, and save it."""
        measured = self.result.measured
        grown = {name: (*getattr(measured, name), *values) for name, values in more.items()}
        self.result = replace(self.result, measured=replace(measured, **grown))
        self.save()

    def save(self) -> None:
        """Update the files of the result."""
        goals = bench_goals.summary(bench_goals.judge(self.result.measured))
        self.folder.put(JSON, to_json(self.result, goals=goals))
        self.folder.put(CSV, to_csv(self.result.measured))


@dataclass
class _Guest:
    """A booted kernel, ready for measurements."""

    baseline: Baseline
    device: Device

    def shell(self, command: str) -> None:
        """Run a command of the setup, which must succeed, in the programs' folder."""
        self.device.shell(f"cd {DEVICE_FOLDER} && {command}", timeout=_SETTING_SECONDS)

    def work(self, work: Work, programs: int = 1) -> tuple[float, ...]:
        """Do a work as the measured user; return each program's mean per page or process.

        The first run of a program does not count. Raises DeviceError unless all runs are there.
        """
        become = "" if work.by_root else f"su {UID} "
        if group := self.baseline.group_file(UID):
            become = f"{{ test ! -e {group} || echo $$ > {group}; }} && {become}"
        words = [*work.words, str(work.runs)]
        output = self._bench(words, before=become, programs=programs, timeout=_WORK_SECONDS)
        runs = [time.per_unit for time in output.times]
        if len(runs) != work.runs * programs:
            raise DeviceError(f"{PROGRAM} told of {len(runs)} runs of {work.name}")
        firsts = range(0, len(runs), work.runs)
        return tuple(fmean(runs[first + 1 : first + work.runs]) for first in firsts)

    def exceed(self, command: str, size: int, processes: int, pages: int, runs: int) -> BenchOutput:
        """Have processes of the measured user grow beyond its limit of `size` bytes, `runs` times.

        Each touches up to `pages` pages; `command` is one of bench_work, which has its own
        processes if their number is 0.
        """
        group = self.baseline.group_file(UID)
        options = ["-t", f"{_KILL_SECONDS:g}", *(["-g", group] if group else [])]
        numbers = (UID, size, *((processes, pages) if processes else ()), runs)
        words = [command, *map(str, numbers)]
        seconds = runs * (_KILL_SECONDS + _RUN_SECONDS + processes * _PROCESS_SECONDS)
        return self._bench(words, options=options, timeout=seconds, check=False)

    def _bench(
        self,
        words: Sequence[str],
        *,
        before: str = "",
        options: Sequence[str] = (),
        programs: int = 1,
        timeout: float,
        check: bool = True,
    ) -> BenchOutput:
        """Run bench_work `programs` times; raise DeviceError unless each comes to its end."""
        marker = secrets.token_hex(8)
        command = before + shlex.join([f"./{PROGRAM}", "-m", marker, *options, *words])
        command = " && ".join([command] * programs)
        done = self.device.shell(f"cd {DEVICE_FOLDER} && {command}", timeout=timeout, check=check)
        output = parse_bench(done.output)
        if output.done != (marker,) * programs:
            raise DeviceError(
                f"{PROGRAM} {shlex.join(words)} did not come to its end", tail=done.output[-500:]
            )
        return output

    def limit(self, size: int | None) -> None:
        """Give the measured user a limit, or (None) remove it."""
        self.shell(self.baseline.limit(UID, size))

    @contextmanager
    def setting(self, setting: Setting) -> Iterator[None]:
        """Set up a setting's limits and processes, and remove them afterwards."""
        self.shell(_others_command(self.baseline, setting.others, bench_plan.OTHERS_LIMIT))
        if setting.own_limit:
            self.limit(bench_plan.FAR_LIMIT)
        each = bench_plan.STRANGERS_EACH
        with ExitStack() as stack:
            for number, first in enumerate(range(0, setting.strangers, each)):
                count = min(each, setting.strangers - first)
                stack.enter_context(self.idle(bench_plan.FIRST_STRANGER + number, "idle", count))
            if setting.processes:
                stack.enter_context(self.idle(UID, "idle", setting.processes))
            yield
        self.limit(None)
        self.shell(_others_command(self.baseline, setting.others, None))

    @contextmanager
    def idle(self, uid: int, command: str, count: int) -> Iterator[None]:
        """Run idle processes of a user: a command of bench_work that waits to be killed."""
        command = f"cd {DEVICE_FOLDER} && exec su {uid} ./{PROGRAM} {command} {count}"
        running = self.device.start(command)
        pid = idle_pid(running.wait_line("idle: ", timeout=_SETTING_SECONDS))
        yield
        self.shell(f"kill {pid}")
        running.wait(_SETTING_SECONDS)


def run(
    ws: Workspace,
    target: Target,
    *,
    quick: bool = False,
    parts: Sequence[str] = (),
    source: str | None = None,
    results: Path | None = None,
) -> int:
    """Measure and judge; return the exit status: 1 if a goal is missed by more than its spread.

    `parts` (of `PARTS`) selects what is measured; without any, all parts are. Raise UsageError
    for an unknown part, or a machine that is not stock QEMU. Errors of building and booting
    pass through.
    """
    _check(target, parts)
    plan = _only(bench_plan.quick() if quick else bench_plan.full(), parts)
    folder = ResultFolder.create(results or RESULTS, target.name, "bench", datetime.now())
    command = _command(target, quick, parts, source)
    folder.put("command.txt", f"{command}\n")
    ws.reporter.run_begin(shlex.split(command), kernel=target.name)
    when = datetime.now().astimezone().isoformat(timespec="seconds")
    tools, guest = programs.build(ws, target), rootfs.build(ws, target)
    built = {one.name: _build(ws, target, one, source) for one in plan.baselines}
    machine = _machine(target, next(iter(built.values())).kernel)
    kernels = {name: one.kernel.release for name, one in built.items()}
    result = BenchResult(when, command, quick, machine=machine, kernels=kernels)
    bench = _Run(ws, plan, folder, result, built, tools, guest)
    bench.save()
    started = time.monotonic()
    _count(bench)
    _kill(bench)
    _disturb(bench)
    _time(bench)
    bench.result = replace(
        bench.result,
        finished=True,
        machine={
            **bench.result.machine,
            "measured for": f"{(time.monotonic() - started) / 60:.1f} min",
            "load at the end": _load(),
        },
    )
    bench.save()
    with ws.reporter.phase("draw"):
        bench_plot.draw(bench.result, folder.path)
    return _finish(bench)


def _check(target: Target, parts: Sequence[str]) -> None:
    wrong = [part for part in parts if part not in PARTS]
    if wrong:
        raise UsageError(f"no part is called {wrong[0]!r}", hint=f"one of: {', '.join(PARTS)}")
    if not isinstance(target.machine, QemuMachine):
        raise UsageError("the benchmark needs a machine of stock QEMU", hint="--emulator qemu")


def _only(plan: Plan, parts: Sequence[str]) -> Plan:
    """Return the plan with only the named parts; all of it if none is named."""
    if not parts:
        return plan
    return replace(
        plan,
        countings=plan.countings if "counts" in parts else (),
        overcommits=plan.overcommits if "kills" in parts else {},
        freed=plan.freed if "kills" in parts else {},
        crowds=plan.crowds if "crowds" in parts else {},
        bystanders=plan.bystanders if "bystanders" in parts else {},
        timed=plan.timed if "times" in parts else (),
    )


def _command(target: Target, quick: bool, parts: Sequence[str], source: str | None) -> str:
    words = ["./inv", "bench", *(["--quick"] if quick else []), "--kernel", target.name]
    words += [word for part in parts for word in ("--part", part)]
    words += ["--source", source] if source else []
    words += ["--toolchain", target.toolchain] if target.is_llvm else []
    words += ["--cross-compile", target.cross_compile] if target.is_cross_compile_changed else []
    return shlex.join(words)


def _build(ws: Workspace, target: Target, baseline: Baseline, source: str | None) -> _Built:
    ws.reporter.say(f"kernel: {baseline.name}")
    baseline = baseline.on(target)
    built = kernel.build(
        ws, baseline.target(target), source, baseline.patches, baseline.config_file
    )
    return _Built(built, modules.build(ws, built) if baseline.daemon is not None else None)


def _machine(target: Target, built: KernelBuild) -> dict[str, str]:
    """Return what a reader has to know about the host, the guest and the tools."""
    assert isinstance(target.machine, QemuMachine)
    cpus = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return {
        "host CPU": f"{os.cpu_count()} x {cpus[1] if cpus else platform.machine()}",
        "host memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "host kernel": platform.release(),
        "load at the begin": _load(),
        "QEMU": qemu.version(target.machine),
        "guest": f"{target.machine.machine}, {target.machine.cpu}, "
        f"{target.machine.smp} CPUs (1 for instructions), {target.machine.memory_mib} MiB",
        "kernel source": built.source.origin,
        "compiler": toolchain_version(target),
    }


def _load() -> str:
    return " ".join(f"{one:.1f}" for one in os.getloadavg())


# --- guests -------------------------------------------------------------------------


@contextmanager
def _guest(bench: _Run, baseline: Baseline, counting: str = "") -> Iterator[_Guest]:
    """Boot a baseline's kernel, and set up its limits and its daemon.

    `counting` is the name of the setting to count instructions for; if empty, none are counted.
    """
    built = bench.built[baseline.name]
    target = built.kernel.target
    assert isinstance(target.machine, QemuMachine)
    if counting:
        target = target.on_machine(target.machine.counting_instructions())
    folder = bench.folder.path / "-".join([baseline.name, *([counting] if counting else [])])
    boot = Boot(target, built.kernel.image, bench.rootfs.initramfs, built.kernel.release)
    with open_session(bench.ws, boot, folder) as session:
        device = session.device
        baseline = baseline.on(target)
        guest = _Guest(baseline, device)
        device.push(bench.programs.path(PROGRAM), f"{DEVICE_FOLDER}/{PROGRAM}")
        guest.shell(f"busybox dmesg -n {_CONSOLE_LEVEL} && {baseline.begin}")
        if counting:
            guest.shell(f"echo 0 > {_RANDOM_LAYOUT}")
        if built.modules is not None and baseline.daemon is not None:
            _start_daemon(bench, guest, built.modules, baseline.daemon)
        yield guest
        session.check()


def _start_daemon(bench: _Run, guest: _Guest, loadable: ModuleBuild, seconds: float) -> None:
    device = guest.device
    module = f"{DEVICE_FOLDER}/{_DAEMON_MODULE}.ko"
    device.push(loadable.path(f"{_DAEMON_MODULE}.ko"), module, 0o644)
    device.push(bench.programs.path(_DAEMON), f"{DEVICE_FOLDER}/{_DAEMON}")
    # The daemon is not waited for: it ends with the machine.
    daemon = f"busybox setsid ./{_DAEMON} {seconds:g} </dev/null >/dev/null 2>&1"
    guest.shell(f"insmod {module} && {{ {daemon} & }}")


def _others_command(baseline: Baseline, count: int, size: int | None) -> str:
    """Return the command that gives `count` other users a limit, or (None) removes it."""
    if not count:
        return ":"
    one = baseline.limit(0, size).replace("uid=0", "uid=$uid")
    first = bench_plan.FIRST_OTHER_UID
    return f"uid={first}; while [ $uid -lt {first + count} ]; do {one}; uid=$((uid + 1)); done"


# --- instructions -------------------------------------------------------------------


def _count(bench: _Run) -> None:
    """Count instructions; each setting of each kernel has a freshly booted machine."""
    for baseline in bench.plan.baselines:
        countings = [one for one in bench.plan.countings if one.baseline == baseline]
        for setting in dict.fromkeys(one.setting for one in countings):
            with (
                bench.ws.reporter.phase(f"count instructions: {baseline.name}, {setting.text}"),
                _guest(bench, baseline, setting.name) as guest,
                guest.setting(setting),
            ):
                for one in countings:
                    if one.setting == setting:
                        values = guest.work(one.work, one.programs)
                        count = Count(baseline.name, setting.name, one.work.name, values)
                        bench.add(counts=(count,))


# --- kills --------------------------------------------------------------------------


def _kill(bench: _Run) -> None:
    """Let users exceed their limits, kernel by kernel."""
    plan = bench.plan
    for baseline in plan.baselines:
        cases = plan.overcommits.get(baseline.name, ())
        crowds = plan.crowds.get(baseline.name, 0)
        if freed := plan.freed.get(baseline.name, ()):
            with (
                bench.ws.reporter.phase(f"free memory: {baseline.name}") as phase,
                _guest(bench, baseline, "kills") as guest,
            ):
                for case in freed:
                    phase.note(f"{case.processes} processes, limit {case.limit_mib} MB")
                    counted = replace(_overcommit(guest, case), counted=True)
                    bench.add(kill_cases=(counted,))
        if not cases and not crowds:
            continue
        with (
            bench.ws.reporter.phase(f"kills: {baseline.name}") as phase,
            _guest(bench, baseline) as guest,
        ):
            for case in cases:
                phase.note(f"{case.processes} processes, limit {case.limit_mib} MB")
                bench.add(kill_cases=(_overcommit(guest, case),))
            if crowds:
                phase.note("a crowd")
                bench.add(crowds=_crowd(guest, crowds))


def _overcommit(guest: _Guest, case: Overcommit) -> KillCase:
    size = case.limit_mib * MIB
    pages = (size + bench_plan.MOST_ABOVE_MIB * MIB) // PAGE // case.processes
    # A new entry in /proc/mm_limits, so that its overshoot is of this case alone.
    guest.limit(None)
    guest.limit(size)
    # The records of earlier cases have been read.
    guest.shell("busybox dmesg -c > /dev/null")
    output = guest.exceed("overshoot", size, case.processes, pages, case.kills)
    records = parse_log(guest.device.kernel_log(), raw=True).records
    entries = parse_limits(guest.device) if guest.baseline.patched else ()
    seen = [one.overshoot for one in entries if one.uid == UID]
    return KillCase(
        guest.baseline.name,
        case.processes,
        case.limit_mib,
        case.kills,
        join_records(output.kills, records),
        seen[0] // PAGE if seen else None,
    )


def join_records(
    kills: Sequence[tuple[int, Kill]], records: Sequence[KillRecord]
) -> tuple[Kill, ...]:
    """Return each kill, of which the victim's pid is given, with what the kernel's record says."""
    inside = {one.pid: (one.user_rss - one.mm_max) // PAGE for one in records}
    return tuple(replace(kill, inside=inside.get(pid)) for pid, kill in kills)


def _crowd(guest: _Guest, runs: int) -> tuple[Crowd, ...]:
    size = bench_plan.CROWD_LIMIT_MIB * MIB
    pages = bench_plan.CROWD_MIB * MIB // PAGE
    guest.limit(size)
    output = guest.exceed("crowd", size, bench_plan.CROWD_PROCESSES, pages, runs)
    return tuple(Crowd(guest.baseline.name, one.us, one.kills, one.within) for one in output.crowds)


# --- bystanders ---------------------------------------------------------------------


def _disturb(bench: _Run) -> None:
    """Measure what others feel of a user that exceeds its limit, and looks near it."""
    for baseline in bench.plan.baselines:
        if (wanted := bench.plan.bystanders.get(baseline.name)) is None:
            continue
        with (
            bench.ws.reporter.phase(f"bystanders: {baseline.name}") as phase,
            _guest(bench, baseline, "bystanders") as guest,
        ):
            if wanted.pipes:
                phase.note("a pipe")
                bench.add(pipes=_pipes(guest, wanted))
            phase.note(f"{wanted.processes} processes are killed")
            bench.add(massacres=_massacres(guest, wanted))
            # Last, because the kernel tells of each candidate from then on.
            phase.note("forks near the limit")
            bench.add(looks=tuple(_looks(guest) for _ in range(wanted.looks)))


def _looks(guest: _Guest) -> Looks:
    """Count the looks at a user that forks near its limit: the scans in the kernel's events.

    Each look weighs the process that holds the user's memory, so each has an event.
    """
    work = bench_plan.NEAR
    with guest.idle(UID, "hold", bench_plan.NEAR_PAGES):
        guest.limit(bench_plan.FAR_LIMIT)
        usage = next(one.rss for one in parse_limits(guest.device) if one.uid == UID)
        guest.limit(usage + (bench_plan.NEAR_LEFT + bench_plan.NEAR_FORKER) * PAGE)
        guest.shell(f"{events_command()} && {_CLEAR_TRACE}")
        guest.work(work)
        trace = guest.device.shell(_READ_TRACE, timeout=_SETTING_SECONDS).output
        guest.limit(None)
    return Looks(guest.baseline.name, scans(trace, UID), int(work.words[-1]) * work.runs)


def scans(trace: str, uid: int) -> int:
    """Return how many looks at a user left events in a trace."""
    return len(set(re.findall(rf" mm_limits_candidate: scan=(\d+) uid={uid} ", trace)))


def _pipes(guest: _Guest, wanted: Bystanders) -> tuple[PipeReads, ...]:
    size = bench_plan.PIPE_LIMIT_MIB * MIB
    guest.limit(size)
    output = guest.exceed("pipe", size, 0, 0, wanted.pipes)
    return tuple(replace(one, baseline=guest.baseline.name) for one in output.pipes)


def _massacres(guest: _Guest, wanted: Bystanders) -> tuple[Massacre, ...]:
    size, pages = bench_plan.MASSACRE_LIMIT, bench_plan.MASSACRE_PAGES
    output = guest.exceed("bystander", size, wanted.processes, pages, wanted.massacres)
    return tuple(replace(one, baseline=guest.baseline.name) for one in output.massacres)


# --- wall-clock ---------------------------------------------------------------------


def _time(bench: _Run) -> None:
    """Time every work on every kernel, in turns: A B C, then B C A, then C A B.

    All machines run all the time, so that other load on the host affects all of them alike.
    """
    plan, values = bench.plan, dict[tuple[str, str], list[float]]()
    if not plan.timed or not plan.rounds:
        return
    with ExitStack() as stack, bench.ws.reporter.phase("time") as phase:
        guests = [stack.enter_context(_guest(bench, baseline)) for baseline in plan.timed]
        for guest in guests:
            guest.limit(bench_plan.FAR_LIMIT)
        for number in range(plan.rounds):
            for work in plan.timed_works:
                phase.note(f"round {number + 1} of {plan.rounds}: {work.name}")
                for guest in guests[number % len(guests) :] + guests[: number % len(guests)]:
                    (value,) = guest.work(work)
                    values.setdefault((guest.baseline.name, work.name), []).append(value)
    bench.add(timings=tuple(Timing(*names, tuple(each)) for names, each in values.items()))


# --- the end ------------------------------------------------------------------------


def _finish(bench: _Run) -> int:
    judgements = bench_goals.judge(bench.result.measured)
    reporter = bench.ws.reporter
    reporter.console.print(goal_table(judgements))
    reporter.say(f"results: {bench.folder.path}")
    missed = [one for one in judgements if one.verdict is Verdict.MISSED]
    for one in missed:
        reporter.say(f"  missed: {one.goal.figure}: {one.value}, goal {one.goal.goal}")
    bounds = [one for one in judgements if one.goal.bound is not None]
    measured = sum(one.verdict is not Verdict.NOT_MEASURED for one in bounds)
    verdict = f"PASS: {measured} of {len(bounds)} goals measured, none missed"
    if missed:
        verdict = f"FAIL: {len(missed)} goals missed by more than their spread"
    reporter.result(verdict, bench.folder.path)
    return EXIT_FAILED if missed else EXIT_PASSED


def goal_table(judgements: Sequence[Judgement]) -> Table:
    """Return the table of the goals and their verdicts."""
    table = Table(title="Goals", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("figure")
    for name in ("goal", "measured", "between"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    styles = {Verdict.REACHED: "green", Verdict.MISSED: "bold red", Verdict.REPORTED: "none"}
    for one in judgements:
        style = styles.get(one.verdict, "yellow")
        verdict = f"[{style}]{one.verdict.value}[/]"
        table.add_row(one.goal.figure, one.goal.goal, one.value, one.spread, verdict)
    return table
