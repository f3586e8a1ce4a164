# SPDX-License-Identifier: MIT
"""What a run of `emulator-test` is made from and people edit: the files, and what changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

from harness.build import built_in
from harness.build.listing import FoundFile, list_folder, unreadable_named, walk, walk_sources
from harness.build.tree_file import content_id, read_file
from harness.core.editors import is_temporary
from harness.core.errors import HarnessError
from harness.core.paths import COMMON, MODULES, NDK_TESTS, REPO
from harness.jobs.options import EmulatorTestOptions
from harness.ui.progress import QUIET, Reporter
from harness.ui.workspace import Workspace

# How many changed files a line names.
_NAMED = 5
_SOURCE = "kernel source"
# What a build writes beside its sources.
_MADE = (".a", ".cmd", ".d", ".dtb", ".ko", ".mod", ".mod.c", ".o", ".order", ".so", ".symvers")


@dataclass(frozen=True)
class Place:
    """A folder, or a single file, that people edit. `title` is for people."""

    title: str
    path: Path


@dataclass(frozen=True)
class Inputs:
    """The files below some places: for each place, a content_id() by path.

    `is_built` says whether a build in the kernel's tree has made a file by now.
    """

    files: Mapping[Place, Mapping[Path, str]]
    is_built: Callable[[Path], bool] = field(default=lambda _: False, compare=False)

    def differs(self, path: Path) -> bool:
        """Return whether a file that something happened to may have another content now.

        So may the files of a folder that came, went, or was renamed.
        """
        if not concerns(self.files, path):
            return False
        try:
            return self._differs(path)
        except (HarnessError, OSError):
            # Mostly because something there is changing right now.
            return True

    def _differs(self, path: Path) -> bool:
        known = next((files[path] for files in self.files.values() if path in files), None)
        file = read_file(path)
        if file is not None:
            return known != content_id(file) and (known is not None or not self.is_built(path))
        if known is None and path.is_dir():
            below = {path / found.name for found in walk(path)}
            for files in self.files.values():
                below.update(one for one in files if one.is_relative_to(path))
            return any(map(self.differs, below))
        return known is not None or path in self._folders

    @cached_property
    def _folders(self) -> frozenset[Path]:
        """The folders of all files."""
        return frozenset(
            folder for files in self.files.values() for path in files for folder in path.parents
        )

    def changes_since(self, before: Inputs) -> list[str]:
        """Return a line for each place in which files are not what they were."""
        lines = []
        for place, files in self.files.items():
            old = before.files.get(place, {})
            changed = sorted(
                path for path in files.keys() | old.keys() if files.get(path) != old.get(path)
            )
            if changed:
                names = [_shown(place, path) for path in changed[:_NAMED]]
                more = f" and {len(changed) - _NAMED} more" if len(changed) > _NAMED else ""
                lines.append(f"{place.title}: {', '.join(names)}{more}")
        return lines


def concerns(places: Iterable[Place], path: Path) -> bool:
    """Return whether the path may be that of an input.

    Beside a given file there may be anything, and in each folder what editors, builds and git
    keep there.
    """
    return any(
        path.is_relative_to(place.path) and _is_input(path.relative_to(place.path))
        for place in places
    )


def _is_input(path: Path) -> bool:
    """Return whether a path below a place may be that of an input."""
    made = is_temporary(path.as_posix()) or path.name.endswith(_MADE)
    return not made and ".git" not in path.parts


def _shown(place: Place, path: Path) -> str:
    root = REPO if path.is_relative_to(REPO) else place.path
    return str(path.relative_to(root)) if path != root else path.name


def places_of(options: EmulatorTestOptions) -> list[Place]:
    """Return the places that a run's inputs are edited in."""
    target = options.target
    places = [
        Place("our C", COMMON),
        Place("patches and configuration", target.patches),
        Place("modules", MODULES),
        Place("programs", NDK_TESTS),
    ]
    given = [*options.patches, *([options.config] if options.config is not None else [])]
    places += [Place("given file", path.absolute()) for path in given]
    source = options.source or target.given_source
    if source is not None and (root := Path(source).expanduser()).is_dir():
        places.append(Place(_SOURCE, root.resolve()))
    return places


def read_inputs(ws: Workspace, options: EmulatorTestOptions, places: Sequence[Place]) -> Inputs:
    """Return all files as they are; a place that does not exist has none.

    Raises SourceError if a file cannot be read.
    """
    files: dict[Place, Mapping[Path, str]] = {}
    inputs = Inputs(files)
    for place in places:
        if place.title == _SOURCE:
            found = walk_sources(place.path)
            built = built_in.built_in(ws, options.target, place.path, found)
            listing, _ = list_folder(ws, place.path, found, built)
            files[place] = {place.path / name: content for name, content in listing.files.items()}
            # A make that goes on is asked about again and again: that is not said each time.
            silent = replace(ws, reporter=Reporter(mode=QUIET))
            built_of = partial(built_in.built_in, silent, options.target, place.path)
            inputs = replace(inputs, is_built=_says_built(place.path, built, built_of))
        else:
            files[place] = _read(place.path)
    return inputs


def _says_built(
    root: Path, built: frozenset[str], built_of: Callable[[Sequence[FoundFile]], frozenset[str]]
) -> Callable[[Path], bool]:
    """Return what says whether a build in the folder `root` has made a file.

    The names in `built` are known; for any other file, `built_of` is asked again.
    """
    known = {root / name for name in built}

    def is_built(path: Path) -> bool:
        if path not in known and path.is_relative_to(root):
            known.update(root / name for name in built_of(walk_sources(root)))
        return path in known

    return is_built


def _read(path: Path) -> dict[Path, str]:
    with unreadable_named():
        found = [Path(file.name) for file in walk(path)] if path.is_dir() else [Path()]
        read = {path / name: read_file(path / name) for name in found if _is_input(name)}
    return {one: content_id(file) for one, file in read.items() if file is not None}
