# SPDX-License-Identifier: MIT
"""The `cache` and `clean` tasks: show the cache's entries, remove unused ones, remove results."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.filesize import decimal
from rich.table import Table

from harness.core.cache import Cache, discard, remove_partial
from harness.core.errors import UsageError
from harness.core.paths import RESULTS
from harness.core.process import run as run_program
from harness.ui.workspace import Workspace

DEFAULT_DAYS = 30
_DAY = 86400
_TREES = "trees"
# Folders without entries: they are small, or, as ccache's, limit their size themselves.
_NO_ENTRIES = ("branches", "built", "candidates", "ccache", "directories", "locks", "logs")


@dataclass(frozen=True)
class Stored:
    """A cache entry: `size` is in bytes on the disk, `used` (last) in seconds since the epoch.

    `partial` says that a run is making or removing it, or was killed while it did.
    """

    kind: str
    key: str
    path: Path
    size: int
    used: float
    partial: bool = False

    @property
    def lock(self) -> str:
        """The name of the lock that a run holds while it makes or changes the entry."""
        return f"tree-{self.key}" if self.kind == _TREES else f"{self.kind}-{self.key}"

    def days(self, now: float) -> float:
        """Return for how many days the entry has not been used."""
        return max(now - self.used, 0) / _DAY


def entries(cache: Cache) -> tuple[Stored, ...]:
    """Return all entries, the largest first."""
    if not cache.root.is_dir():
        return ()
    sizes = _sizes(cache.root)
    folders = (path for path in cache.root.glob("*/*") if path.is_dir())
    found = [
        _stored(path, sizes.get(path, 0)) for path in folders if path.parent.name not in _NO_ENTRIES
    ]
    return tuple(sorted(found, key=lambda one: (-one.size, one.kind, one.key, one.path)))


def run(ws: Workspace, *, prune: bool = False, days: str = str(DEFAULT_DAYS)) -> None:
    """Show the entries; with `prune` remove those unused for `days` days, and half-made ones.

    An entry that another run is making stays. Raise UsageError if `days` is no number.
    """
    limit = _days_of(days)
    with ws.reporter.phase("look at the cache"):
        found, now = entries(ws.cache), time.time()
    if prune:
        old = [one for one in found if one.days(now) >= limit or one.partial]
        removed = [one for one in old if _remove(ws.cache, one)]
        for one in removed:
            ws.reporter.say(f"remove {one.path}")
        size = decimal(sum(one.size for one in removed))
        ws.reporter.result(f"removed {len(removed)} entries, {size}")
        return
    ws.reporter.console.print(table(found, now))
    size = decimal(sum(one.size for one in found))
    ws.reporter.result(f"{len(found)} entries, {size} in {ws.cache.root}")


def table(found: tuple[Stored, ...], now: float) -> Table:
    """Return the table of the entries, with sizes and ages."""
    shown = Table(title="Cache", title_justify="left", box=SIMPLE_HEAD)
    shown.add_column("kind", no_wrap=True)
    shown.add_column("entry", overflow="fold")
    for name in ("size", "unused for"):
        shown.add_column(name, justify="right", no_wrap=True)
    for one in found:
        key = f"{one.key} (half-made)" if one.partial else one.key
        shown.add_row(one.kind, key, decimal(one.size), f"{one.days(now):.1f} d")
    return shown


def _days_of(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = -1.0
    if not days >= 0:
        raise UsageError(f"{text!r} is no number of days", hint=f"--days {DEFAULT_DAYS}")
    return days


def _stored(path: Path, size: int) -> Stored:
    name, partial = path.name, False
    if name.startswith(".") and name.endswith(".partial"):
        name, partial = name[1:].removesuffix(".partial"), True
    return Stored(path.parent.name, name, path, size, path.stat().st_mtime, partial)


def _sizes(root: Path) -> dict[Path, int]:
    """Return the bytes that each entry takes, by one walk over all of them."""
    # The status is ignored: du fails if a file goes away meanwhile.
    listed = run_program(
        ["du", "--block-size=1", "--max-depth=2", "--null", str(root)], check=False, what="du"
    )
    rows = (row.split("\t", 1) for row in listed.output.split("\0") if "\t" in row)
    return {Path(path): int(size) for size, path in rows}


def _remove(cache: Cache, one: Stored) -> bool:
    """Remove an entry, unless another run holds its lock; return whether it was removed."""
    with cache.lock(one.lock, wait=False) as held:
        if held and one.partial:
            # Only the half-made one: there may be a whole entry as well.
            remove_partial(one.path)
        elif held:
            discard(one.path)
        return held


def clean(ws: Workspace, *, cache: bool, results: Path = RESULTS) -> None:
    """Remove all results; with `cache`, the cache as well."""
    folders = [results, ws.cache.root] if cache else [results]
    with ws.reporter.phase("clean"):
        for folder in folders:
            if folder.exists():
                ws.reporter.say(f"remove {folder}")
            _remove_folder(folder)


def _remove_folder(folder: Path) -> None:
    """Remove `folder`, which is renamed first: it is never half-removed, even if interrupted."""
    if folder.exists():
        folder.rename(folder.with_name(f"{folder.name}.removed-{os.getpid()}"))
    for removed in folder.parent.glob(f"{folder.name}.removed-*"):
        shutil.rmtree(removed, ignore_errors=True)
