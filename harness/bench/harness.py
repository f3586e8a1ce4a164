# SPDX-License-Identifier: MIT
"""The `bench-harness` task: measures how long commands take, with snapshots and without.

Each command runs as a user runs it, in a process of its own. Each round runs every command
once. A ratio is between two commands of one round, so that a host that is busy for a while
slows down both.

Some commands are also run by an earlier commit of this repository, in a clone. For those that
measure what an edit costs, a clone of the present commit is edited, or a copy of the kernel's
source: not the user's files.
"""

from __future__ import annotations

import io
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from harness.bench.stats import Estimate, middle
from harness.build import equipment, source
from harness.build.bootable import Bootable
from harness.core import typed_json
from harness.core.cache import digest
from harness.core.errors import EXIT_PASSED, InfrastructureError, UsageError
from harness.core.paths import REPO, RESULTS
from harness.core.process import RunOptions
from harness.core.process import run as run_program
from harness.machine.session import Boot, check_machine, open_session
from harness.results.folder import ResultFolder
from harness.targets.model import QemuMachine, Target
from harness.ui.progress import Reporter
from harness.ui.workspace import Workspace

JSON = "bench_harness.json"
_ROUNDS = 5
_MOST_ROUNDS = 100
# The timeout of one command, for a slow host.
_PATIENCE_SECONDS = 900.0
# The commit to compare with, before edits were cheap and guests had one CPU.
BASELINE = "f2a4d66"
# The kind of the cache entry with the clones and the copy.
_KIND = "compared"
# What is edited: a file of the kernel, and one of ours.
_EDITED = {"source": "mm/oom_kill.c", "ours": "kernel_patches/common/mm/mm_limits/core.c"}


@dataclass(frozen=True)
class Case:
    """A command, and the name of the case that it is compared with (empty: none).

    `words` are the arguments of `./inv`. Without any, the case is only a guest, from a
    snapshot or booted: from QEMU's start until the guest is checked over adb. `goal` is the
    most that the case should take, in seconds, `share` the most as a part of its base's time, and
    `most_mib` the most that the cache should grow by.

    With `then` the command is that of the commit BASELINE. `edits` says in what a line is changed
    before each run: in the "source" of the kernel, which the command is then told of, or in "ours".
    A case that is `slow` is measured once.
    """

    name: str
    words: tuple[str, ...]
    base: str = ""
    goal: float | None = None
    # The command's standard input.
    says: str = ""
    snapshot: bool = False
    share: float | None = None
    most_mib: float | None = None
    then: bool = False
    edits: str = ""
    slow: bool = False


_COLD = ("--no-snapshot", "--jobs", "1")
_RSS = ("emulator-test", "--policy", "rss")
CASES: tuple[Case, ...] = (
    Case("guest, booted", ()),
    Case("guest", (), base="guest, booted", goal=1.2, snapshot=True),
    Case("shell, cold", ("boot", "--no-snapshot"), says="exit\n"),
    Case("shell", ("boot",), base="shell, cold", says="exit\n"),
    Case("rss, cold", ("emulator-test", "--policy", "rss", *_COLD)),
    Case("rss, then", _RSS, then=True),
    Case("rss", _RSS, base="rss, then", share=0.45),
    Case("rss, one guest", (*_RSS, "--jobs", "1"), base="rss"),
    Case("all, cold", ("emulator-test", "--policy", "all", *_COLD)),
    Case("all, then", ("emulator-test", "--policy", "all"), then=True),
    Case("all", ("emulator-test", "--policy", "all"), base="all, then", share=0.45),
    Case("line of DIR, then", _RSS, then=True, edits="source", slow=True),
    Case("line of DIR", _RSS, base="line of DIR, then", goal=30.0, most_mib=50, edits="source"),
    Case("line of ours, then", _RSS, then=True, edits="ours"),
    Case("line of ours", _RSS, base="line of ours, then", goal=25.0, edits="ours"),
)


