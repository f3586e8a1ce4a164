# SPDX-License-Identifier: MIT
"""The `emulator-test` task: builds everything, boots it, runs the scenarios, judges, reports."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime

from harness.build import equipment
from harness.build.bootable import Bootable
from harness.build.kernel import KernelBuild
from harness.build.kernel_symbols import find_decoded
from harness.bundle import built
from harness.bundle.manifest import Kernel, Original, Scenarios
from harness.core.errors import (
    EXIT_FAILED,
    EXIT_PASSED,
    HarnessError,
    InfrastructureError,
    SourceMovedError,
)
from harness.core.text import visible
from harness.jobs import guests
from harness.jobs.guests import Found, Machines, Work
from harness.jobs.options import EmulatorTestOptions
from harness.jobs.pool import Setup, boot_of, count_of
from harness.machine.session import check_machine
from harness.report import report
from harness.results import step_summary
from harness.results.differential import compare
from harness.results.folder import (
    REPORTS,
    ResultFolder,
    difference_table,
    kill_table,
    scenario_table,
)
from harness.results.kcidb import check_origin
from harness.results.run_result import RunResult, Status
from harness.scenarios.catalogue import check_trigger, on_stock, policies_of, select
from harness.scenarios.evidence import UsageSample
from harness.scenarios.observations import Observations
from harness.scenarios.verdict import Outcome
from harness.ui.workspace import Workspace

_MOST_REASONS = 5
# The shortest time between two writes of the evidence.
_EVIDENCE_SECONDS = 10.0


@dataclass
class Run:
    """A run in progress: its work, its result folder, and its results so far.

    The `work` is for guests on these `machines`. The lines of `last_words` are printed before the
    verdict.
    """

    ws: Workspace
    options: EmulatorTestOptions
    work: Sequence[Work]
    machines: Machines
    folder: ResultFolder
    summary: RunResult
    found: list[Found] = field(default_factory=list)
    evidence_at: float = field(default_factory=time.monotonic)
    last_words: list[Callable[[RunResult], str]] = field(default_factory=list)

    def save(self) -> None:
        """Update the result folder, except for what save_evidence() writes."""
        self.folder.write(self.summary, {found.guest: found.log for found in self.found})

    def save_evidence(self) -> None:
        """Write what only the report shows; to do so at every verdict would take too long."""
        self.evidence_at = time.monotonic()
        usage = [one for found in self.found for one in found.usage]
        decisions = [one for found in self.found for one in found.decisions]
        self.folder.write_evidence(usage, decisions)

    def seen(self, number: int) -> tuple[Observations, tuple[UsageSample, ...]]:
        """Return the observations and the memory samples of work number `number`."""
        return next(
            (one.seen, one.samples)
            for one in self.found
            if one.place == (1, number) and one.seen is not None
        )

    def note(self, **changes: object) -> None:
        """Change the summary, and save it."""
        self.summary = replace(self.summary, **changes)  # type: ignore[arg-type]
        self.save()

    def add(self, found: Found) -> None:
        """Add a verdict; verdicts are kept in the order of the work, whenever they come."""
        self.found.append(found)
        self.found.sort(key=lambda one: one.place)
        self.note(judged=tuple(one.judged for one in self.found))
        if time.monotonic() - self.evidence_at > _EVIDENCE_SECONDS:
            self.save_evidence()
        judged = found.judged
        # The stock kernel's verdicts are not reported one by one.
        if self.options.target.patched:
            self.ws.reporter.scenario_end(judged.end, judged.kills)


def run(
    ws: Workspace,
    options: EmulatorTestOptions,
    seen: Callable[[RunResult], object] = lambda _: None,
    last_words: Callable[[ResultFolder, Original], str] = lambda _folder, _now: "",
) -> int:
    """Test a kernel; return the exit status. Pass what is known at the end to `seen`.

    The status is 0 if every scenario passed, and 1 if the kernel did something wrong. What
    `last_words` returns, if the run was not interrupted, is printed before the verdict.

    Raise UsageError for an unknown policy, trigger or scenario, and other HarnessErrors if
    nothing is known about the kernel. In every case the results up to then are in a folder
    below `options.results`.
    """
    count = _count_of_guests(options)
    if count > 1 or options.jobs:
        # A repetition must have as many guests: on a smaller machine the default would be fewer.
        options = replace(options, jobs=str(count))
    test = _begin(ws, options, count)
    test.last_words.append(lambda summary: last_words(test.folder, Original.of_run(summary)))
    try:
        with _told(test):
            check_machine(options.target, options.avd)
            files, stock = _boot_files(test)
            _perform(test, files)
            if stock is not None and test.summary.finished:
                _compare(test, stock)
    except HarnessError:
        # The error ended the run, but what the kernel did wrong before it counts.
        if test.summary.status is not Status.FAILED:
            raise
        return EXIT_FAILED
    finally:
        seen(test.summary)
    return _finish(test)


def _boot_files(test: Run) -> tuple[Bootable, Bootable | None]:
    """Return what is to be booted, built unless a bundle has it; record it, to be bundled.

    With `differential`, the second is for the stock kernel, else None.
    """
    options = test.options
    target, source, config = options.target, options.source, options.config
    if options.bundle is not None:
        for line in options.bundle.notes:
            test.ws.reporter.say(line)
        kernel = options.bundle.manifest.kernel
        test.note(**asdict(kernel))
        note_built(test, kernel, options.bundle.files)
        return options.bundle.files, None
    equipped = equipment.build(test.ws, target, source, options.patches, config)
    _note_kernel(test, equipped.kernel)
    # Before anything boots: a build may fail.
    stock = None
    if options.differential:
        stock = equipment.build(test.ws, target.stock(), source, (), config)
        _check_same_source(equipped.kernel, stock.kernel)
    note_built(test, built.kernel_of(equipped.kernel), equipped.bootable)
    return equipped.bootable, None if stock is None else stock.bootable


def _check_same_source(ours: KernelBuild, stock: KernelBuild) -> None:
    """Raise SourceMovedError if somebody changed the source between the builds of two kernels."""
    if ours.source.key != stock.source.key:
        raise SourceMovedError(
            f"{ours.source.origin} changed between the builds of both kernels", hint="try it again"
        )


def _count_of_guests(options: EmulatorTestOptions) -> int:
    """Return how many guests share the work; UsageError as for pool.count_of()."""
    work, alone = work_of(options), options.target.with_one_cpu()
    # Besides those with one CPU, which have one of the host's each: it has little to do.
    more = int(alone is not options.target and any(one.scenario.two_cpus for one in work))
    return count_of(options.jobs, alone, len(work), guests.WORTH_A_GUEST, more)


def work_of(options: EmulatorTestOptions) -> list[Work]:
    """Return all work, in order. Raise UsageError for an unknown word."""
    scenarios = select(options.scenarios, check_trigger(options.trigger))
    return [Work(name, one) for name in policies_of(options.policy) for one in scenarios]


def _begin(ws: Workspace, options: EmulatorTestOptions, count: int) -> Run:
    """Return a run of `count` guests that has not started yet, with its folder.

    Raise UsageError as `run` does.
    """
    work, target, command = work_of(options), options.target, options.command()
    machines = Machines.of(target, work, count)
    policy, trigger = options.policy, options.trigger
    check_origin(options.kcidb_origin)
    folder = ResultFolder.create(options.results, target.name, policy, datetime.now())
    summary = RunResult(
        kernel=target.name,
        policy=policy,
        trigger=trigger,
        command=command,
        run=f"{folder.path.name}-{secrets.token_hex(4)}",
        started=datetime.now(UTC),
        planned=guests.plan(work, machines.count),
        arch=target.arch,
        machine=machines.title,
        kcidb_origin=options.kcidb_origin,
    )
    ws.reporter.run_begin(
        command, kernel=target.name, policy=policy, trigger=trigger, planned=summary.planned
    )
    return Run(ws, options, work, machines, folder, summary)


def note_built(test: Run, kernel: Kernel, files: Bootable) -> None:
    """Record what will be booted; from now on the run can be bundled."""
    names = tuple(dict.fromkeys(one.scenario.name for one in test.work))
    options = test.options
    what = Scenarios(options.policy, options.trigger, names, test.machines.at_once)
    bundle = options.bundle_file
    found = built.record(test.ws.cache, options.target, kernel, files, what, bundle)
    test.note(emulator=found.qemu)
    hint = built.leave(found, test.folder)
    test.last_words.append(lambda summary: "" if summary.passed else hint)


def _perform(test: Run, files: Bootable) -> None:
    """Boot what was built, have the work done, and judge it.

    The results are complete however it ends. See `open_session` for the errors.
    """
    options, target = test.options, test.options.target
    which = "" if target.patched else "stock kernel, "
    machines = test.machines
    side_by_side = f", {machines.count} guests" if machines.count > 1 else ""
    side_by_side += " in turn" if machines.in_turn else ""
    name = f"{which}policy {options.policy}, trigger {options.trigger}{side_by_side}"
    boot = boot_of(machines.first, files, options.snapshot, options.avd)
    further = None if machines.are_alike else replace(boot, target=machines.others)
    setup = Setup(test.ws, boot, test.folder, machines.count, further, machines.in_turn)
    try:
        with test.ws.reporter.phase(f"scenarios, {name}"):
            done = guests.Scenarios(setup, options.trigger, test.add).run(test.work)
        test.note(finished=done)
    finally:
        consoles = {one: test.folder.console_of(one) for one in range(1, machines.count + 1)}
        test.note(reports=find_decoded(consoles, files.vmlinux, target.cross_compile))
        test.save_evidence()


def _compare(test: Run, files: Bootable) -> None:
    """Do the same on the stock kernel, and record what differs.

    Raise InfrastructureError if the stock kernel did not behave as one: then a difference says
    nothing about the patched kernel.
    """
    folder = ResultFolder(test.folder.path / "stock")
    folder.path.mkdir()
    summary = replace(
        test.summary,
        run=f"{test.summary.run}-stock",
        release=files.release,
        judged=(),
        finished=False,
    )
    work = [replace(one, scenario=on_stock(one.scenario)) for one in test.work]
    options = replace(test.options, target=test.options.target.stock())
    machines = Machines.of(options.target, work, test.machines.at_once)
    stock = Run(test.ws, options, work, machines, folder, summary)
    _perform(stock, files)
    if not stock.summary.passed:
        raise InfrastructureError(
            f"the stock kernel did something else: {stock.summary.reason}",
            log=folder.console_of(1),
        )
    found = [
        difference
        for number, one in enumerate(test.work)
        for difference in compare(one.scenario, one.policy, stock.seen(number), test.seen(number))
    ]
    test.folder.write_differences(found)
    test.ws.reporter.console.print(difference_table(found))


def _note_kernel(test: Run, kernel: KernelBuild) -> None:
    """Record which kernel was built, and from which source."""
    taken = kernel.source
    test.options = test.options.at_commit(taken.commit)
    test.note(
        command=test.options.command(),
        release=kernel.release,
        toolchain=kernel.toolchain,
        origin=taken.origin,
        repository=taken.url,
        commit=taken.commit,
        changed=taken.changed,
    )


@contextmanager
def _told(test: Run) -> Iterator[None]:
    """Make sure that, however the run ends, its results are complete and say what ended it."""
    try:
        test.save()
        yield
    except BaseException as error:
        text = error.message if isinstance(error, HarnessError) else type(error).__name__
        test.note(problem=text)
        if not isinstance(error, Exception):
            # A signal ended the run: its sender needs no explanation.
            test.last_words.clear()
        _tell(test)
        raise


def _finish(test: Run) -> int:
    """Report the result; return the exit status, or raise if nothing is known of the kernel."""
    _tell(test)
    if test.summary.passed:
        return EXIT_PASSED
    if all(one.outcome is Outcome.INFRASTRUCTURE_FAILED for one in test.summary.failed):
        reasons = [reason for one in test.summary.failed for reason in one.reasons]
        raise InfrastructureError(
            test.summary.last_line,
            tail="\n".join(reasons[:_MOST_REASONS]),
            log=test.folder.console_of(test.summary.failed[0].guest if test.summary.failed else 1),
            hint=f"again: cat {test.folder.path}/command.txt",
        )
    return EXIT_FAILED


def _tell(test: Run) -> None:
    """Print the tables, the reasons of failures, GitHub's summary, the folder, the last line."""
    reporter, summary = test.ws.reporter, test.summary
    if summary.judged:
        reporter.console.print(scenario_table(summary.judged))
        reporter.console.print(kill_table(summary.judged))
    for one in summary.failed:
        reporter.say(f"{one.scenario} {one.policy}: {one.outcome.value}")
        for reason in one.reasons[:_MOST_REASONS]:
            reporter.say(f"  {reason}")
        if len(one.reasons) > _MOST_REASONS:
            reporter.say(f"  … and {len(one.reasons) - _MOST_REASONS} more")
    if summary.problem and summary.failed:
        reporter.say(f"what ended it: {visible(summary.problem)}")
    for said in summary.reports:
        reporter.say(f"kernel report: {visible(said.title)} ({test.folder.path / REPORTS})")
    step_summary.tell(summary, os.environ, reporter)
    report.leave(test.folder.path, reporter)
    reporter.say(f"results: {test.folder.path}")
    for line in filter(None, (words(summary) for words in test.last_words)):
        reporter.say(line)
    reporter.result(summary.last_line, test.folder.path)
