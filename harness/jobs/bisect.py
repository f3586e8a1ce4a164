# SPDX-License-Identifier: MIT
"""The `bisect` task: finds the commit of a kernel tree that changed a verdict, by `git bisect`.

Each commit is checked out in a clone of ours, which is the `--source` of one `emulator-test`. So
all of them are built in one work tree, and each step builds only what differs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from harness.build.bisection import SHORT, Clone, Commit, Verdict, cloned, steps_left
from harness.build.mirror import find_ends
from harness.build.source import check_version, tree_version
from harness.core.errors import (
    EXIT_PASSED,
    BootError,
    BuildError,
    DeviceError,
    HarnessError,
    InfrastructureError,
    KconfigError,
    PatchError,
    SourceError,
    UsageError,
)
from harness.core.paths import GUEST
from harness.core.text import public, visible
from harness.jobs import emulator_test
from harness.jobs.inputs import Inputs, Place, places_of, read_inputs
from harness.jobs.options import BisectOptions, EmulatorTestOptions
from harness.machine.session import check_machine
from harness.results.bisect_result import (
    BAD_END,
    BISECT,
    BISECT_LOG,
    GOOD_END,
    BisectResult,
    BisectStep,
    bisect_json,
)
from harness.results.folder import LATEST, ResultFolder
from harness.results.run_result import RunResult
from harness.scenarios.verdict import Outcome
from harness.ui.progress import PLAIN, Phase, PlainConsole, Reporter
from harness.ui.workspace import Workspace

# The width of the tables in a step's log.
_WIDTH = 140
# Errors of a commit: it cannot be patched, configured or built. Nothing is known about its kernel.
_NOT_BUILT = (PatchError, KconfigError, BuildError)


@dataclass(frozen=True)
class Judged:
    """The verdict on a commit, its reason for people, and the run's result folder, if any."""

    verdict: Verdict
    reason: str = ""
    folder: Path | None = None


# Judges the kernel in a folder. What it raises ends the bisect.
Judge = Callable[[Workspace, EmulatorTestOptions], Judged]


def run(ws: Workspace, options: BisectOptions, judge: Judge | None = None) -> int:
    """Find the first bad commit; return the exit status, which is 0: it was found.

    `judge` is how a commit is judged, by default by emulator-test. Raise UsageError if the source
    or the two commits are wrong, also if the good one is not good or the bad one not bad;
    InfrastructureError if one of the two cannot be judged, or if all commits that are left were
    skipped; and the errors of a run that have nothing to do with its commit. In every case the
    results up to then are in a folder below `options.results`.
    """
    test = options.test
    # Wrong words, before the first kernel is built.
    emulator_test.work_of(test)
    check_machine(test.target, test.avd)
    repository, (good, bad) = find_ends(ws, options.source, (options.good, options.bad))
    if good == bad:
        raise UsageError(f"both ends are the same commit: {good[:SHORT]}")
    folder = ResultFolder.create(options.results, "bisect", test.target.name, datetime.now())
    result = BisectResult(
        kernel=test.target.name,
        source=public(options.source),
        good=good,
        bad=bad,
        command=tuple(public(word) for word in options.command()),
        started=datetime.now(UTC),
    )
    if judge is None:
        judge = emulated(boot_fails_is_bad=options.boot_fails_is_bad)
    places = [*places_of(test), Place("guest", GUEST)]
    inputs = read_inputs(ws, test, places)
    bisect = _Bisect(ws, options, judge, folder, result, repository.name, inputs)
    with bisect.told(), cloned(ws, repository) as clone, bisect.logged(clone):
        bisect.find(clone)
    return bisect.finish()