@dataclass(frozen=True)
class _Compared:
    """Where cases run: clones of this repository at BASELINE and at its present commit.

    `source` is a copy of the kernel's source.
    """

    folder: Path

    @property
    def then(self) -> Path:
        """The clone at BASELINE."""
        return self.folder / "then"

    @property
    def now(self) -> Path:
        """The clone of the present commit."""
        return self.folder / "now"

    @property
    def source(self) -> Path:
        """The copy of the kernel's source."""
        return self.folder / "source"

    def prepare(self, case: Case) -> tuple[Path, tuple[str, ...]]:
        """Make the case's edit; return the repository to run it in, and the words to add."""
        here = self.then if case.then else self.now if case.edits else REPO
        if not case.edits:
            return here, ()
        root = self.source if case.edits == "source" else here
        with (root / _EDITED[case.edits]).open("a", encoding="utf-8") as file:
            # Never the same line twice, in any run: what was built for it would be found.
            file.write(f"/* {time.time_ns()} */\n")
        return here, ("--source", str(self.source)) if case.edits == "source" else ()


def _compared(ws: Workspace, target: Target) -> _Compared:
    """Make the clones and the copy, or bring them up to date.

    Raise InfrastructureError if this repository, as a shallow clone, lacks the commit BASELINE.
    """
    fetched = source.fetch(ws, target)
    key = digest(BASELINE, str(REPO), target.name, fetched.key)
    places = _Compared(ws.cache.path(_KIND, key))

    def make(folder: Path) -> None:
        made = _Compared(folder)
        for clone in (made.then, made.now):
            _git("clone", "-q", "--shared", "--no-checkout", str(REPO), str(clone))
        _git("-C", str(made.then), "checkout", "-q", "--detach", BASELINE)
        shutil.copytree(fetched.tree, made.source, symlinks=True)

    ws.cache.ensure(_KIND, key, make, seal=False)
    _git("-C", str(places.now), "fetch", "-q", str(REPO), "HEAD")
    _git("-C", str(places.now), "checkout", "-q", "--force", "--detach", "FETCH_HEAD")
    return places


def _git(*words: str) -> None:
    hint = f"a whole clone: git fetch --unshallow, for the commit {BASELINE}"
    try:
        run_program(["git", *words], error=InfrastructureError)
    except InfrastructureError as error:
        error.hint = error.hint or hint
        raise


@dataclass(frozen=True)
class Row:
    """The result of a case: seconds, the ratio to its base, and the MiB by which the cache grew.

    All are medians of rounds; the MiB are measured only where something is edited.
    """

    name: str
    command: str
    seconds: Estimate
    base: str
    ratio: Estimate | None
    goal: float | None
    share: float | None = None
    mib: Estimate | None = None
    most_mib: float | None = None

    @property
    def reached(self) -> bool | None:
        """Whether the goals were reached; None if there are none."""
        found = []
        if self.goal is not None:
            found.append(self.seconds.value <= self.goal)
        if self.share is not None and self.ratio is not None:
            found.append(self.ratio.value <= self.share)
        if self.most_mib is not None and self.mib is not None:
            found.append(self.mib.value <= self.most_mib)
        return all(found) if found else None


def run(ws: Workspace, target: Target, *, rounds: int = 0, results: Path | None = None) -> int:
    """Measure and report; return exit status 0, because a slow machine is no failed test.

    Build everything first. An extra round, which is not counted, saves each guest. Raise
    UsageError for a bad number of rounds, and InfrastructureError if a command fails.
    """
    if not 0 <= rounds <= _MOST_ROUNDS:
        raise UsageError(f"not a number of rounds: {rounds}", hint=f"1 to {_MOST_ROUNDS}")
    if not isinstance(target.machine, QemuMachine):
        raise UsageError("only a guest of QEMU can be saved", hint="--emulator qemu")
    check_machine(target)
    files = equipment.build(ws, target).bootable
    places = _compared(ws, target)
    folder = ResultFolder.create(results or RESULTS, target.name, "bench-harness", datetime.now())
    seconds: dict[str, list[float]] = {case.name: [] for case in CASES}
    mib: dict[str, list[float]] = {case.name: [] for case in CASES if case.edits}
    with ws.reporter.phase("measure") as phase:
        for number in range(-1, rounds or _ROUNDS):
            for case in CASES:
                # The round that does not count is to fill caches, which a slow case does not need.
                if case.slow and number != 0:
                    continue
                phase.note(f"round {number + 1}: {case.name}")
                before = _mib(ws) if case.edits else 0.0
                if case.words:
                    taken = _once(case, target, folder, places)
                else:
                    taken = _guest(case, target, files, folder)
                # Round -1 saves the guests, and fills the host's caches.
                if number >= 0:
                    seconds[case.name].append(taken)
                    if case.edits:
                        mib[case.name].append(_mib(ws) - before)
            if number >= 0:
                rows = table_of(seconds, mib)
                folder.put(JSON, typed_json.to_text(rows))
    ws.reporter.console.print(_shown(rows))
    ws.reporter.result(f"results: {folder.path}", folder.path)
    return EXIT_PASSED


