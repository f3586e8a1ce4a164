# SPDX-License-Identifier: MIT
"""`built.json` of a result folder: what the run booted and pushed, and its place in the cache.

It is written before the boot, so that a run whose kernel does not come up can be bundled.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from harness.build.bootable import Bootable
from harness.build.kernel import KernelBuild
from harness.bundle import manifest as bundle_manifest
from harness.bundle.manifest import Harness, Kernel, Place, Rounds, Scenarios
from harness.core import typed_json
from harness.core.cache import Cache, tree_digest
from harness.core.paths import REPO, as_typed
from harness.core.text import visible
from harness.machine import qemu
from harness.results.folder import ResultFolder
from harness.targets.model import QemuMachine, Target

FILE = "built.json"
FORMAT = 1


@dataclass(frozen=True)
class Part:
    """A file of a cache entry, and its name in a bundle."""

    member: str
    kind: str
    key: str
    file: str

    def path(self, cache: Cache) -> Path:
        """Return its path, also if it is gone."""
        return cache.path(self.kind, self.key) / self.file


@dataclass(frozen=True)
class Record:
    """A built.json. `machine` is None if the run was on an Android Emulator.

    For the other fields see Manifest.

    For a run that booted what a bundle has, `replay_of` names the bundle, and there are no parts.
    """

    format: int
    place: Place
    kernel: Kernel
    harness: Harness
    scenarios: Scenarios | None
    rounds: Rounds | None
    packages: tuple[str, ...]
    machine: QemuMachine | None
    arguments: str
    qemu: str
    parts: tuple[Part, ...]
    replay_of: str = ""

    @property
    def can_be_bundled(self) -> bool:
        """Whether the run can be repeated elsewhere from a bundle of its own."""
        return self.machine is not None and not self.replay_of


def members_of(files: Bootable) -> Iterator[tuple[str, Path]]:
    """Yield the files that go into a bundle, with their names there."""
    yield bundle_manifest.KERNEL, files.image
    yield bundle_manifest.CONFIG, files.config
    yield bundle_manifest.INITRAMFS, files.initramfs
    yield from ((f"{bundle_manifest.MODULES_FOLDER}/{p.name}", p) for p in files.modules)
    yield from ((f"{bundle_manifest.PROGRAMS_FOLDER}/{p.name}", p) for p in files.programs)


def unpacked(release: str, folder: Path, packages: tuple[str, ...] = ()) -> Bootable:
    """Return what can be booted from a bundle that was unpacked into `folder`."""
    return Bootable(
        release=release,
        image=folder / bundle_manifest.KERNEL,
        config=folder / bundle_manifest.CONFIG,
        initramfs=folder / bundle_manifest.INITRAMFS,
        modules=tuple(sorted((folder / bundle_manifest.MODULES_FOLDER).glob("*"))),
        programs=tuple(sorted((folder / bundle_manifest.PROGRAMS_FOLDER).glob("*"))),
        packages=packages,
    )


def kernel_of(build: KernelBuild) -> Kernel:
    """Return which kernel this is, and from which source."""
    taken = build.source
    return Kernel(
        release=build.release,
        toolchain=visible(build.toolchain),
        origin=visible(taken.origin),
        repository=None if taken.url is None else visible(taken.url),
        commit=taken.commit,
        changed=tuple(visible(name) for name in taken.changed),
    )


def record(
    cache: Cache,
    target: Target,
    kernel: Kernel,
    files: Bootable,
    what: Scenarios | Rounds,
    bundle: Path | None = None,
) -> Record:
    """Describe what a run of `what` boots; asks QEMU for its version.

    `bundle` is the file that has it, if it was not built.
    """
    machine = target.machine if isinstance(target.machine, QemuMachine) else None
    return Record(
        format=FORMAT,
        place=Place(target.name, target.emulator, target.debug),
        kernel=kernel,
        harness=this_harness(),
        scenarios=what if isinstance(what, Scenarios) else None,
        rounds=what if isinstance(what, Rounds) else None,
        packages=files.packages,
        machine=machine,
        arguments=qemu.kernel_command_line(machine) if machine else "",
        qemu=qemu.version(machine) if machine else "",
        parts=() if bundle else _parts(cache, files),
        replay_of=visible(bundle.name) if bundle else "",
    )


def read(text: str) -> Record:
    """Parse a built.json; ValueError if it is malformed or of another format."""
    value = typed_json.parse(text)
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise ValueError(f"its format is not {FORMAT}")
    found = typed_json.from_stranger(Record, value)
    for part in found.parts:
        names = PurePosixPath(part.kind, part.key, part.file)
        if names.is_absolute() or ".." in names.parts:
            raise ValueError(f"{part.member} is outside the cache")
    return found


def leave(record: Record, folder: ResultFolder) -> str:
    """Write the built.json of a run; return how to hand the run on, empty if that cannot be."""
    folder.put(FILE, typed_json.to_text(record))
    return how_to_hand_on(folder.path) if record.can_be_bundled else ""


def how_to_hand_on(folder: Path) -> str:
    """Return the hint for a run that did not pass: how to bundle its result folder."""
    return f"to hand it on: ./inv bundle {as_typed(folder)}"


def this_harness() -> Harness:
    """Return which harness this is: its code, by which it judges, is in the digest."""
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    return Harness(version=project["version"], code=tree_digest(REPO / "harness"))


def _parts(cache: Cache, files: Bootable) -> tuple[Part, ...]:
    found = []
    for member, path in members_of(files):
        kind, key, *rest = path.relative_to(cache.root).parts
        found.append(Part(member, kind, key, "/".join(rest)))
    return tuple(found)
