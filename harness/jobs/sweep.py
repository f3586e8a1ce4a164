# SPDX-License-Identifier: MIT
"""The `sweep` task: runs the cells of a matrix on workers, and keeps what came of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.core.errors import HarnessError, UsageError, VerdictError
from harness.core.paths import REPO, RESULTS, as_typed
from harness.core.text import visible
from harness.jobs import worker as workers
from harness.report import report
from harness.sweep import guess, step_summary
from harness.sweep import store as stores
from harness.sweep.address import NO_TLS, Tls, checked
from harness.sweep.announced import this_code
from harness.sweep.cell import Build
from harness.sweep.cluster.connection import Cluster, connected
from harness.sweep.cluster.local import LocalCluster
from harness.sweep.engine import PATIENCE_SECONDS, Sweep, Terms
from harness.sweep.matrix import read_matrix
from harness.sweep.page import PAGE
from harness.sweep.result import Attempt
from harness.sweep.store import Store
from harness.sweep.work import Ended
from harness.targets.table import TARGETS
from harness.ui.events import CellEnd
from harness.ui.progress import Phase
from harness.ui.workspace import Workspace

# How many files that were left out are named; all are in the cell's folder.
_MOST_NAMES = 5
# Of a worker of this machine: from the scheduler's address and the worker's number.
WorkerCommand = Callable[[str, int], Sequence[str]]


def worker_command(address: str, number: int) -> Sequence[str]:
    """Return the command of a worker of this machine: it has one guest, and the first builds."""
    words = [sys.executable, str(REPO / "inv_program.py"), "worker", address, "--jobs", "1"]
    words += ["--name", f"worker-{number}"]
    return words if number == 1 else [*words, "--no-build"]


@dataclass(frozen=True)
class Options:
    """The options of the task: `file` is a matrix, `resume` the folder of an earlier sweep.

    Without a `scheduler`, workers of this machine are started, as many as `jobs` says (as in
    worker.guests_for()) with `worker_command`. The sweep's folder is made below `results`.
    """

    file: Path | None = None
    resume: Path | None = None
    scheduler: str = ""
    jobs: str = ""
    tls: Tls = NO_TLS
    results: Path = RESULTS
    patience: float = PATIENCE_SECONDS
    worker_command: WorkerCommand = worker_command

    @property
    def command(self) -> tuple[str, ...]:
        """The words of the command."""
        what = [] if self.file is None else [str(self.file)]
        given = {"--scheduler": self.scheduler, "--jobs": self.jobs}
        options = [word for name, value in given.items() if value for word in (name, value)]
        resumed = [] if self.resume is None else ["--resume", str(self.resume)]
        return ("./inv", "sweep", *what, *options, *resumed)


def run(ws: Workspace, options: Options) -> int:
    """Run the sweep, or what is left of an earlier one; return the exit status.

    Raise UsageError for wrong options or a wrong file, and InfrastructureError if the sweep ends
    early: then it can be resumed, as after Ctrl-C. If a kernel had done something wrong before,
    that is a VerdictError.
    """
    if (options.file is None) == (options.resume is None):
        raise UsageError("a sweep is of one matrix", hint="./inv sweep FILE, or --resume DIR")
    if options.scheduler and options.jobs:
        raise UsageError("each worker has its own --jobs", hint="./inv worker --jobs")
    # What is wrong here is told before there is a folder.
    if options.scheduler:
        checked(options.scheduler, options.tls)
    else:
        workers.ability(options.jobs, targets=TARGETS)
    ws.reporter.run_begin(options.command)
    with _store(options) as store:
        ws.reporter.say(f"results: {store.folder}")
        try:
            if store.todo:
                _run(ws, options, store)
        except BaseException as error:
            _end_early(ws, store, error)
            if isinstance(error, HarnessError) and store.has_failed:
                # The error ended the sweep, but what a kernel did wrong before it counts.
                raise VerdictError(
                    error.message, hint=error.hint, log=error.log, tail=error.tail
                ) from error
            raise
        sweep = store.finish()
        _tell(ws, store)
        ws.reporter.result(sweep.last_line, store.folder)
        return sweep.exit_status


def _store(options: Options) -> AbstractContextManager[Store]:
    if options.resume is not None:
        return stores.resumed(options.resume, this_code())
    assert options.file is not None
    matrix = read_matrix(options.file)
    # Those that took longest the last time begin first.
    matrix = replace(matrix, cells=guess.from_results(matrix.cells, options.results))
    what = (options.file.name, matrix, options.command)
    return stores.created(options.results, *what, this_code())


def _end_early(ws: Workspace, store: Store, error: BaseException) -> None:
    """Keep what is known, and say how to go on; `error` is raised behind this."""
    problem = error.message if isinstance(error, HarnessError) else "interrupted"
    # A full disk may be why it ends.
    with suppress(HarnessError, OSError):
        store.finish(visible(problem))
        _tell(ws, store)
        ws.reporter.say(store.sweep.last_line)
    ws.reporter.say(f"to go on: ./inv sweep --resume {as_typed(store.folder)}")


def _tell(ws: Workspace, store: Store) -> None:
    """Say where the matrix is, add it to the index of all results, and tell GitHub."""
    ws.reporter.say(f"matrix: {store.folder / PAGE}")
    step_summary.tell(store.sweep, os.environ, ws.reporter, store.previous)
    report.write_index(store.folder.parent)


def _run(ws: Workspace, options: Options, store: Store) -> None:
    with ws.reporter.phase("sweep") as phase:
        books = _Books(ws, store, phase)
        with _cluster(options, store) as (cluster, failed):
            terms = Terms(store.sweep.code, options.patience, failed, own=not options.scheduler)
            sweep = Sweep(cluster, books, store.todo, terms)
            try:
                sweep.run()
            except BaseException:
                phase.note("stopping what runs")
                over = sweep.stop()
                unknown = "it is not known whether something still runs on the workers"
                ws.reporter.say("nothing runs any more" if over else unknown)
                raise


@contextmanager
def _cluster(options: Options, store: Store) -> Iterator[tuple[Cluster, Callable[[], str]]]:
    """Yield the cluster, and a function that says why its workers do not start, if so."""
    if options.scheduler:
        address = checked(options.scheduler, options.tls)
        with connected(address, options.tls) as cluster:
            yield cluster, lambda: ""
        return
    cells = tuple(store.todo.values())
    guests = guess.side_by_side(cells, workers.guests_for(cells, options.jobs))
    local = LocalCluster(options.worker_command, guests)
    with local as cluster:
        yield cluster, lambda: local.failed


@dataclass
class _Books:
    """What is told of a sweep while it runs, and kept."""

    ws: Workspace
    store: Store
    phase: Phase
    # By title: where it runs.
    _running: dict[str, str] = field(default_factory=dict)
    # The cells that have ended in this run, or had a verdict before.
    _done: set[int] = field(init=False)

    def __post_init__(self) -> None:
        self._done = set(range(self.store.count)) - self.store.todo.keys()

    def workers(self, names: Sequence[str]) -> None:
        """Keep the names of the workers."""
        self.store.workers(names)

    def say(self, text: str) -> None:
        """Tell the user something."""
        self.ws.reporter.say(text)

    def began(self, cell: int | None, title: str, worker: str) -> None:
        """Show what runs."""
        if cell is not None:
            self.ws.reporter.cell_begin(title, worker, self.store.cell(cell).cell.command)
        self._running[title] = worker
        self._show()

    def ended(self, cell: int | None, title: str, attempt: Attempt, ended: Ended | None) -> None:
        """Keep an attempt, and tell of it in one line."""
        self._running.pop(title, None)
        where = f"{attempt.seconds:.1f} s  {attempt.worker}".rstrip()
        if cell is None:
            self.say(f"{title}  {where}{'' if ended and ended.sha256 else f': {attempt.line}'}")
        else:
            kept = self.store.add(cell, attempt, ended.packed if ended else b"")
            status = self.store.cell(cell).status
            self._done.add(cell)
            folder = str(self.store.folder / kept.folder) if kept.folder else ""
            self.ws.reporter.cell_end(
                CellEnd(
                    title, kept.worker, status.name, kept.status, kept.line, kept.seconds, folder
                )
            )
            done = f"{len(self._done)}/{self.store.count}"
            why = "" if kept.status == 0 else f": {kept.line}"
            self.say(f"{done}  {status.word}  {title}  {where}{why}")
            if ended is not None and ended.left_out:
                names = ", ".join(map(visible, ended.left_out[:_MOST_NAMES]))
                more = ", …" if len(ended.left_out) > _MOST_NAMES else ""
                self.say(f"  too large to be sent back: {names}{more}")
        self._show()

    def kernel(self, build: Build) -> str:
        """Return the release of the kernel that a build's verdicts are of; empty if unknown."""
        return self.store.kernel(build)

    def keep_bundle(self, sha256: str, data: bytes) -> None:
        """Store a bundle."""
        self.store.keep_bundle(sha256, data)

    def bundle(self, sha256: str) -> bytes:
        """Return a bundle."""
        return self.store.bundle(sha256)

    def _show(self) -> None:
        """Show how far the sweep is, and what runs where."""
        self.phase.note(f"{len(self._done)} of {self.store.count} cells")
        self.phase.below([f"{worker}: {title}" for title, worker in self._running.items()])
