# SPDX-License-Identifier: MIT
"""Changes of a kernel tree that make does not notice in a build folder.

make compares times of the files that it knows an object was made from. It does not notice that a
file is gone, that a new header comes before the one that was included, that a script makes other
output, or that a link leads to another file: it looks at the time of the file at the link's end.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

from harness.core.cache import digest

_SCRIPTS = (".awk", ".pl", ".py", ".sed", ".sh")
# Their scripts and programs are no part of a kernel.
_NO_PART = ("Documentation/", "samples/", "tools/")
# Files that nothing includes.
_NEVER_INCLUDED = ("Kbuild", "Kconfig", "Makefile", ".gitignore")


@dataclass(frozen=True)
class Changes:
    """The paths that are about to change in a tree; `before` are all that it has.

    `links` are those that are links, before or afterwards.
    """

    before: Sequence[str]
    added: Sequence[str]
    removed: Sequence[str]
    written: Sequence[str]
    links: AbstractSet[str] = frozenset()

    @property
    def all(self) -> tuple[str, ...]:
        """All paths that change."""
        return (*self.added, *self.removed, *self.written)


def forget_stale(tree: Path, build: Path, changes: Changes) -> None:
    """Have make see what it would not notice. Call it before the changes; twice does no harm."""
    if not build.is_dir():
        return
    if any(_is_script(path) for path in changes.all) or _is_linked(tree, changes):
        # Nobody knows what was made by it, or through it. ccache has the objects.
        shutil.rmtree(build)
        return
    for path in changes.removed:
        _remove_made_from(build / path)
    for path in _hidden(changes):
        os.utime(tree / path, follow_symlinks=False)


def _is_script(path: str) -> bool:
    return not path.startswith(_NO_PART) and (
        path.startswith("scripts/") or path.endswith(_SCRIPTS)
    )


def _is_linked(tree: Path, changes: Changes) -> bool:
    """Return whether a link changes, is hidden by a new file, or leads to what comes or goes."""
    links = [path for path in changes.links if not path.startswith(_NO_PART)]
    if not {*changes.all, *_hidden(changes)}.isdisjoint(links):
        return True
    root = os.path.realpath(tree)
    ends = {os.path.realpath(tree / path) for path in links}
    added = {f"{root}/{path}" for path in changes.added}
    removed = [f"{root}/{path}/" for path in changes.removed]
    return not ends.isdisjoint(added) or any(
        path.startswith(f"{end}/") for path in removed for end in ends
    )


def _remove_made_from(place: Path) -> None:
    """Remove what was made from a file that is gone: objects, and make's notes on them."""
    stem = place.name.partition(".")[0]
    if not stem or not place.parent.is_dir():
        return
    for made in place.parent.iterdir():
        if made.name.startswith((f"{stem}.", f".{stem}.")) and not made.is_dir():
            made.unlink()


def _hidden(changes: Changes) -> list[str]:
    """Return the files that a new one of the same name may be included in place of."""
    new = {path.rpartition("/")[2] for path in changes.added}.difference(_NEVER_INCLUDED)
    if not new:
        return []
    going = {*changes.removed, *changes.added}
    return [path for path in changes.before if path.rpartition("/")[2] in new and path not in going]


def ambiguous_headers(names: Iterable[str]) -> str:
    """Return a digest of the headers whose names several headers have.

    ccache compares the headers that a compilation has read, and not those that it would read
    now. What it knows of a tree holds for trees in which the same headers hide each other.
    """
    by_name: dict[str, list[str]] = {}
    for name in names:
        if name.endswith(".h"):
            by_name.setdefault(name.rpartition("/")[2], []).append(name)
    return digest(*(os.fsencode(n) for group in by_name.values() if len(group) > 1 for n in group))
