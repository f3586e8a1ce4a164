# SPDX-License-Identifier: MIT
"""What a replay bundle says of itself: a run, and every file that repeats it. Pure.

The manifest is the bundle's first member, `manifest.json`. A reader looks at `schema`
before all else: it is raised where an older reader could misunderstand.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from harness.build.modules import MODULE_NAMES
from harness.core import typed_json
from harness.core.errors import InfrastructureError
from harness.core.text import visible
from harness.targets.model import QemuMachine

# To be raised with every new field, also of QemuMachine: what is unknown is refused.
SCHEMA = 1
NAME = "manifest.json"
KERNEL, CONFIG, INITRAMFS = "kernel/image", "kernel/config", "guest/initramfs"
MODULES_FOLDER, PROGRAMS_FOLDER, ORIGINAL_FOLDER = "modules", "programs", "original"
# Bytes: the manifest's own size, and that of all members together. A bundle has 17 MB.
LARGEST_MANIFEST = 1 << 20
LARGEST_CONTENT = 256 << 20
MOST_MEMBERS = 200

_PLAIN = r"[A-Za-z0-9_][A-Za-z0-9._+-]*"
_MEMBER_NAME = re.compile(
    rf"{KERNEL}|{CONFIG}|{INITRAMFS}|{MODULES_FOLDER}/{_PLAIN}\.ko|{PROGRAMS_FOLDER}/{_PLAIN}"
    rf"|{ORIGINAL_FOLDER}/(?:guest[0-9]{{1,4}}/)?{_PLAIN}"
)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NEEDED = (KERNEL, INITRAMFS, *(f"{MODULES_FOLDER}/{name}.ko" for name in MODULE_NAMES))


@dataclass(frozen=True)
class Member:
    """A file of the bundle, its size in bytes, and its SHA-256 as 64 hex digits."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Scenarios:
    """A run of the main job: `policy` may be "all". So many `guests` shared the scenarios."""

    policy: str
    trigger: str
    names: tuple[str, ...]
    guests: int = 1


@dataclass(frozen=True)
class Rounds:
    """A run of the fuzz test: `count` rounds, the first from `seed`; 0: nobody knows how many."""

    seed: int
    count: int


@dataclass(frozen=True)
class Place:
    """Where it ran: the target's name, the emulator, and whether the kernel checks itself."""

    target: str
    emulator: str
    debug: bool


@dataclass(frozen=True)
class Kernel:
    """The kernel, and where its source is from; see Summary."""

    release: str
    toolchain: str
    origin: str
    repository: str | None
    commit: str | None
    changed: tuple[str, ...]


@dataclass(frozen=True)
class Harness:
    """The harness that ran: its version, a digest of its code, the commit if there was one."""

    version: str
    code: str
    commit: str | None = None


@dataclass(frozen=True)
class Told:
    """One verdict of the original run; `outcome` is the name of an Outcome."""

    policy: str
    scenario: str
    outcome: str


@dataclass(frozen=True)
class Original:
    """How the original run ended: its last line, and all its verdicts in their order."""

    passed: bool
    result: str
    outcomes: tuple[Told, ...]

    @classmethod
    def of_rounds(cls, problems: Sequence[str], rounds: int) -> Original:
        """How a fuzz run of so many rounds ended that had these problems.

        Every broken invariant is one outcome: of chance is only how often, and by whom.
        """
        if problems:
            told = Told("", "rounds", "FAILED")
            return cls(False, visible(f"FAIL: {problems[0]}"), (told,))
        return cls(True, f"PASS: {rounds} rounds", (Told("", "rounds", "PASSED"),))


@dataclass(frozen=True)
class Manifest:
    """A bundle. Either `scenarios` or `rounds` is what was run.

    `machine` is the target's machine as the original's harness had it, `arguments` the
    kernel's, `qemu` QEMU's word for its version, and `packages` what the guest is made
    from, as `name=version`.
    """

    schema: int
    run: str
    command: tuple[str, ...]
    scenarios: Scenarios | None
    rounds: Rounds | None
    place: Place
    machine: QemuMachine
    arguments: str
    qemu: str
    kernel: Kernel
    packages: tuple[str, ...]
    harness: Harness
    original: Original
    members: tuple[Member, ...]


def to_text(manifest: Manifest) -> str:
    """The text of a manifest.json."""
    return typed_json.to_text(manifest)


def from_text(text: bytes) -> Manifest:
    """The manifest in a manifest.json.

    Raises ValueError if it is none, and InfrastructureError where only a newer harness
    understands it.
    """
    value = typed_json.parse(text)
    if not isinstance(value, dict) or not isinstance(value.get("schema"), int):
        raise ValueError("it has no schema")
    if value["schema"] > SCHEMA:
        raise InfrastructureError(
            f"the bundle was made by a newer version of this harness: its schema is"
            f" {str(value['schema'])[:20]}, and {SCHEMA} is the newest known here",
            hint="git pull, then replay it again",
        )
    manifest = typed_json.from_value(Manifest, value)
    if manifest.schema != SCHEMA:
        raise ValueError(f"there is no schema {manifest.schema}")
    if (manifest.scenarios is None) == (manifest.rounds is None):
        raise ValueError("it does not say what was run")
    check_members(manifest.members)
    return manifest


def check_members(members: Sequence[Member]) -> None:
    """Raises ValueError unless the members are those of a bundle, and of a bearable size."""
    names = [member.name for member in members]
    for member in members:
        if not _MEMBER_NAME.fullmatch(member.name):
            raise ValueError(f"no member may be called {ascii(member.name)[:100]}")
        if not _SHA256.fullmatch(member.sha256):
            raise ValueError(f"{member.name} has no SHA-256")
    if len(set(names)) < len(names):
        raise ValueError("two members have one name")
    lacking = [name for name in _NEEDED if name not in names]
    if lacking:
        raise ValueError(f"it does not list {lacking[0]}")
    size = sum(member.size for member in members)
    if len(members) > MOST_MEMBERS or size > LARGEST_CONTENT:
        raise ValueError(
            f"{len(members)} members of {size} bytes are more than the {MOST_MEMBERS} of"
            f" {LARGEST_CONTENT} that a bundle may have"
        )
