# SPDX-License-Identifier: MIT
"""The result folder of a run: `results/<time>-<kernel>-<policy>/`, and `results/latest`.

After each step of the run every file is replaced atomically, so that a run that ends early
leaves its results up to then.
"""

from __future__ import annotations

import os
import re
import secrets
import shlex
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from itertools import count
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.markup import escape as escape_markup
from rich.table import Table

from harness.core.cache import disk_full_named
from harness.core.errors import NO_PLACE, InfrastructureError
from harness.core.paths import RESULTS_HINT
from harness.core.typed_json import to_text
from harness.kernel_output.records import KillRecord
from harness.kernel_output.records import escape as escape_name
from harness.results.differential import Difference
from harness.results.junit import junit
from harness.results.kcidb import kcidb
from harness.results.ktap import ktap
from harness.results.run_result import (
    KILLS,
    VERDICT,
    RunResult,
    ScenarioResult,
    kills_json,
    verdict_json,
)
from harness.scenarios.evidence import DECISIONS, USAGE, Decision, ScenarioUsage

LATEST = "latest"
CONSOLE_LOG = "console.log"
KERNEL_LOG = "kernel.log"
DIFFERENTIAL = "differential.json"
REPORTS = "kernel_reports.txt"
# The page with all results, and what it begins with.
INDEX = "index.html"
_INDEX_TITLE = "<title>Results ("
_TIME = "%Y%m%d-%H%M%S"
_RESULT = re.compile(r"\d{8}-\d{6}-")
# Files of which each result that is not empty has one, at least.
_MADE = ("command.txt", CONSOLE_LOG, "adb.log", "commands.log", "matrix.json", "bisect.json")


class ResultFolder:
    """The folder of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, root: Path, kernel: str, policy: str, now: datetime) -> ResultFolder:
        """Create a new folder for this run below `root`, and point `latest` at it."""
        base = f"{now.strftime(_TIME)}-{kernel}-{policy}"
        try:
            root.mkdir(parents=True, exist_ok=True)
            for number in count(1):
                path = root / (base if number == 1 else f"{base}.{number}")
                with suppress(FileExistsError):
                    path.mkdir()
                    break
            _point(root / LATEST, path.name)
        except OSError as error:
            if error.errno in NO_PLACE:
                with disk_full_named(root):
                    raise
            raise InfrastructureError(
                f"no results can be put into {root}: {error.strerror}", hint=RESULTS_HINT
            ) from error
        return cls(path)

    def console_of(self, guest: int) -> Path:
        """Return the file for a guest's console."""
        return self.of_guest(guest) / CONSOLE_LOG

    def of_guest(self, number: int) -> Path:
        """Return the folder for a guest's logs; for the first guest it is the run's folder."""
        return self.path if number == 1 else self.path / f"guest{number}"

    def set_logs_aside(self, guest: int, name: str) -> None:
        """Rename the guest's console and kernel log to `console.NAME.log` and `kernel.NAME.log`."""
        for log in (CONSOLE_LOG, KERNEL_LOG):
            path = self.of_guest(guest) / log
            with suppress(FileNotFoundError):
                path.rename(path.with_suffix(f".{name}.log"))

    def write(self, summary: RunResult, logs: Mapping[int, str]) -> None:
        """Write all files but consoles and evidence; `logs` are the kernel logs by guest."""
        self.put("command.txt", f"{shlex.join(summary.command)}\n")
        for number in {1, *logs}:
            self.put(KERNEL_LOG, logs.get(number, ""), self.of_guest(number))
        if summary.reports:
            self.put(REPORTS, _reports(summary))
        self.put(KILLS, kills_json(summary))
        self.put(VERDICT, verdict_json(summary))
        self.put("junit.xml", junit(summary))
        self.put("results.ktap", ktap(summary))
        self.put("kcidb.json", to_text(kcidb(summary)))

    def write_evidence(self, usage: Sequence[ScenarioUsage], decisions: Sequence[Decision]) -> None:
        """Write the memory use over time, and the kernels' choices of victims."""
        self.put(USAGE, to_text(usage))
        self.put(DECISIONS, to_text(decisions))

    def write_differences(self, found: Sequence[Difference]) -> None:
        """Write all cells of the comparison of the stock kernel with ours."""
        cells = [{**asdict(one), "differs": one.differs} for one in found]
        self.put(DIFFERENTIAL, to_text(cells))

    def put(self, name: str, text: str, folder: Path | None = None) -> None:
        """Replace a file atomically, in the run's folder or in `folder`, which is made if needed.

        Raise DiskFullError if there is no space for it.
        """
        folder = folder or self.path
        partial = folder / f".{name}.partial"
        with disk_full_named(self.path):
            folder.mkdir(exist_ok=True)
            partial.write_text(text, encoding="utf-8")
            partial.replace(folder / name)


