# SPDX-License-Identifier: MIT
"""The files that a build in a user's own kernel tree has left there.

They are no source: `make O=` would refuse to work, or take them for files of the build folder.
The kernel's own makefiles know them. So `make mrproper` is run on a stand-in for the tree, which
has all its names, but content only where make reads it; what it removes has been built.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from harness.build.listing import FoundFile, shown, unreadable_named
from harness.core.cache import digest
from harness.core.process import RunOptions, run
from harness.targets.model import Target
from harness.ui.workspace import Workspace

# A tree in which none of these exists has not been built in. Any build makes the last one first.
_MARKS = (".config", "include/config/", "include/generated/", "scripts/basic/fixdep")
# The names of files that make reads to clean a tree.
_MAKEFILES = ("Makefile*", "Kbuild*", "Kconfig*", "Platform", "*.mk", "*.make", "*.include")
_SCRIPTS = "scripts/"
_KNOWN = "built"


@dataclass(frozen=True)
class _Sorted:
    """The names in a tree that had been built, and those that had not, under some makefiles."""

    makefiles: str
    built: tuple[str, ...]
    source: tuple[str, ...]


def built_in(
    ws: Workspace, target: Target, root: Path, found: Sequence[FoundFile]
) -> frozenset[str]:
    """Return the names of those files of `found` that a build in the folder `root` has made.

    make is asked again if there are new names, or other makefiles.
    """
    marks = (*_MARKS, f"arch/{target.arch}/include/generated/")
    if not any(_is_mark(file.name, marks) for file in found):
        return frozenset()
    makefiles = digest(*(f"{file.name} {file.stamp}" for file in found if _is_read(file.name)))
    about = (_KNOWN, os.fsencode(root))
    ws.cache.used(ws.cache.note_path(*about))
    known = ws.cache.noted(_Sorted, *about)
    names = {file.name for file in found if file.is_source}
    if known is not None and known.makefiles == makefiles:
        old = {*known.built, *known.source}
        if names <= old:
            return frozenset(names.intersection(known.built))
    links = {file.name for file in found if file.is_link}
    built = {name for name in names if _is_mark(name, marks)}
    built |= _cleaned(ws, target, root, names, links)
    ws.cache.note(
        _Sorted(makefiles, tuple(sorted(built)), tuple(sorted(names - built))), *about, exact=True
    )
    ws.reporter.say(
        f"{shown(root)} has been built in: what `make mrproper` would remove "
        f"({len(built)} files) is left out"
    )
    return frozenset(built)


def _is_mark(name: str, marks: Sequence[str]) -> bool:
    return any(name == mark or (mark.endswith("/") and name.startswith(mark)) for mark in marks)


def _is_read(name: str) -> bool:
    """Return whether make reads the file when it cleans the tree, or may run it then."""
    last = name.rpartition("/")[2]
    return name.startswith(_SCRIPTS) or any(fnmatchcase(last, mask) for mask in _MAKEFILES)


def _cleaned(
    ws: Workspace, target: Target, root: Path, names: set[str], links: set[str]
) -> set[str]:
    """Return the names that `make mrproper` removes from a tree with these names and links."""
    with tempfile.TemporaryDirectory(prefix="gfoom-clean-") as scratch:
        stand_in = Path(scratch)
        for folder in sorted({name.rpartition("/")[0] for name in names}):
            (stand_in / folder).mkdir(parents=True, exist_ok=True)
        with unreadable_named():
            for name in names:
                if not _is_read(name):
                    (stand_in / name).touch()
                elif name in links:
                    (stand_in / name).symlink_to((root / name).readlink())
                else:
                    shutil.copy(root / name, stand_in / name)
        run(
            ["make", "-s", f"ARCH={target.arch}", "mrproper"],
            RunOptions(cwd=stand_in),
            log=ws.logs / "mrproper.log",
            # An old kernel's makefiles may fail under a new make; then only the marks are known.
            check=False,
            what="make mrproper",
        )
        return {name for name in names if not os.path.lexists(stand_in / name)}
