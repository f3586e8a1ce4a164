# SPDX-License-Identifier: MIT
"""The listing of a user's folder: its files with a digest of each, and a key over all.

To read every file of a kernel takes seconds. So, as in git's index, a file's digest is stored
together with its size, times (also ctime, which no program can set) and inode, and used again as
long as these are the same.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from harness.build.tree_file import TreeFile, content_id, read_file
from harness.core.cache import digest
from harness.core.editors import is_temporary
from harness.core.errors import SourceError, SourceMovedError
from harness.ui.workspace import Workspace

# A file that was changed less than this before it is looked at may change again without a sign
# in its times (their granularity is a few milliseconds).
_SETTLED_NS = 2_000_000_000
_KNOWN = "directories"


@dataclass(frozen=True)
class FoundFile:
    """A file, link, pipe or device below a directory: its name there, and its status.

    `leads_out` says that it is a link out of a user's directory to no regular file.
    """

    name: str
    status: os.stat_result
    leads_out: bool = False

    @property
    def is_source(self) -> bool:
        """Whether it is a file or a link: reading a pipe, or a device, may never end."""
        return stat.S_ISREG(self.status.st_mode) or (self.is_link and not self.leads_out)

    @property
    def is_link(self) -> bool:
        """Whether it is a link."""
        return stat.S_ISLNK(self.status.st_mode)

    @property
    def stamp(self) -> str:
        """What changes whenever the file is written to, replaced, or set to other rights."""
        status = self.status
        times = f"{status.st_mtime_ns} {status.st_ctime_ns}"
        return f"{status.st_mode} {status.st_size} {times} {status.st_ino}"


def walk(root: Path) -> list[FoundFile]:
    """Return everything below `root` but folders and `.git`, sorted by name. Follows no link."""
    found: list[FoundFile] = []
    _walk(f"{root}/", "", found)
    return found


def _walk(root: str, folder: str, found: list[FoundFile]) -> None:
    """Add what is in a folder, a path below `root` that is empty or ends with a slash."""
    # Without the slash: an error names the folder.
    with os.scandir((root + folder).rstrip("/") or "/") as entries:
        here = sorted((entry.name, entry) for entry in entries)
    for last, entry in here:
        name = folder + last
        # Also that of a repository in the repository.
        if last == ".git":
            continue
        if entry.is_dir(follow_symlinks=False):
            _walk(root, f"{name}/", found)
        else:
            found.append(FoundFile(name, entry.stat(follow_symlinks=False)))


def walk_sources(root: Path) -> list[FoundFile]:
    """Return what walk() finds below a user's folder, without what editors keep there.

    A link that leads out of it is the file at its end: the copy of such a link would lead to a
    file of which nobody knows whether it has changed.
    """
    with unreadable_named():
        found = [file for file in walk(root) if not is_temporary(file.name)]
        return [_at_the_end(root, file) if file.is_link else file for file in found]


def _at_the_end(root: Path, link: FoundFile) -> FoundFile:
    path = root / link.name
    end = Path(os.path.realpath(path))
    if not path.readlink().is_absolute() and end.is_relative_to(os.path.realpath(root)):
        return link
    with suppress(OSError):
        status = end.stat()
        if stat.S_ISREG(status.st_mode):
            return FoundFile(link.name, status)
    return FoundFile(link.name, link.status, leads_out=True)


@dataclass(frozen=True)
class Listing:
    """The files of a folder at one moment: a content_id() for each name.

    `built` are the names of files that a build in the folder has made; they are not in `files`.
    """

    root: Path
    files: Mapping[str, str]
    built: frozenset[str] = frozenset()
    # By name, the stamps at that moment; a file in `fresh` may change and keep its stamp.
    stamps: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    fresh: frozenset[str] = field(default=frozenset(), repr=False, compare=False)
    # Returns the names of those of the files found later that a build has made.
    built_of: Callable[[Sequence[FoundFile]], frozenset[str]] = field(
        default=lambda _: frozenset(), repr=False, compare=False
    )

    @cached_property
    def key(self) -> str:
        """A key over names, kinds and contents."""
        pairs = sorted(self.files.items())
        return digest(*(os.fsencode(text) for pair in pairs for text in pair))

    def read(self, name: str) -> TreeFile | None:
        """Return a file as it was listed; SourceMovedError if it no longer is in the folder."""
        wanted = self.files.get(name)
        if wanted is None:
            return None
        with unreadable_named():
            file = read_file(self.root / name, follow=not wanted.startswith("link "))
        if file is None or content_id(file) != wanted:
            raise _moved(self.root, [name])
        return file

    def moved(self) -> list[str]:
        """Return the files that were written to, added or removed since they were listed.

        Those that a build made meanwhile are not among them.
        """
        found = walk_sources(self.root)
        now = {file.name: file for file in found if file.is_source}
        names = now.keys() | self.files.keys()
        moved = {name for name in names if self._has_moved(name, now.get(name))}
        if not moved <= self.files.keys():
            moved -= self.built_of(found) - self.files.keys()
        return sorted(moved)

    def _has_moved(self, name: str, now: FoundFile | None) -> bool:
        if name in self.built:
            return False
        if now is None or name not in self.files or now.stamp != self.stamps[name]:
            return True
        return name in self.fresh and _content(self.root, now) != self.files[name]

    def check_unmoved(self) -> None:
        """Raise SourceMovedError if the folder is not what was listed."""
        if moved := self.moved():
            raise _moved(self.root, moved)


def _moved(root: Path, names: Sequence[str]) -> SourceMovedError:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return SourceMovedError(
        f"{shown(root)} changed while it was read: {shown(names[0])}{more}",
        hint="is a program at work there? try it again",
    )


def list_folder(
    ws: Workspace, root: Path, found: Sequence[FoundFile], built: frozenset[str]
) -> tuple[Listing, int]:
    """Return the listing of a folder, and how many files had to be read for it.

    `found` is what is there. Raises SourceError for a file that cannot be read, and
    SourceMovedError for one that is gone.
    """
    began = time.time_ns()
    about = (_KNOWN, os.fsencode(root))
    ws.cache.used(ws.cache.note_path(*about))
    known = ws.cache.noted(dict[str, str], *about) or {}
    files: dict[str, str] = {}
    stamps: dict[str, str] = {}
    fresh: set[str] = set()
    noted: dict[str, str] = {}
    read = 0
    with unreadable_named():
        for file in found:
            if not file.is_source or file.name in built:
                continue
            name, stamp = file.name, file.stamp
            # A stamp and a content have no "; " in them.
            old_stamp, _, content = known.get(name, "").partition("; ")
            if old_stamp != stamp:
                content = _content(root, file)
                read += 1
            files[name], stamps[name] = content, stamp
            if file.status.st_ctime_ns < began - _SETTLED_NS:
                noted[name] = f"{stamp}; {content}"
            else:
                fresh.add(name)
    if noted != known:
        ws.cache.note(noted, *about, exact=True)
        ws.cache.grew()
    return Listing(root, files, built, stamps, frozenset(fresh)), read


def _content(root: Path, found: FoundFile) -> str:
    path = root / found.name
    file = read_file(path, follow=not found.is_link)
    if file is None:
        raise FileNotFoundError(2, "gone", str(path))
    return content_id(file)


# --- what cannot be read ----------------------------------------------------


@contextmanager
def unreadable_named() -> Iterator[None]:
    """Turn the failure to read a file of the user into an error that names the file."""
    try:
        yield
    except (PermissionError, FileNotFoundError, NotADirectoryError) as error:
        raise unreadable(error) from error


def unreadable(error: OSError) -> SourceError:
    """Return the error for a file that is unreadable or no longer there, with its name."""
    name = shown(error.filename)
    if isinstance(error, PermissionError):
        hint = "run it as the user whose file it is, or let others read it"
        return SourceError(f"{name} cannot be read: {error.strerror}", hint=hint)
    hint = "is somebody at work there? try it again"
    return SourceMovedError(f"{name} was gone before it was read", hint=hint)


def shown(name: object) -> str:
    """Return a path for people, with unprintable characters escaped."""
    text = os.fsencode(str(name)).decode(errors="backslashreplace")
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