def contents_of(root: Path) -> tuple[list[Path], list[Path]]:
    """Return what the harness made directly below `root`, and everything else there.

    `root` may be a folder that is used for something else, too.
    """
    ours: list[Path] = []
    others: list[Path] = []
    for path in sorted(root.iterdir()):
        (ours if _is_ours(path) else others).append(path)
    return ours, others


def _is_ours(path: Path) -> bool:
    if path.is_symlink():
        return path.name == LATEST
    if path.name == INDEX:
        return _INDEX_TITLE in path.read_text(encoding="utf-8", errors="replace")
    if not _RESULT.match(path.name) or not path.is_dir():
        return False
    # Somebody else may name folders by the time, too. A run that was killed may leave none.
    inside = {one.name for place in (path, *path.glob("guest*")) for one in _listed(place)}
    return not inside or not inside.isdisjoint(_MADE)


def _listed(folder: Path) -> Iterable[Path]:
    return folder.iterdir() if folder.is_dir() else ()


def scenario_table(judged: Sequence[ScenarioResult]) -> Table:
    """Build the table of the scenarios and their outcomes."""
    table = _table("Scenarios")
    for name in ("scenario", "policy", "trigger", "outcome"):
        table.add_column(name, no_wrap=True)
    for name in ("kills", "s"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in judged:
        style = "green" if one.passed else "bold red"
        outcome = f"[{style}]{one.outcome.value}[/]"
        numbers = (str(one.kill_count), f"{one.seconds:.1f}")
        table.add_row(one.scenario, one.policy, one.trigger, outcome, *numbers)
    return table


def kill_table(judged: Sequence[ScenarioResult]) -> Table:
    """Build the table of kill records; of each scenario it shows three, and counts the others.

    On a narrow terminal words wrap, and numbers stay whole.
    """
    table = _table("Kill records (bytes; CPU time in ns)")
    table.add_column("scenario", overflow="fold", min_width=_NARROW)
    for name in ("user", "sum", "limit", "pid", "its RSS", "policy's figure"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("trigger", no_wrap=True)
    table.add_column("name", overflow="fold", min_width=_NARROW)
    for one in judged:
        for record in one.kills[:_SHOWN]:
            table.add_row(one.scenario, *_cells(record))
        if len(one.kills) > _SHOWN:
            table.add_row(one.scenario, *[""] * 7, f"… and {len(one.kills) - _SHOWN} more")
    return table


def difference_table(found: Sequence[Difference]) -> Table:
    """Build the table of the cells that differ; the title says how many are the same."""
    same = sum(1 for one in found if not one.differs)
    table = _table(f"Stock and patched kernel: what differs ({same} cells are the same)")
    for name in ("scenario", "policy", "cell", "stock", "patched"):
        table.add_column(name, overflow="fold")
    for one in found:
        if one.differs:
            row = (one.scenario, one.policy, one.cell, one.stock, one.patched)
            table.add_row(*map(escape_markup, row))
    return table


_SHOWN = 3
_NARROW = 4


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=SIMPLE_HEAD)


def _cells(record: KillRecord) -> tuple[str, ...]:
    sizes = (record.uid, record.user_rss, record.mm_max, record.pid, record.rss)
    figure = "" if record.figure is None else f" {record.figure}"
    name = escape_markup(escape_name(record.comm))
    return (*map(str, sizes), f"{record.policy}{figure}", record.trigger, name)


def _point(link: Path, target: str) -> None:
    """Make `link` a symbolic link to `target`, atomically."""
    fresh = link.with_name(f".{link.name}.{os.getpid()}.{secrets.token_hex(4)}")
    fresh.symlink_to(target)
    fresh.replace(link)


def _reports(summary: RunResult) -> str:
    return "\n".join(
        f"guest {report.guest}: {report.title}\n\n{report.text}" for report in summary.reports
    )
