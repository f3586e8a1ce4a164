# SPDX-License-Identifier: MIT
"""What a run of `emulator-test` is made from and people edit: the files, and what changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from harness.build import built_in
from harness.build.listing import list_folder, unreadable_named, walk, walk_sources
from harness.build.tree_file import content_id, read_file
from harness.core.editors import is_temporary
from harness.core.paths import COMMON, MODULES, NDK_TESTS, REPO
from harness.jobs.options import EmulatorTestOptions
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

    `built` are files that a build in the kernel's tree has made.
    """

    files: Mapping[Place, Mapping[Path, str]]
    built: frozenset[Path] = frozenset()

    def differs(self, path: Path) -> bool:
        """Return whether a file that something happened to may have another content now.

        So may the files of a folder that came, went, or was renamed.
        """
        if path in self.built or not concerns(self.files, path):
            return False
        known = next((files[path] for files in self.files.values() if path in files), None)
        try:
            file = read_file(path)
        except OSError:
            # As if it were gone.
            file = None
        if file is None and known is None:
            return path.is_dir() or path in self._folders
        return file is None or known != content_id(file)

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
    if is_temporary(path.name) or path.name.endswith(_MADE) or ".git" in path.parts:
        return False
    return any(path.is_relative_to(place.path) for place in places)


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
    built: frozenset[Path] = frozenset()
    for place in places:
        if place.title == _SOURCE:
            found = walk_sources(place.path)
            made = built_in.built_in(ws, options.target, place.path, found)
            listing, _ = list_folder(ws, place.path, found, made)
            files[place] = {place.path / name: content for name, content in listing.files.items()}
            built = frozenset(place.path / name for name in made)
        else:
            files[place] = _read(place.path)
    return Inputs(files, built)


def _read(path: Path) -> dict[Path, str]:
    with unreadable_named():
        found = [path / file.name for file in walk(path)] if path.is_dir() else [path]
        read = {one: read_file(one) for one in found if not is_temporary(one.name)}
    return {
        one: content_id(file)
        for one, file in read.items()
        if file is not None and not one.name.endswith(_MADE)
    }
