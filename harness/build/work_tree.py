# SPDX-License-Identifier: MIT
"""Work trees: copies of a kernel source with our patches, which kernels are built in.

To bring a work tree in step, only the files that differ are written. So all other files keep
their times and make rebuilds only what changed, a repetition changes nothing, and a tree that a
killed run left half-done is repaired.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.build.listing import FoundFile, walk
from harness.build.pristine import FixedTree, Pristine, UserFolder
from harness.build.source import KernelSource
from harness.build.stale_objects import Changes, forget_stale
from harness.build.tree_file import Overlay, TreeFile, read_inside, write_file
from harness.core import typed_json
from harness.core.cache import digest, disk_full_named, remove_partial
from harness.core.errors import SourceMovedError
from harness.core.paths import REPO
from harness.ui.workspace import Workspace


@dataclass(frozen=True)
class _State:
    """The files of a tree that are not pristine; without `whole` they are only in doubt.

    `source` is the key of the source that all other files are of.
    """

    whole: bool
    files: tuple[str, ...]
    source: str = ""


@dataclass(frozen=True)
class WorkTree:
    """A kernel tree to build in.

    There is one for each source, repository, and `Target.work_tree`; a user's folder is one
    source, whatever its content. `folder` holds the tree, the build folder, and what is recorded
    about both. Use it under `lock`.
    """

    folder: Path
    pristine: Pristine

    @classmethod
    def of(cls, ws: Workspace, source: KernelSource) -> WorkTree:
        """Return the work tree for `source` in this repository; nothing is made yet."""
        pristine: Pristine = FixedTree(source.tree, source.key)
        which = source.key
        if source.listing is not None:
            pristine = UserFolder(source.listing)
            which = f"folder-{digest(os.fsencode(source.listing.root))}"
        name = f"{source.target.name}-{which}-{digest(str(REPO))[:8]}"
        name += f"-{source.target.work_tree}" if source.target.work_tree else ""
        return cls(ws.cache.root / "trees" / name, pristine)

    @property
    def tree(self) -> Path:
        """The patched tree."""
        return self.folder / "source"

    @property
    def build(self) -> Path:
        """The folder for `make O=`. Its path has the same length for every repository."""
        return self.folder / "build"

    @contextmanager
    def lock(self, ws: Workspace) -> Iterator[None]:
        """Keep other runs away from the tree and the build folder; may be nested."""
        name = f"tree-{self.folder.name}"
        with ws.cache.lock(name, again=True), disk_full_named(ws.cache.root):
            self.folder.mkdir(parents=True, exist_ok=True)
            ws.cache.used(self.folder)
            if not self.tree.is_dir():
                ws.cache.grew()
            yield

    def sync(self, files: Overlay) -> list[str]:
        """Synchronise the tree with source and overlay; return the paths that were written.

        Files that only an earlier source or overlay had, and files that were changed by hand,
        become as they should be. Raises SourceMovedError if the source has changed; then the
        next call brings the tree in step.
        """
        state, differing = self._load(), self._differing()
        there = self.tree.is_dir()
        if state is None or differing is None or not there or self._clock_was_set_back():
            self._copy()
            state, differing = _State(whole=False, files=()), self._differing() or ()
        present = walk(self.tree)
        doubtful = sorted({*state.files, *files, *self._touched(present), *differing})
        wrong = [path for path in doubtful if self._wanted(path, files) != self._has(path)]
        target = _State(True, tuple(sorted(files)), self.pristine.key)
        if wrong or state != target:
            # Until the tree is whole, all its old and new files are in doubt.
            self._save(_State(whole=False, files=tuple(doubtful), source=state.source))
            self._write(wrong, files, present)
            self.pristine.check_unmoved()
            self.pristine.record(self.folder)
            self._save(target)
        return wrong

    def half_applied(self) -> bool:
        """Return whether a run was stopped between the first and the last file."""
        state = self._load()
        return state is not None and not state.whole

    def _differing(self) -> Sequence[str] | None:
        """Return the files of the source that have changed since the tree was whole.

        None if that is not known, so that the tree has to be made anew.
        """
        state = self._load()
        if state is None or state.source == self.pristine.key:
            return ()
        return self.pristine.differing(self.folder)

    def _wanted(self, path: str, files: Overlay) -> TreeFile | None:
        return files[path] if path in files else self.pristine.read(path)

    def _has(self, path: str) -> TreeFile | None:
        return read_inside(self.tree, path)

    def _write(self, wrong: list[str], files: Overlay, present: Sequence[FoundFile]) -> None:
        """Make the files as they should be: first those that go, for others to take their place."""
        there = {file.name: file for file in present}
        kinds = {path: file.kind for path in wrong if (file := self._wanted(path, files))}
        going = [path for path in wrong if path not in kinds]
        coming = sorted(kinds)
        changes = Changes(
            before=list(there),
            added=[path for path in coming if path not in there],
            removed=going,
            written=[path for path in coming if path in there],
            links={
                *(name for name, file in there.items() if file.is_link),
                *(path for path, kind in kinds.items() if kind == "link"),
            },
        )
        forget_stale(self.tree, self.build, changes)
        for path in going:
            self._remove(path)
        for path in coming:
            file = self._wanted(path, files)
            if file is None:
                raise SourceMovedError(f"{path} was gone before it was copied")
            self._put(path, file)

    @property
    def _state_file(self) -> Path:
        return self.folder / "state.json"

    def _load(self) -> _State | None:
        try:
            return typed_json.read(_State, self._state_file.read_text())
        except (OSError, ValueError):
            return None

    def _save(self, state: _State) -> None:
        new = self.folder / "state.new"
        new.write_text(typed_json.to_text(state, exact=True))
        new.replace(self._state_file)

    def _copy(self) -> None:
        """Make the tree anew, without a build folder: the times of old objects prove nothing."""
        new = self.folder / "source.new"
        for path in (self.tree, self.build, new):
            remove_partial(path)
        self.pristine.copy(new, self.folder)
        self._save(_State(whole=False, files=()))
        new.rename(self.tree)

    def _clock_was_set_back(self) -> bool:
        """Return whether an object, or our record, is newer than now: it would hide an edit."""
        # The disk may be another machine's, with a clock of its own.
        probe = self.folder / "clock"
        probe.touch()
        built = walk(self.build) if self.build.is_dir() else []
        made = [self._state_file.stat(), *(file.status for file in built)]
        return max(status.st_mtime_ns for status in made) > probe.stat().st_mtime_ns

    def _touched(self, present: Sequence[FoundFile]) -> list[str]:
        """Return the files of the tree that others changed after the last `sync`.

        A kernel's release does not cover what others changed.
        """
        done = self._state_file.stat().st_ctime_ns
        return [file.name for file in present if file.status.st_ctime_ns > done]

    def _put(self, path: str, file: TreeFile) -> None:
        place = self.tree / path
        if place.is_dir() and not place.is_symlink():
            # Others made it; all its files have gone.
            shutil.rmtree(place)
        # It gets the current time even if it becomes pristine again: make has to notice it.
        write_file(place, file, scratch=self.folder / "file.new")

    def _remove(self, path: str) -> None:
        place = self.tree / path
        place.unlink(missing_ok=True)
        for folder in place.relative_to(self.tree).parents:
            if self.pristine.keeps(folder):
                break
            with os.scandir(self.tree / folder) as entries:
                if any(entries):
                    break
            (self.tree / folder).rmdir()
