# SPDX-License-Identifier: MIT
"""The main job: build everything, boot it, run the scenarios, judge, and tell."""

from __future__ import annotations

import os
import secrets
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from harness import kernel, modules, programs, report, rootfs, step_summary
from harness.errors import EXIT_FAILED, EXIT_PASSED, HarnessError, InfrastructureError
from harness.kcidb import check_origin
from harness.kernel import KernelBuild
from harness.klog import certain_lines
from harness.modules import ModuleBuild
from harness.paths import RESULTS
from harness.programs import ProgramBuild
from harness.results import ResultFolder, kill_table, scenario_table
from harness.rootfs import Rootfs
from harness.scenario_run import DEVICE_FOLDER, MODULES, modules_command, observe
from harness.scenarios import Modules, Scenario, check_trigger, policies_of, select
from harness.session import Session, check_machine, open_session
from harness.summary import KCIDB_ORIGIN, Judged, Planned, Summary
from harness.targets import Board, GitSource, Target
from harness.verdict import Outcome, ScenarioVerdict, judge, judge_log
from harness.workspace import Workspace

# The kernel log at two times, which is judged as a scenario is.
_BOOT = "boot"
_WHOLE_LOG = "whole log"
_MOST_REASONS = 5
_PREPARE_SECONDS = 60.0


@dataclass(frozen=True)
class _Built:
    """Everything that is booted or pushed."""

    kernel: KernelBuild
    modules: ModuleBuild
    programs: ProgramBuild
    rootfs: Rootfs


@dataclass
class _Run:
    """A run on its way: what it is, where it writes, and how far it has come."""

    ws: Workspace
    board: Board
    trigger: str
    folder: ResultFolder
    summary: Summary
    kernel_log: str = ""

    def save(self) -> None:
        """Brings the result folder up to date."""
        self.folder.write(self.summary, self.kernel_log)

    def note(self, **changes: object) -> None:
        """Changes the summary, and saves it."""
        self.summary = replace(self.summary, **changes)  # type: ignore[arg-type]
        self.save()

    def add(self, verdict: ScenarioVerdict, seconds: float) -> None:
        """One more verdict."""
        started = datetime.now(UTC) - timedelta(seconds=seconds)
        self.note(judged=(*self.summary.judged, Judged(verdict, seconds, started)))

    def add_log(self, name: str) -> None:
        """The verdict on the kernel log, which begins with the boot."""
        levels_tell = self.board.boot_levels_tell
        log = self.kernel_log if self.board.log_tells else certain_lines(self.kernel_log)
        self.add(judge_log(name, self.trigger, log, levels_tell=levels_tell), 0.0)


def run(
    ws: Workspace,
    target: Target,
    *,
    policy: str,
    trigger: str,
    source: str | None = None,
    scenarios: tuple[str, ...] | None = None,
    extra_patches: Sequence[Path] = (),
    extra_config: Path | None = None,
    avd: str | None = None,
    snapshot: bool = True,
    kcidb_origin: str = KCIDB_ORIGIN,
    results: Path | None = None,
) -> int:
    """Tests a kernel under `policy` (or "all") and `trigger`; returns the exit status.

    That is 0 if every scenario passed and 1 if the kernel did something wrong.
    With `snapshot` a guest that has booted before is restored in place of a boot.
    `kcidb_origin` is whose results these are to KernelCI.
    Raises UsageError for a word that means nothing, and other HarnessErrors
    where nothing is known about the kernel. Whatever happens, what was found by
    then is in a folder below `results`.
    """
    policies = policies_of(policy)
    chosen = select(scenarios, check_trigger(trigger))
    check_origin(kcidb_origin)
    command = ["./inv", "emulator-test", "--policy", policy, "--trigger", trigger]
    command += ["--kernel", target.name, "--emulator", target.emulator]
    command += ["--source", source] if source else []
    command += ["--debug"] if target.debug else []
    command += ["--cross-compile", target.cross_compile] if target.is_cross_compile_changed else []
    command += ["--avd", avd] if avd else []
    command += [] if snapshot else ["--no-snapshot"]
    command += [word for name in scenarios or () for word in ("--scenario", name)]
    command += [word for path in extra_patches for word in ("--patch", str(path))]
    command += ["--config", str(extra_config)] if extra_config else []
    folder = ResultFolder.create(results or RESULTS, target.name, policy, datetime.now())
    summary = Summary(
        kernel=target.name,
        policy=policy,
        trigger=trigger,
        command=tuple(command),
        run=f"{folder.path.name}-{secrets.token_hex(4)}",
        started=datetime.now(UTC),
        planned=_plan(policies, chosen),
        arch=target.arch,
        machine=target.machine.title,
        kcidb_origin=kcidb_origin,
    )
    test = _Run(ws=ws, board=target.board, trigger=trigger, folder=folder, summary=summary)
    with _told(test):
        check_machine(target, avd)
        built = _build(ws, target, source, extra_patches, extra_config)
        _note_kernel(test, built.kernel, target, source)
        with open_session(
            ws,
            built.kernel.image,
            built.rootfs.initramfs,
            target,
            folder=folder.path,
            expect_release=built.kernel.release,
            tools=built.rootfs.tools,
            avd_name=avd,
            snapshot=snapshot,
        ) as session:
            _prepare(test, session, built)
            _perform(test, session, chosen, policies)
    return _finish(test)


def _plan(policies: Sequence[str], scenarios: Sequence[Scenario]) -> tuple[Planned, ...]:
    """Everything that a whole run judges, in its order."""
    pairs = [Planned(policy, scenario.name) for policy in policies for scenario in scenarios]
    return (Planned("", _BOOT), *pairs, Planned("", _WHOLE_LOG))