@dataclass
class _Bisect:
    """A bisect in progress."""

    ws: Workspace
    options: BisectOptions
    judge: Judge
    folder: ResultFolder
    result: BisectResult
    source: str
    # What each step reads anew, besides its commit.
    inputs: Inputs
    began: float = field(default_factory=time.monotonic)
    commits: dict[str, Commit] = field(default_factory=dict)

    def note(self, **changes: object) -> None:
        """Change the result, and save it."""
        seconds = round(time.monotonic() - self.began, 1)
        self.result = replace(self.result, seconds=seconds, **changes)  # type: ignore[arg-type]
        self.folder.put(BISECT, bisect_json(self.result))

    @contextmanager
    def told(self) -> Iterator[None]:
        """Record how the bisect ends, if an error or a signal ends it."""
        try:
            self.note()
            yield
        except BaseException as error:
            text = error.message if isinstance(error, HarnessError) else type(error).__name__
            self.note(problem=text)
            self.ws.reporter.say(f"results: {self.folder.path}")
            raise

    @contextmanager
    def logged(self, clone: Clone) -> Iterator[None]:
        """Save git's log of the bisect, however it ends: `git bisect replay` takes it."""
        try:
            yield
        finally:
            self.folder.put(BISECT_LOG, clone.log_text())

    def find(self, clone: Clone) -> None:
        """Check both ends, and find the first bad commit between them."""
        result = self.result
        with self.ws.reporter.phase("check out the kernel") as phase:
            phase.note(result.good[:SHORT])
            clone.check_out(result.good)
            clone.start(result.bad, result.good)
        first = clone.head()
        count = clone.left()
        self.ws.reporter.say(f"{count} commit(s) may be the first bad one: {self._steps(1, count)}")
        self._check_ends(clone)
        found = clone.found()
        if found is None:
            clone.check_out(first.hash)
            found = clone.run(lambda: self._step(clone))
        self.commits = {name: clone.commit(name) for name in found.suspects}
        self.note(suspects=found.suspects)

    @staticmethod
    def _steps(number: int, count: int) -> str:
        return f"about {number + steps_left(count)} step(s)"

    def _check_ends(self, clone: Clone) -> None:
        """Judge both ends; raise an error that says what each gave unless both are as they should.

        It also says so for the reader of the output: a bisect between wrong ends finds nothing.
        """
        ends = []
        for commit, end in ((self.result.good, GOOD_END), (self.result.bad, BAD_END)):
            clone.check_out(commit)
            ends.append(self._judged(clone, f"{end}: ", end))
        good, bad = ends
        if (good.verdict, bad.verdict) == (Verdict.GOOD, Verdict.BAD):
            return
        told = "\n".join(f"{one.end}: {one.title}: {one.told}" for one in ends)
        unknown = [one.end for one in ends if one.verdict is Verdict.SKIPPED]
        if unknown:
            raise InfrastructureError(
                f"there is no verdict on the {' and the '.join(unknown)}",
                tail=told,
                hint="name a commit near it whose kernel can be built and booted",
            )
        wrong = [
            f"the {one.end} is {one.verdict.value}"
            for one, wanted in zip(ends, (Verdict.GOOD, Verdict.BAD), strict=True)
            if one.verdict is not wanted
        ]
        raise UsageError(
            ", and ".join(wrong), tail=told, hint="other commits, or the scenario that differs"
        )

    def _step(self, clone: Clone) -> Verdict:
        """Judge the commit that git has checked out."""
        head = clone.head().hash
        known = self.result.step_of(head)
        if known is not None:
            # Git asks for a merge base, which may be one of the ends.
            return known.verdict
        number = 1 + sum(1 for one in self.result.steps if not one.end)
        about = number + steps_left(clone.left())
        return self._judged(clone, f"step {number} of about {about}: ").verdict

    def _judged(self, clone: Clone, label: str, end: str = "") -> BisectStep:
        """Judge the commit that is checked out, record the step, and say how it came out."""
        commit = clone.head()
        name = f"{len(self.result.steps):02}-{commit.hash[:SHORT]}.log"
        test = replace(
            self.options.test,
            source=str(clone.folder),
            lasting_source=f"{self.source}@{commit.hash}",
            results=self.folder.path,
        )
        began = time.monotonic()
        with (
            self.ws.reporter.phase(f"build and test {commit.hash[:SHORT]}") as phase,
            _step_workspace(self.ws, self.folder.path / name, phase) as ws,
        ):
            judged = self.judge(ws, test)
        self._check_inputs()
        step = BisectStep(
            commit=commit.hash,
            subject=commit.subject,
            verdict=judged.verdict,
            reason=visible(judged.reason),
            seconds=round(time.monotonic() - began, 1),
            folder=judged.folder.name if judged.folder is not None else "",
            end=end,
        )
        self.note(steps=(*self.result.steps, step))
        self.ws.reporter.say(f"{label}{commit.title} … {step.told}, {step.seconds:.0f} s")
        return step

    def _check_inputs(self) -> None:
        """Raise InfrastructureError if people have edited what all steps must have in common."""
        now = read_inputs(self.ws, self.options.test, tuple(self.inputs.files))
        if changes := now.changes_since(self.inputs):
            raise InfrastructureError(
                "files that each step is built from have changed since the bisect began",
                tail="\n".join(changes),
                hint="a new bisect, from a clone of this project that nobody edits",
            )

    def finish(self) -> int:
        """Report what was found; raise InfrastructureError if only skipped commits are left."""
        result, say = self.result, self.ws.reporter.say
        good, bad, log = result.last_good, result.first_bad or result.last_bad, self._log_path
        for what, one in (("last good", good), ("first bad", bad)):
            if one is not None:
                say(f"{what} that was tested: {one.title}: {one.told}{self._report_of(one)}")
        self._warn_of_another_reason()
        say(f"git bisect log: {log}")
        say(f"results: {self.folder.path}")
        if len(result.suspects) == 1:
            commit = self.commits[result.suspects[0]]
            say(f"author: {commit.author}")
            say(f"date: {commit.date}")
            self.ws.reporter.result(f"first bad commit: {commit.title}", self.folder.path)
            return EXIT_PASSED
        problem = f"only skipped commits are left: it is one of {len(result.suspects)}"
        if good is not None and bad is not None:
            problem += f", after {good.commit[:SHORT]} and up to {bad.commit[:SHORT]}"
        self.note(problem=problem)
        raise InfrastructureError(
            problem, tail="\n".join(one.title for one in self.commits.values()), log=log
        )

    @property
    def _log_path(self) -> Path:
        return self.folder.path / BISECT_LOG

    def _report_of(self, step: BisectStep) -> str:
        """Return where the page of a step's run is; empty if there is none."""
        page = self.folder.path / step.folder / "report.html"
        return f": {page}" if step.folder and page.is_file() else ""

    def _warn_of_another_reason(self) -> None:
        """Say so if the commit that was found fails otherwise than the bad end."""
        first = self.result.first_bad
        end = next((one for one in self.result.steps if one.end == BAD_END), None)
        if first is not None and end is not None and first.reason != end.reason:
            self.ws.reporter.say(f"note: the bad end failed otherwise: {end.reason}")


