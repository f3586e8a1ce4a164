# SPDX-License-Identifier: MIT
"""Content-keyed cache entries that are either whole or not there.

An entry is a folder `<root>/<kind>/<key>`. It is made as `.<key>.partial`
under a lock of its own and renamed into place when it is complete, so that a
run which is killed half-way leaves nothing that a later run would take for an
entry, and two runs that want the same entry make it once.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from harness.errors import DiskFullError, InfrastructureError

# Long enough that a clash is out of the question, short enough to read aloud.
KEY_LENGTH = 16
_CHUNK = 1 << 20


def digest(*parts: str | bytes) -> str:
    """A key over `parts`; their borders count, so ("ab", "c") is not ("a", "bc")."""
    state = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        state.update(len(data).to_bytes(8, "big"))
        state.update(data)
    return state.hexdigest()[:KEY_LENGTH]


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's content, as 64 hex digits."""
    state = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            state.update(chunk)
    return state.hexdigest()


def tree_digest(*roots: Path) -> str:
    """A key over the names and contents of all files below `roots`."""
    parts: list[str | bytes] = []
    for root in roots:
        files = [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.is_file())
        for path in files:
            if "__pycache__" in path.parts:
                continue
            parts += [str(path.relative_to(root.parent)), path.read_bytes()]
    return digest(*parts)


@contextmanager
def disk_full_named(where: Path) -> Iterator[None]:
    """Turns ENOSPC and EDQUOT into an error that names the folder."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                f"no space left on the disk that holds {where}",
                hint="free some space, or set XDG_CACHE_HOME to a larger disk; "
                "`./inv clean --cache` removes what the harness stored",
            ) from error
        raise


def remove_partial(partial: Path) -> None:
    """Removes what a run that was killed left half-made."""
    try:
        shutil.rmtree(partial)
    except FileNotFoundError:
        return
    except OSError as error:
        raise InfrastructureError(
            f"cannot remove a half-made cache entry: {error}", hint=f"remove {partial} by hand"
        ) from error


@dataclass(frozen=True)
class Cache:
    """The entries below `root`."""

    root: Path

    def path(self, kind: str, key: str) -> Path:
        """Where the entry is or would be."""
        return self.root / kind / key

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Holds a lock that other runs on this machine respect; waits for it."""
        with self._locked(name, wait=True):
            yield

    @contextmanager
    def try_lock(self, name: str) -> Iterator[bool]:
        """The same where nobody has it; says whether it is ours."""
        with self._locked(name, wait=False) as ours:
            yield ours

    @contextmanager
    def _locked(self, name: str, *, wait: bool) -> Iterator[bool]:
        folder = self.root / "locks"
        lock, ours = FileLock(folder / f"{name}.lock"), True
        try:
            with disk_full_named(self.root):
                folder.mkdir(parents=True, exist_ok=True)
                lock.acquire(blocking=wait)
        except Timeout:
            ours = False
        except OSError as error:
            raise InfrastructureError(
                f"cannot write to the cache: {error}",
                hint="set XDG_CACHE_HOME to a folder that you may write to",
            ) from error
        try:
            yield ours
        finally:
            if ours:
                lock.release()

    def ensure(self, kind: str, key: str, make: Callable[[Path], None]) -> Path:
        """The entry, made by `make(folder)` if it is not there yet.

        `make` fills an empty folder. If it raises, the folder is removed and
        the error goes on.
        """
        entry = self.path(kind, key)
        if entry.is_dir():
            self.used(entry)
            return entry
        with self.lock(f"{kind}-{key}"), disk_full_named(self.root):
            if entry.is_dir():
                return entry
            partial = entry.with_name(f".{key}.partial")
            # Only a run that was killed leaves one behind: the lock is ours.
            remove_partial(partial)
            partial.mkdir(parents=True)
            try:
                make(partial)
                partial.rename(entry)
            except BaseException:
                shutil.rmtree(partial, ignore_errors=True)
                raise
        return entry

    def used(self, entry: Path) -> None:
        """Notes that the folder `entry` is used now: its age counts from here."""
        # A cache that one may only read is as good.
        with suppress(OSError):
            os.utime(entry)

    def remove(self, kind: str, key: str) -> None:
        """Removes the entry, if it is there; nobody sees half of it."""
        with self.lock(f"{kind}-{key}"):
            discard(self.path(kind, key))


def discard(folder: Path) -> None:
    """Removes a folder of the cache, whose lock the caller holds; half of it is no entry."""
    partial = folder.with_name(f".{folder.name}.partial")
    remove_partial(partial)
    with suppress(FileNotFoundError):
        folder.rename(partial)
        remove_partial(partial)