def _note_kernel(test: _Run, built: KernelBuild, target: Target, source: str | None) -> None:
    """Writes down which kernel it is, and from which source."""
    taken, own = built.source, target.source
    command = test.summary.command
    if source is None and isinstance(own, GitSource):
        # The branch will have gone on by the time that somebody repeats the run.
        command += ("--source", f"{own.url}@{taken.commit}")
    test.note(
        command=command,
        release=built.release,
        toolchain=built.toolchain,
        origin=taken.origin,
        repository=taken.url,
        commit=taken.commit,
        changed=taken.changed,
    )


@contextmanager
def _told(test: _Run) -> Iterator[None]:
    """Whatever ends the run, the results say it and are complete as far as it came."""
    try:
        test.save()
        yield
    except BaseException as error:
        text = error.message if isinstance(error, HarnessError) else type(error).__name__
        test.note(problem=text)
        _tell(test)
        raise


def _build(
    ws: Workspace,
    target: Target,
    source: str | None,
    extra_patches: Sequence[Path],
    extra_config: Path | None,
) -> _Built:
    """Everything that is booted or pushed, built as far as it is not up to date."""
    built = kernel.build(ws, target, source, extra_patches, extra_config)
    return _Built(
        kernel=built,
        modules=modules.build(ws, built),
        programs=programs.build(ws, target),
        rootfs=rootfs.build(ws, target),
    )


def _prepare(test: _Run, session: Session, built: _Built) -> None:
    """Brings the programs and modules to the device, and loads the modules.

    As one archive and one command: over adb each costs a round of processes.
    """
    device = session.device
    files = [built.programs.path(name) for name in built.programs.names]
    files += [built.modules.path(name) for name in MODULES]
    remote = f"{DEVICE_FOLDER}/pushed.tar"
    commands = [
        f"cd {DEVICE_FOLDER}",
        f"busybox tar -xf {remote}",
        f"rm {remote}",
        f"echo {test.board.hung_task_seconds} > /proc/sys/kernel/hung_task_timeout_secs",
        modules_command(Modules(loaded=True)),
        "busybox dmesg -r",
    ]
    with (
        test.ws.reporter.phase("push programs and modules"),
        tempfile.TemporaryDirectory(prefix="goldfish-oom-") as folder,
    ):
        archive = Path(folder) / "pushed.tar"
        _pack(archive, files)
        device.push(archive, remote)
        test.kernel_log = device.shell(" && ".join(commands), timeout=_PREPARE_SECONDS).output
    test.add_log(_BOOT)


def _pack(archive: Path, files: Sequence[Path]) -> None:
    """Writes `files` into a tar archive: root's, and everybody may run them."""

    def everybodys(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = "root"
        member.mode = 0o755
        return member

    with tarfile.open(archive, "w") as tar:
        for path in files:
            tar.add(path, path.name, filter=everybodys)


def _perform(
    test: _Run, session: Session, scenarios: Sequence[Scenario], policies: Sequence[str]
) -> None:
    """Runs and judges every scenario under every policy, while the kernel lives."""
    for policy in policies:
        with test.ws.reporter.phase(f"scenarios, policy {policy}, trigger {test.trigger}") as phase:
            for scenario in scenarios:
                phase.note(f"{scenario.name}: {scenario.title}")
                if not _one(test, session, scenario, policy):
                    return
    test.kernel_log = session.device.kernel_log()
    test.add_log(_WHOLE_LOG)
    test.note(finished=True)


def _one(test: _Run, session: Session, scenario: Scenario, policy: str) -> bool:
    """Runs and judges one scenario; returns whether the kernel is still there."""
    started = time.monotonic()
    seen = observe(session, scenario, policy, test.trigger)
    test.kernel_log = seen.log or test.kernel_log
    levels_tell = test.board.levels_tell
    verdict = judge(scenario, policy, test.trigger, seen, levels_tell=levels_tell)
    test.add(verdict, time.monotonic() - started)
    if verdict.outcome is Outcome.KERNEL_DIED:
        return False
    session.check()
    return True


def _finish(test: _Run) -> int:
    """Tells the result; the exit status, or an error if nothing is known about the kernel."""
    _tell(test)
    if test.summary.passed:
        return EXIT_PASSED
    if all(verdict.outcome is Outcome.INFRASTRUCTURE_FAILED for verdict in test.summary.failed):
        reasons = [reason for verdict in test.summary.failed for reason in verdict.reasons]
        raise InfrastructureError(
            test.summary.last_line,
            tail="\n".join(reasons[:_MOST_REASONS]),
            log=test.folder.console_log,
            hint=f"again: cat {test.folder.path}/command.txt",
        )
    return EXIT_FAILED


def _tell(test: _Run) -> None:
    """The tables, what speaks against what failed, GitHub's part, the folder, the last line."""
    reporter, summary = test.ws.reporter, test.summary
    if summary.judged:
        reporter.console.print(scenario_table(summary.judged))
        reporter.console.print(kill_table(summary.judged))
    for verdict in summary.failed:
        reporter.say(f"{verdict.scenario} {verdict.policy}: {verdict.outcome.value}")
        for reason in verdict.reasons[:_MOST_REASONS]:
            reporter.say(f"  {reason}")
        if len(verdict.reasons) > _MOST_REASONS:
            reporter.say(f"  … and {len(verdict.reasons) - _MOST_REASONS} more")
    step_summary.tell(summary, os.environ, reporter)
    report.leave(test.folder.path, reporter)
    reporter.say(f"results: {test.folder.path}")
    reporter.say(summary.last_line)