# --- how a commit is judged --------------------------------------------------


class _StepReporter(Reporter):
    """A reporter that writes to a step's log; its phases are notes of the step's own phase."""

    def __init__(self, console: Console, outer: Phase) -> None:
        super().__init__(console, mode=PLAIN)
        self._outer = outer

    @contextmanager
    def phase(self, name: str) -> Iterator[Phase]:
        """Show a phase of the step's work."""
        self._outer.note(name)
        with super().phase(name) as phase:
            yield phase


@contextmanager
def _step_workspace(ws: Workspace, log: Path, phase: Phase) -> Iterator[Workspace]:
    """Yield a workspace for one step; what its run says is in `log`, and not on the terminal."""
    with log.open("w", encoding="utf-8") as stream:
        console = PlainConsole(file=stream, width=_WIDTH, no_color=True, force_terminal=False)
        yield replace(ws, reporter=_StepReporter(console, phase))


def emulated(*, boot_fails_is_bad: bool) -> Judge:
    """Return the judge that tests a kernel by emulator-test.

    A commit is good if all passed, and bad if its kernel did something wrong, or died in a test.
    It is skipped if it cannot be patched, configured or built, if it is another version, if its
    kernel does not boot (unless `boot_fails_is_bad`), or if a test has no verdict. Other errors,
    such as a missing compiler or a full disk, are raised.
    """

    def judge(ws: Workspace, test: EmulatorTestOptions) -> Judged:
        seen: list[RunResult] = []
        try:
            if (reason := _another_version(test)) is not None:
                return Judged(Verdict.SKIPPED, reason)
            status = emulator_test.run(ws, test, seen.append)
        except HarnessError as error:
            verdict = _verdict_of(error, seen, boot_fails_is_bad=boot_fails_is_bad)
            if verdict is None:
                raise
            ws.reporter.say(str(error))
            return Judged(verdict, error.message, _folder_of(test))
        verdict = Verdict.GOOD if status == EXIT_PASSED else Verdict.BAD
        return Judged(verdict, seen[-1].reason, _folder_of(test))

    return judge


def _another_version(test: EmulatorTestOptions) -> str | None:
    """Return why the tree is not the target's kernel; None if it is."""
    tree = Path(test.source or "")
    try:
        check_version(tree_version(tree), test.target, "this commit")
    except SourceError as error:
        return error.message
    return None


def _verdict_of(
    error: HarnessError, seen: list[RunResult], *, boot_fails_is_bad: bool
) -> Verdict | None:
    """Return the verdict on a commit whose run ended with an error; None if the error is not its.

    A program that is missing is no BuildError, and a full disk is a DiskFullError.
    """
    if isinstance(error, BootError):
        return Verdict.BAD if boot_fails_is_bad else Verdict.SKIPPED
    if isinstance(error, (*_NOT_BUILT, DeviceError)):
        return Verdict.SKIPPED
    ended = seen[-1] if seen else None
    if ended is None or ended.problem:
        return None
    # The run came to its end, and a test has no verdict: the host stood still, or the like.
    outcomes = {one.outcome for one in ended.failed}
    return Verdict.SKIPPED if outcomes == {Outcome.INFRASTRUCTURE_FAILED} else None


def _folder_of(test: EmulatorTestOptions) -> Path | None:
    """Return the result folder of the run that has just ended."""
    latest = test.results / LATEST
    return latest.resolve() if latest.is_symlink() else None
