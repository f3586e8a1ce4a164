# SPDX-License-Identifier: MIT
"""The `bench-harness` task: measures how long commands take, with snapshots and without.

Each command runs as a user runs it, in a process of its own. Each round runs every command
once. A ratio is between two commands of one round, so that a host that is busy for a while
slows down both.
"""

from __future__ import annotations

import io
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
from harness.build import equipment
from harness.build.bootable import Bootable
from harness.core import typed_json
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


@dataclass(frozen=True)
class Case:
    """A command, and the name of the case that it is compared with (empty: none).

    `words` are the arguments of `./inv`. Without any, the case is only a guest, from a
    snapshot or booted: from QEMU's start until the guest is checked over adb. `goal` is the
    most that the case should take, in seconds.
    """

    name: str
    words: tuple[str, ...]
    base: str = ""
    goal: float | None = None
    # The command's standard input.
    says: str = ""
    snapshot: bool = False


_COLD = ("--no-snapshot", "--jobs", "1")
CASES: tuple[Case, ...] = (
    Case("guest, booted", ()),
    Case("guest", (), base="guest, booted", goal=1.2, snapshot=True),
    Case("shell, cold", ("boot", "--no-snapshot"), says="exit\n"),
    Case("shell", ("boot",), base="shell, cold", says="exit\n"),
    Case("rss, cold", ("emulator-test", "--policy", "rss", *_COLD)),
    Case("rss", ("emulator-test", "--policy", "rss"), base="rss, cold", goal=4.0),
    Case("rss, two guests", ("emulator-test", "--policy", "rss", "--jobs", "2"), base="rss"),
    Case("all, cold", ("emulator-test", "--policy", "all", *_COLD)),
    Case("all", ("emulator-test", "--policy", "all"), base="all, cold", goal=10.0),
)


@dataclass(frozen=True)
class Row:
    """The result of a case: seconds, and the ratio to its base; both are medians of rounds."""

    name: str
    command: str
    seconds: Estimate
    base: str
    ratio: Estimate | None
    goal: float | None

    @property
    def reached(self) -> bool | None:
        """Whether the goal was reached; None if there is none."""
        return None if self.goal is None else self.seconds.value <= self.goal


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
    folder = ResultFolder.create(results or RESULTS, target.name, "bench-harness", datetime.now())
    seconds: dict[str, list[float]] = {case.name: [] for case in CASES}
    with ws.reporter.phase("measure") as phase:
        for number in range(-1, rounds or _ROUNDS):
            for case in CASES:
                phase.note(f"round {number + 1}: {case.name}")
                if case.words:
                    taken = _once(case, target, folder)
                else:
                    taken = _guest(case, target, files, folder)
                # Round -1 saves the guests, and fills the host's caches.
                if number >= 0:
                    seconds[case.name].append(taken)
            if number >= 0:
                rows = table_of(seconds)
                folder.put(JSON, typed_json.to_text(rows))
    ws.reporter.console.print(_shown(rows))
    ws.reporter.result(f"results: {folder.path}", folder.path)
    return EXIT_PASSED


def table_of(seconds: Mapping[str, Sequence[float]]) -> tuple[Row, ...]:
    """Return the rows from each case's seconds by round: medians, with the least and the most."""
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
            )
        )
    return tuple(rows)


def _once(case: Case, target: Target, folder: ResultFolder) -> float:
    """Return the seconds that the command takes; raise InfrastructureError unless it passes."""
    program = str(REPO / "inv_program.py")
    command = [sys.executable, program, *case.words, "--kernel", target.name]
    typed = ["sh", "-c", 'printf %s "$0" | "$@"', case.says, *command]
    begun = time.monotonic()
    run_program(
        typed if case.says else command,
        RunOptions(timeout=_PATIENCE_SECONDS),
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
    for name in ("what", "command", "s", "least to most", "ratio", "goal, s"):
        table.add_column(name, no_wrap=name != "command")
    for row in rows:
        ratio = ""
        if (found := row.ratio) is not None:
            ratio = f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f}) of {row.base}"
        goal = "" if row.goal is None else f"{row.goal:g} {'reached' if row.reached else 'missed'}"
        table.add_row(
            row.name,
            row.command,
            f"{row.seconds.value:.2f}",
            f"{row.seconds.low:.2f} to {row.seconds.high:.2f}",
            ratio,
            goal,
        )
    return table
