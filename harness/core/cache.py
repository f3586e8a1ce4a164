# SPDX-License-Identifier: MIT
"""Content-keyed cache entries that are either complete or absent.

An entry is a folder `<root>/<kind>/<key>`. It is made as `.<key>.partial` under its own lock and
renamed into place when it is complete. So a run that is killed half-way leaves nothing that a
later run would take for an entry, and two runs that want the same entry build it once.

An entry has a seal unless its caller asks for none: the list of its files with their SHA-256. An
entry that does not match its seal (a failed disk, a power loss, a manual change) is built again.

A run that uses an entry has a lease on it for as long as its Cache lives, or until it releases all
its leases: a shared lock, which is released however the process ends. An entry with a lease is not
moved away.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout

from harness.core import typed_json
from harness.core.editors import is_temporary
from harness.core.errors import NO_PLACE, NOT_ALLOWED, DiskFullError, InfrastructureError
from harness.core.lifetime import check_stopped
from harness.core.paths import CACHE_HINT

T = TypeVar("T")

# Long enough to make collisions practically impossible, short enough to read aloud.
KEY_LENGTH = 16
_SEAL = ".seal"
# A file of the cache that is there if something was put in since the cache was last made to fit.
_GREW = "grew"
# In the name of an entry that is being removed.
_REMOVED = ".removed-"
# How often, in seconds, a run that waits for a lock checks whether it has been stopped.
_LOCK_SECONDS = 0.3


def digest(*parts: str | bytes) -> str:
    """Return a key over `parts`. Boundaries count: ("ab", "c") and ("a", "bc") differ."""
    state = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        state.update(len(data).to_bytes(8, "big"))
        state.update(data)
    return state.hexdigest()[:KEY_LENGTH]


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content, as 64 hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def tree_digest(*roots: Path) -> str:
    """Return a key over the names and contents of all files below `roots`.

    Files in `__pycache__`, and those that editors keep beside a file, do not count.
    """
    parts: list[str | bytes] = []
    for root in roots:
        files = [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.is_file())
        for path in files:
            name = str(path.relative_to(root.parent))
            if "__pycache__" in path.parts or is_temporary(name):
                continue
            parts += [name, path.read_bytes()]
    return digest(*parts)


@contextmanager
def disk_full_named(where: Path) -> Iterator[None]:
    """Raise DiskFullError for ENOSPC and EDQUOT, InfrastructureError if `where` is not writable."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_PLACE:
            raise DiskFullError(
                f"no space left on the disk that holds {where}",
                hint="free some space, or set XDG_CACHE_HOME to a larger disk; "
                "`./inv clean --cache` removes what the harness stored",
            ) from error
        if error.errno in NOT_ALLOWED and error.filename:
            refused = Path(os.fsdecode(error.filename))
            if refused.is_relative_to(where) or where.is_relative_to(refused):
                raise _not_written(error) from error
        raise


def _not_written(error: OSError) -> InfrastructureError:
    """Return the error for a cache that this user may not write to."""
    return InfrastructureError(f"cannot write to the cache: {error}", hint=CACHE_HINT)


def remove_partial(partial: Path) -> None:
    """Remove what a killed run left half-made."""
    try:
        shutil.rmtree(partial)
    except FileNotFoundError:
        return
    except OSError as error:
        raise InfrastructureError(
            f"cannot remove a half-made cache entry: {error}", hint=f"remove {partial} by hand"
        ) from error