def _mib(ws: Workspace) -> float:
    """Return how much space the cache takes, in MiB: whole blocks, and each file once."""
    command = ["du", "-s", "-k", str(ws.cache.root)]
    return int(run_program(command, error=InfrastructureError).output.split()[0]) / 1024


def table_of(
    seconds: Mapping[str, Sequence[float]], mib: Mapping[str, Sequence[float]]
) -> tuple[Row, ...]:
    """Return the rows from each case's seconds and MiB by round."""
    rows = []
    for case in CASES:
        taken, base = seconds[case.name], seconds.get(case.base, ())
        ratios = [one / other for one, other in zip(taken, base, strict=False)]
        rows.append(
            Row(
                case.name,
                " ".join(("./inv", *case.words)) if case.words else "",
                middle(taken),
                case.base,
                middle(ratios) if ratios else None,
                case.goal,
                case.share,
                middle(mib[case.name]) if case.name in mib else None,
                case.most_mib,
            )
        )
    return tuple(rows)


def _once(case: Case, target: Target, folder: ResultFolder, places: _Compared) -> float:
    """Return the seconds that the command takes; raise InfrastructureError unless it passes."""
    repository, more = places.prepare(case)
    program = str(repository / "inv_program.py")
    command = [sys.executable, program, *case.words, *more, "--kernel", target.name]
    typed = ["sh", "-c", 'printf %s "$0" | "$@"', case.says, *command]
    begun = time.monotonic()
    run_program(
        typed if case.says else command,
        # To make room in the cache would be measured, too, and take away what the next case needs.
        RunOptions(timeout=_PATIENCE_SECONDS, env={"INVOKE_GOLDFISH_OOM_CACHE_GIB": "0"}),
        log=folder.path / "commands.log",
        error=InfrastructureError,
        what=f"./inv {' '.join(case.words)}",
    )
    return time.monotonic() - begun


def _guest(case: Case, target: Target, files: Bootable, folder: ResultFolder) -> float:
    """Return the seconds until a guest has started and is checked over adb."""
    quiet = Workspace(reporter=Reporter(Console(file=io.StringIO())))
    boot = Boot(target, files.image, files.initramfs, files.release, snapshot=case.snapshot)
    begun = time.monotonic()
    with open_session(quiet, boot, folder.path):
        return time.monotonic() - begun


def _shown(rows: Sequence[Row]) -> Table:
    table = Table(
        title="Seconds from start to end: the median, least to most",
        title_justify="left",
        box=SIMPLE_HEAD,
    )
    for name in ("what", "command", "s", "least to most", "ratio", "more MiB", "goal"):
        table.add_column(name, no_wrap=name != "command")
    for row in rows:
        ratio = ""
        if (found := row.ratio) is not None:
            ratio = f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f}) of {row.base}"
        goals = [f"{row.goal:g} s"] if row.goal is not None else []
        goals += [f"{row.share:g} of {row.base}"] if row.share is not None else []
        goals += [f"{row.most_mib:g} MiB"] if row.most_mib is not None else []
        goal = f"{', '.join(goals)}: {'reached' if row.reached else 'missed'}" if goals else ""
        table.add_row(
            row.name,
            row.command,
            f"{row.seconds.value:.2f}",
            f"{row.seconds.low:.2f} to {row.seconds.high:.2f}",
            ratio,
            f"{row.mib.value:.0f}" if row.mib is not None else "",
            goal,
        )
    return table
