# SPDX-License-Identifier: MIT
"""The entries of the cache: how large each is, when it was used last, and whether it is in use.

To add up the files of a kernel's tree takes a second. So each size is stored, in `sizes.json` of
the cache. An entry never changes, and another entry with its key has the same content: its size is
found once. The size of what changes (a work tree, a git mirror, ccache, logs) is found again after
a day. What is known of a user's directory is a single file, whose size is found each time.
"""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from harness.core import typed_json
from harness.core.cache import Cache, is_moved_away
from harness.core.errors import InfrastructureError
from harness.core.process import run as run_program

DAY = 86400.0
_TREES = "trees"
# Entries whose size may change.
_CHANGING = (_TREES, "mirrors")
# Entries that are files: notes on the many files of a user's directory.
_NOTES = ("built", "directories")
# Folders without entries. The second ones are small; ccache limits its size itself.
_WHOLE = ("ccache", "logs")
_NO_ENTRIES = (*_WHOLE, "branches", "candidates", "locks")
_SIZES = "sizes.json"


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
        return max(now - self.used, 0) / DAY

    def in_use(self, cache: Cache) -> bool:
        """Return whether a run of any process makes, changes or uses it."""
        if self.partial:
            return not is_moved_away(self.path) and cache.busy(self.lock)
        return cache.leased(self.path) or cache.busy(self.lock)

    def remove(self, cache: Cache) -> bool:
        """Remove the entry unless it is in use; return whether its place is free again.

        Raise OSError or InfrastructureError if it cannot be removed, or not completely.
        """
        gone: Path | None = self.path
        if not is_moved_away(self.path):
            gone = cache.move_away(self.path, self.lock)
        if gone is not None:
            with suppress(FileNotFoundError):
                gone.unlink() if gone.is_file() else shutil.rmtree(gone)
        return gone is not None


@dataclass(frozen=True)
class _Size:
    """A stored size: of the folder with this inode number, found at this time."""

    size: int
    inode: int
    at: float


def entries(cache: Cache, *, fresh: bool = False) -> tuple[Stored, ...]:
    """Return all entries, the largest first; with `fresh`, the sizes that change are found anew."""
    kinds = [path for path, _ in _folders(_listed(cache.root))]
    found = [
        _stored(path, status)
        for kind in kinds
        if kind.name not in _NO_ENTRIES
        for path, status in (_notes if kind.name in _NOTES else _folders)(_listed(kind))
    ]
    found += [
        Stored(path.name, "", path, 0, status.st_mtime)
        for path, status in _folders(kinds)
        if path.name in _WHOLE
    ]
    sizes = _sizes(cache, [one.path for one in found], fresh)
    known = [
        Stored(one.kind, one.key, one.path, sizes.get(one.path, 0), one.used, one.partial)
        for one in found
    ]
    return tuple(sorted(known, key=lambda one: (-one.size, one.kind, one.key, one.path)))


def removable(found: Iterable[Stored], now: float) -> list[Stored]:
    """Return what may be removed, in this order: half-made entries, then the longest unused.

    If the clock was set back, an entry may seem to be used in the future. Otherwise it would
    outlive all others, so it is marked as used now.
    """
    ours = [one for one in found if one.kind not in _WHOLE]
    for one in ours:
        if one.used > now:
            with suppress(OSError):
                os.utime(one.path, (now, now))
    return sorted(ours, key=lambda one: (not one.partial, min(one.used, now), one.path))


def _folders(paths: Iterable[Path]) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield the folders among `paths`; another run may remove one meanwhile.

    A link to a folder leads out of the cache: to what another cache or another disk holds.
    """
    for path in paths:
        with suppress(OSError):
            status = path.lstat()
            if stat.S_ISDIR(status.st_mode):
                yield path, status


def _notes(paths: Iterable[Path]) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield the notes among `paths`, without those that are being written."""
    for path in paths:
        with suppress(OSError):
            status = path.lstat()
            if stat.S_ISREG(status.st_mode) and (path.suffix == ".json" or is_moved_away(path)):
                yield path, status


def _listed(folder: Path) -> list[Path]:
    """Return what is in a folder; nothing if it cannot be read."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _stored(path: Path, status: os.stat_result) -> Stored:
    half = _is_half(path)
    key = path.name[1:].removesuffix(".partial") if half else path.name
    return Stored(path.parent.name, key, path, 0, status.st_mtime, half)


def _sizes(cache: Cache, paths: list[Path], fresh: bool) -> dict[Path, int]:
    """Return the bytes on the disk that each of the folders takes, and store them."""
    now, file = time.time(), cache.root / _SIZES
    known: dict[str, _Size] = {}
    with suppress(OSError, ValueError):
        known = typed_json.read(dict[str, _Size], file.read_text(encoding="utf-8"))
    good: dict[str, _Size] = {}
    for path, status in _folders(paths):
        name = str(path.relative_to(cache.root))
        size = known.get(name)
        if size is None or size.inode != status.st_ino or _is_half(path):
            continue
        if not _changes(path) or (not fresh and 0 <= now - size.at < DAY):
            good[name] = size
    missing = [path for path in paths if str(path.relative_to(cache.root)) not in good]
    for path, taken in _measure(missing):
        with suppress(OSError):
            good[str(path.relative_to(cache.root))] = _Size(taken, path.stat().st_ino, now)
    if good != known:
        with suppress(OSError):
            new = file.with_name(f".{_SIZES}.{os.getpid()}")
            new.write_text(typed_json.to_text(good), encoding="utf-8")
            new.replace(file)
    return {cache.root / name: size.size for name, size in good.items()}


def _changes(path: Path) -> bool:
    """Return whether the size of a folder that is in place may change."""
    return path.parent.name in _CHANGING or path.name in _WHOLE


def _is_half(path: Path) -> bool:
    """Return whether the folder is being made or removed, or was left half made or removed."""
    name = path.name
    return name.startswith(".") and (name.endswith(".partial") or is_moved_away(path))


def _measure(paths: Iterable[Path]) -> Iterator[tuple[Path, int]]:
    """Yield each folder with the bytes that it takes on the disk."""
    folders = [str(path) for path in paths]
    if not folders:
        return
    # The status is ignored: du fails if a file goes away meanwhile, or cannot be read.
    with suppress(InfrastructureError):
        listed = run_program(
            ["du", "--block-size=1", "--summarize", "--null", "--", *folders],
            check=False,
            what="du",
        )
        for row in listed.output.split("\0"):
            size, tab, path = row.rpartition("\n")[2].partition("\t")
            if tab and size.isdigit():
                yield Path(path), int(size)
