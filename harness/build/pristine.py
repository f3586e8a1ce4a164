# SPDX-License-Identifier: MIT
"""What a work tree is made from: a source in the cache, or a user's folder, which changes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from harness.build.listing import Listing
from harness.build.stale_objects import ambiguous_headers
from harness.build.tree_file import TreeFile, read_file
from harness.core import typed_json
from harness.core.cache import digest
from harness.core.errors import SourceError
from harness.core.process import RunOptions, run

# How many files one command copies. A name is up to 4 KiB, a command line 2 MiB.
_NAMES_AT_ONCE = 400


class Pristine(Protocol):
    """The unpatched files of a work tree, whose notes are in `folder`."""

    @property
    def key(self) -> str:
        """A key over all files."""

    @property
    def namespace(self) -> str:
        """What ccache knows holds for trees with the same one."""

    def digest_without(self, endings: tuple[str, ...]) -> str:
        """Return a digest that stays if only files with these endings change."""

    def read(self, name: str) -> TreeFile | None:
        """Return a file, or None if there is none."""

    def keeps(self, folder: Path) -> bool:
        """Return whether the folder stays, even if it is empty."""

    def copy(self, tree: Path, folder: Path) -> None:
        """Copy all files to the new folder `tree`; SourceMovedError if a file went away."""

    def differing(self, folder: Path) -> Sequence[str] | None:
        """Return the files in which the source differs from what was recorded; None if unknown."""

    def check_unmoved(self) -> None:
        """Raise SourceMovedError unless all that was read is of the source."""

    def record(self, folder: Path) -> None:
        """Record that the work tree is made from the source as it is."""


@dataclass(frozen=True)
class FixedTree:
    """A source in the cache, which never changes."""

    root: Path
    key: str = ""
    namespace: str = ""

    def digest_without(self, endings: tuple[str, ...]) -> str:
        """Return the key: nothing changes."""
        return self.key

    def read(self, name: str) -> TreeFile | None:
        """Return a file, or None if there is none."""
        return read_file(self.root / name)

    def keeps(self, folder: Path) -> bool:
        """Return whether the source has the folder."""
        return (self.root / folder).is_dir()

    def copy(self, tree: Path, folder: Path) -> None:
        """Copy all files."""
        run(["cp", "-a", "--reflink=auto", self.root, tree], what="copy of the kernel tree")

    def differing(self, folder: Path) -> Sequence[str] | None:
        """Return nothing: a work tree has one such source for ever."""
        return ()

    def check_unmoved(self) -> None:
        """Do nothing: it never changes."""

    def record(self, folder: Path) -> None:
        """Do nothing: it never changes."""


@dataclass(frozen=True)
class UserFolder:
    """A user's folder as it was listed. A work tree's record of it is the listing's `files`."""

    listing: Listing

    @property
    def key(self) -> str:
        """The listing's key."""
        return self.listing.key

    @cached_property
    def namespace(self) -> str:
        """A digest of the headers that may hide each other."""
        return ambiguous_headers(self.listing.files)

    def digest_without(self, endings: tuple[str, ...]) -> str:
        """Return a digest over the other files."""
        others = [pair for pair in self.listing.files.items() if not pair[0].endswith(endings)]
        return digest(*(os.fsencode(text) for pair in sorted(others) for text in pair))

    def read(self, name: str) -> TreeFile | None:
        """Return a file as it was listed."""
        return self.listing.read(name)

    def keeps(self, folder: Path) -> bool:
        """Return whether it is the tree itself: only files are copied."""
        return folder == Path()

    def copy(self, tree: Path, folder: Path) -> None:
        """Copy the files that were listed, and record which of them changed meanwhile."""
        root = self.listing.root
        tree.mkdir()
        # A folder that nobody may write to could not be filled, changed, or removed.
        for parent in {name.rpartition("/")[0] for name in self.listing.files}:
            (tree / parent).mkdir(parents=True, exist_ok=True)
        links = {name for name, file in self.listing.files.items() if file.startswith("link ")}
        others = self.listing.files.keys() - links
        try:
            # Not all links are listed as links: those that lead out are the files at their ends.
            for follow, names in (("-P", sorted(links)), ("-L", sorted(others))):
                copy = ["cp", "-R", follow, "--preserve=timestamps", "--reflink=auto", "--parents"]
                for first in range(0, len(names), _NAMES_AT_ONCE):
                    some = ["-t", str(tree), "--", *names[first : first + _NAMES_AT_ONCE]]
                    options = RunOptions(cwd=root)
                    run([*copy, *some], options, error=SourceError, what=f"copy of {root}")
        except SourceError:
            # cp refuses a file that went away, or was replaced, before it was copied.
            self.check_unmoved()
            raise
        moved = frozenset(self.listing.moved())
        # No file is listed as "": so the copy of a file that changed will be compared, or removed
        # if the file has gone.
        files = self.listing.files.items()
        self._record(folder, {k: "" if k in moved else v for k, v in files})

    def differing(self, folder: Path) -> Sequence[str] | None:
        """Return the files that were not listed as they were recorded; None without a record."""
        try:
            text = self._recorded(folder).read_text()
            before = typed_json.read(dict[str, str], text)
        except (OSError, ValueError):
            return None
        now = self.listing.files
        return [name for name in before.keys() | now.keys() if before.get(name) != now.get(name)]

    def check_unmoved(self) -> None:
        """Raise SourceMovedError if the folder is not what was listed."""
        self.listing.check_unmoved()

    def record(self, folder: Path) -> None:
        """Record what was listed."""
        self._record(folder, dict(self.listing.files))

    def _record(self, folder: Path, files: dict[str, str]) -> None:
        new = folder / "pristine.new"
        new.write_text(typed_json.to_text(files, None, exact=True))
        new.replace(self._recorded(folder))

    def _recorded(self, folder: Path) -> Path:
        return folder / "pristine.json"
