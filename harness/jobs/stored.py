# SPDX-License-Identifier: MIT
"""What the cache holds, how large and how old it is, and removing what nobody used lately."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
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
# Small, or not ours to divide: a compiler's cache has a size that it keeps to itself.
_NO_ENTRIES = ("branches", "candidates", "ccache", "directories", "locks", "logs")


@dataclass(frozen=True)
class Stored:
    """One entry: `size` is in bytes on the disk, `used` in seconds since the epoch.

    `partial` says that a run was killed while it made or removed it, or is at it.
    """

    kind: str
    key: str
    path: Path
    size: int
    used: float
    partial: bool = False

    @property
    def lock(self) -> str:
        """Whoever makes or changes it holds the lock of this name."""
        return f"tree-{self.key}" if self.kind == _TREES else f"{self.kind}-{self.key}"

    def days(self, now: float) -> float:
        """How long it has not been used."""
        return max(now - self.used, 0) / _DAY


def entries(cache: Cache) -> tuple[Stored, ...]:
    """All entries, the largest first."""
    if not cache.root.is_dir():
        return ()
    sizes = _sizes(cache.root)
    found = [_stored(path, sizes.get(path, 0)) for path in _folders(cache.root)]
    return tuple(sorted(found, key=lambda one: (-one.size, one.kind, one.key)))


def run(ws: Workspace, *, prune: bool = False, days: str = str(DEFAULT_DAYS)) -> None:
    """Shows the entries; with `prune` removes what has not been used for so many days.

    What another run is making stays. Raises UsageError for `days` that are no number.
    """
    limit = _days_of(days)
    with ws.reporter.phase("look at the cache"):
        found, now = entries(ws.cache), time.time()
    if prune:
        old = [one for one in found if one.days(now) >= limit or one.partial]
        removed = [one for one in old if _remove(ws.cache, one)]
        for one in removed:
            ws.reporter.say(f"remove {one.path}")
        ws.reporter.result(f"removed {len(removed)} entries, {decimal(_total(removed))}")
        return
    ws.reporter.console.print(table(found, now))
    ws.reporter.result(f"{len(found)} entries, {decimal(_total(found))} in {ws.cache.root}")


def table(found: tuple[Stored, ...], now: float) -> Table:
    """The entries, with sizes and ages."""
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


def _folders(root: Path) -> Iterator[Path]:
    for kind in sorted(root.iterdir()):
        if kind.is_dir() and kind.name not in _NO_ENTRIES:
            yield from (path for path in sorted(kind.iterdir()) if path.is_dir())


def _stored(path: Path, size: int) -> Stored:
    name, partial = path.name, False
    if name.startswith(".") and name.endswith(".partial"):
        name, partial = name[1:].removesuffix(".partial"), True
    return Stored(path.parent.name, name, path, size, path.stat().st_mtime, partial)


def _sizes(root: Path) -> dict[Path, int]:
    """The bytes that each entry takes, in one walk over all."""
    # Its status tells of what went away meanwhile.
    listed = run_program(
        ["du", "--block-size=1", "--max-depth=2", "--null", str(root)], check=False, what="du"
    )
    rows = (row.split("\t", 1) for row in listed.output.split("\0") if "\t" in row)
    return {Path(path): int(size) for size, path in rows}


def _total(found: tuple[Stored, ...] | list[Stored]) -> int:
    return sum(one.size for one in found)


def _remove(cache: Cache, one: Stored) -> bool:
    """Removes an entry, unless somebody is at it."""
    with cache.try_lock(one.lock) as held:
        if held and one.partial:
            # There may be a whole one as well.
            remove_partial(one.path)
        elif held:
            discard(one.path)
        return held


def clean(ws: Workspace, *, cache: bool, results: Path = RESULTS) -> None:
    """Removes the results of test runs; with `cache`, all that is stored as well."""
    folders = [results, ws.cache.root] if cache else [results]
    with ws.reporter.phase("clean"):
        for folder in folders:
            if folder.exists():
                ws.reporter.say(f"remove {folder}")
            _remove_folder(folder)


def _remove_folder(folder: Path) -> None:
    """Removes `folder`; nobody sees it half-removed, also where this is interrupted."""
    if folder.exists():
        folder.rename(folder.with_name(f"{folder.name}.removed-{os.getpid()}"))
    for removed in folder.parent.glob(f"{folder.name}.removed-*"):
        shutil.rmtree(removed, ignore_errors=True)