def _seal(folder: Path) -> None:
    """Write the seal of a complete folder: its files with their SHA-256."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    sums = {str(path.relative_to(folder)): file_sha256(path) for path in files}
    (folder / _SEAL).write_text(typed_json.to_text(sums, indent=0, exact=True), encoding="utf-8")


def _damage(folder: Path) -> str | None:
    """Return the first file of an entry that does not match its seal; None if all match.

    Raises InfrastructureError if the entry cannot be read.
    """
    name = _SEAL
    try:
        text = (folder / _SEAL).read_text(encoding="utf-8")
        sums = typed_json.read(dict[str, str], text)
        for name, wanted in sums.items():
            if file_sha256(folder / name) != wanted:
                return name
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError):
        return name
    except OSError as error:
        raise InfrastructureError(f"cannot read the cache: {error}") from error
    return None


class _Lease:
    """A shared lock on a lease file, held until the object is dropped or the process ends."""

    def __init__(self, file: Path) -> None:
        self._fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        # Waits at most while another process renames the entry.
        fcntl.flock(self._fd, fcntl.LOCK_SH)

    def __del__(self) -> None:
        with suppress(AttributeError, OSError):
            os.close(self._fd)


@dataclass(frozen=True)
class Cache:
    """The entries below `root`.

    `say` gets messages for the user: about a wait for a lock, and about an entry that is damaged
    and built again.
    """

    root: Path
    say: Callable[[str], None] = field(default=lambda _: None, compare=False)
    # The entries that this process has already found undamaged.
    _whole: set[Path] = field(default_factory=set, init=False, repr=False, compare=False)
    # By entry: the leases of this process.
    _leases: dict[Path, _Lease] = field(default_factory=dict, init=False, repr=False, compare=False)

    def has(self, kind: str, key: str, *, seal: bool = True) -> bool:
        """Return whether the entry exists and, with `seal`, matches its seal; if so, lease it."""
        entry = self.path(kind, key)
        if entry.is_dir():
            # Before the entry is looked at: it may just have been moved away.
            self.lease(entry)
        return entry.is_dir() and (not seal or self._flaw(entry) is None)

    def _flaw(self, entry: Path) -> str | None:
        """Return the damaged file of an entry, or None. An undamaged entry is checked only once."""
        if entry in self._whole:
            return None
        found = _damage(entry)
        if found is None:
            self._whole.add(entry)
        return found

    def path(self, kind: str, key: str) -> Path:
        """Return the path of the entry, whether it exists or not."""
        return self.root / kind / key

    @contextmanager
    def lock(self, name: str, *, wait: bool = True, again: bool = False) -> Iterator[bool]:
        """Hold a lock that other runs on this machine respect; yield whether this run holds it.

        Without `wait`, take it only if it is free. With `again`, a thread that holds it already
        takes it once more.
        """
        folder = self.root / "locks"
        lock, ours = FileLock(folder / f"{name}.lock", is_singleton=again), True
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
        """Take the lock, with `wait` also if it is not free yet; return whether it was taken.

        A run that is stopped while it waits raises RunEndedError.
        """
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
        """Return the entry; build it with `make(folder)` if it is missing or damaged.

        `make` fills an empty folder. If it raises, the folder is removed and the error is passed
        on. Without `seal` no checksums are kept: the caller must check the content itself, where
        that matters.
        """
        entry = self.path(kind, key)
        self.lease(entry)
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
            # Only a killed run leaves one behind: this run holds the lock.
            remove_partial(partial)
            partial.mkdir(parents=True)
            try:
                make(partial)
                if seal:
                    _seal(partial)
                partial.rename(entry)
                self.grew()
            except BaseException:
                shutil.rmtree(partial, ignore_errors=True)
                raise
        return entry

    def used(self, entry: Path) -> None:
        """Lease the folder `entry`, and set its timestamp to now: its age counts from then."""
        self.lease(entry)
        # A read-only cache works as well.
        with suppress(OSError):
            os.utime(entry)

    def lease(self, entry: Path) -> None:
        """Keep other processes from moving `entry` away for as long as this Cache lives.

        The folder need not exist yet.
        """
        if entry in self._leases:
            return
        # From a cache to which this user may not write, this user's runs remove nothing either.
        with suppress(OSError):
            file = self._lease_file(entry)
            file.parent.mkdir(parents=True, exist_ok=True)
            self._leases[entry] = _Lease(file)

    def release(self) -> None:
        """Give up all leases, as if this Cache no longer lived."""
        self._leases.clear()

    def leased(self, entry: Path) -> bool:
        """Return whether a run, this one included, has a lease on `entry`."""
        if not self._lease_file(entry).exists():
            return False
        with self._unleased(entry) as free:
            return not free

    @contextmanager
    def _unleased(self, entry: Path) -> Iterator[bool]:
        """Yield whether there is no lease on `entry`; meanwhile there will be none."""
        # Made if need be: a run may want the first lease meanwhile.
        fd = os.open(self._lease_file(entry), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(fd)

    def _lease_file(self, entry: Path) -> Path:
        return self.root / "locks" / f"{entry.parent.name}-{entry.name}.use"

    def busy(self, name: str) -> bool:
        """Return whether a run holds the lock `name`."""
        lock = FileLock(self.root / "locks" / f"{name}.lock")
        if not Path(lock.lock_file).exists():
            return False
        try:
            lock.acquire(blocking=False)
        except Timeout:
            return True
        lock.release()
        return False

    def move_away(self, entry: Path, lock: str) -> Path | None:
        """Rename `entry`, so that it is no entry any more, and return its new path.

        Return None if it is not there, or in use: a run has a lease on it, or holds its lock. An
        interrupted removal thus leaves no half entry, nor anything in the way of a new one. Raises
        OSError or InfrastructureError.
        """
        moved = entry.with_name(f".{entry.name.lstrip('.')}{_REMOVED}{secrets.token_hex(4)}")
        with self.lock(lock, wait=False) as ours:
            if not ours:
                return None
            with self._unleased(entry) as free, suppress(FileNotFoundError):
                if free:
                    entry.rename(moved)
                    return moved
        return None

    def grew(self) -> None:
        """Note that something was put in, so that at the end of a run room is made."""
        with suppress(OSError):
            (self.root / _GREW).touch()

    def has_grown(self, *, forget: bool = False) -> bool:
        """Return whether something was put in, by any run, since this was last forgotten."""
        file = self.root / _GREW
        found = file.exists()
        if forget:
            with suppress(OSError):
                file.unlink(missing_ok=True)
        return found

    def note(self, value: object, kind: str, *about: str | bytes, exact: bool = False) -> None:
        """Store a value for `noted`, in place of the last one: a server's answer, or the like.

        With `exact`, texts may be such as paths are (see typed_json.to_text).
        """
        path = self.note_path(kind, *about)
        with disk_full_named(self.root):
            path.parent.mkdir(parents=True, exist_ok=True)
            # Another run may be reading it.
            new = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
            new.write_text(typed_json.to_text(value, None if exact else 2, exact=exact))
            new.replace(path)

    def noted(self, form: type[T], kind: str, *about: str | bytes) -> T | None:
        """Return the value that `note` stored last; None if there is none that can be read."""
        with suppress(OSError, ValueError):
            return typed_json.read(form, self.note_path(kind, *about).read_text())
        return None

    def note_path(self, kind: str, *about: str | bytes) -> Path:
        """Return the path of a note, whether there is one or not."""
        return self.root / kind / f"{digest(*about)}.json"

    def remove(self, kind: str, key: str) -> None:
        """Remove the entry, if it exists, so that no other run sees half of it."""
        with self.lock(f"{kind}-{key}"):
            discard(self.path(kind, key))


def is_moved_away(path: Path) -> bool:
    """Return whether this is what `move_away` made of an entry."""
    return path.name.startswith(".") and _REMOVED in path.name


def discard(folder: Path) -> None:
    """Remove a folder of the cache whose lock the caller holds.

    It is renamed first, so that an interrupted removal leaves no half entry.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    remove_partial(partial)
    with suppress(FileNotFoundError):
        folder.rename(partial)
        remove_partial(partial)
