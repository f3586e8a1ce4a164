# SPDX-License-Identifier: MIT
"""Content-keyed cache entries that are either whole or not there.

An entry is a folder `<root>/<kind>/<key>`. It is made as `.<key>.partial`
under a lock of its own and renamed into place when it is complete, so that a
run which is killed half-way leaves nothing that a later run would take for an
entry, and two runs that want the same entry make it once.

Its seal is the list of its files with their SHA-256. An entry that does not fit it
(a disk that failed, a machine that lost its power, a hand) is made once more.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from harness.core.errors import DiskFullError, InfrastructureError
from harness.core.lifetime import check_stopped
from harness.core.paths import CACHE_HINT

# Long enough that a clash is out of the question, short enough to read aloud.
KEY_LENGTH = 16
_CHUNK = 1 << 20
# What the system says where a user may not write.
NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)
_SEAL = ".seal"
# How often a run that waits for a lock looks whether it has been ended.
_LOCK_SECONDS = 0.3


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
    """Turns ENOSPC and EDQUOT, and a folder that is not the user's, into an error that names it."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                f"no space left on the disk that holds {where}",
                hint="free some space, or set XDG_CACHE_HOME to a larger disk; "
                "`./inv clean --cache` removes what the harness stored",
            ) from error
        if error.errno in NOT_ALLOWED and _is_on_the_way(error.filename, where):
            raise _not_written(error) from error
        raise


def _is_on_the_way(file: str | bytes | None, where: Path) -> bool:
    """Whether `file` is in the folder `where`, or one that the folder is in."""
    path = Path(os.fsdecode(file)) if file else None
    return path is not None and (path.is_relative_to(where) or where.is_relative_to(path))


def _not_written(error: OSError) -> InfrastructureError:
    """The error for a cache that this user may not write to."""
    return InfrastructureError(f"cannot write to the cache: {error}", hint=CACHE_HINT)


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


def _seal(folder: Path) -> None:
    """Writes down what is in a folder that is complete."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    sums = {str(path.relative_to(folder)): file_sha256(path) for path in files}
    (folder / _SEAL).write_text(json.dumps(sums, indent=0) + "\n", encoding="utf-8")


def _damage(folder: Path) -> str | None:
    """The first file of an entry that does not fit its seal; None where all do.

    Raises InfrastructureError where that cannot be said.
    """
    name = _SEAL
    try:
        sums = json.loads((folder / _SEAL).read_text(encoding="utf-8"))
        if not isinstance(sums, dict):
            return _SEAL
        for name, wanted in sums.items():
            if file_sha256(folder / name) != wanted:
                return str(name)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError):
        return str(name)
    except OSError as error:
        raise InfrastructureError(f"cannot read the cache: {error}") from error
    return None


@dataclass(frozen=True)
class Cache:
    """The entries below `root`; `say` is told of one that is made once more."""

    root: Path
    say: Callable[[str], None] = field(default=lambda _: None, compare=False)
    # Looked at by this process, which then knows.
    _whole: set[Path] = field(default_factory=set, init=False, repr=False, compare=False)

    def has(self, kind: str, key: str, *, seal: bool = True) -> bool:
        """Whether the entry is there, and fits its seal if it has to have one."""
        entry = self.path(kind, key)
        return entry.is_dir() and (not seal or self._flaw(entry) is None)

    def _flaw(self, entry: Path) -> str | None:
        """What is damaged in an entry; looked for once."""
        if entry in self._whole:
            return None
        found = _damage(entry)
        if found is None:
            self._whole.add(entry)
        return found

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
                ours = self._acquire(lock, wait)
        except OSError as error:
            raise _not_written(error) from error
        try:
            yield ours
        finally:
            if ours:
                lock.release()

    def _acquire(self, lock: FileLock, wait: bool) -> bool:
        """Takes the lock, and waits for it if it may; a run that is ended waits no longer."""
        with suppress(Timeout):
            lock.acquire(blocking=False)
            return True
        if wait:
            self.say(f"waiting for another run ({Path(lock.lock_file).stem})")
        while wait:
            check_stopped()
            with suppress(Timeout):
                lock.acquire(timeout=_LOCK_SECONDS)
                return True
        return False

    def ensure(
        self, kind: str, key: str, make: Callable[[Path], None], *, seal: bool = True
    ) -> Path:
        """The entry, made by `make(folder)` if it is not there yet, or not whole.

        `make` fills an empty folder. If it raises, the folder is removed and
        the error goes on. Without `seal` somebody else sees to it that what is in
        the entry is right.
        """
        entry = self.path(kind, key)
        if self.has(kind, key, seal=seal):
            self.used(entry)
            return entry
        with self.lock(f"{kind}-{key}"), disk_full_named(self.root):
            if entry.is_dir():
                flaw = self._flaw(entry) if seal else None
                if flaw is None:
                    return entry
                self.say(f"{entry} is damaged ({flaw}): made once more")
                discard(entry)
            partial = entry.with_name(f".{key}.partial")
            # Only a run that was killed leaves one behind: the lock is ours.
            remove_partial(partial)
            partial.mkdir(parents=True)
            try:
                make(partial)
                if seal:
                    _seal(partial)
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
