# SPDX-License-Identifier: MIT
"""The manifest of a bundle: describes what was built and run, and lists the files. Pure.

The manifest is the bundle's first member, `manifest.json`. A reader checks `schema` before all
else: the number is raised when an older reader could misunderstand the manifest. A manifest has
the lowest schema that knows all that it says.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from harness.build.modules import MODULE_NAMES
from harness.core import typed_json
from harness.core.errors import InfrastructureError
from harness.core.text import visible
from harness.results.run_result import RunResult
from harness.targets.model import QemuMachine

# Add one with every new field, also of QemuMachine: readers refuse unknown fields. The second is
# that of a bundle of which nothing was run.
SCHEMA, SCHEMA_BUILT = 1, 2
_NEWEST = SCHEMA_BUILT
NAME = "manifest.json"
KERNEL, CONFIG, INITRAMFS = "kernel/image", "kernel/config", "guest/initramfs"
MODULES_FOLDER, PROGRAMS_FOLDER, ORIGINAL_FOLDER = "modules", "programs", "original"
# In bytes: the size of the manifest, and of all members together. A bundle has 17 MB.
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
    """A run of the main job: `policy` may be "all"; `guests` is how many shared the scenarios."""

    policy: str
    trigger: str
    names: tuple[str, ...]
    guests: int = 1


@dataclass(frozen=True)
class Rounds:
    """A run of the fuzz test: `count` rounds (0: unknown), the first from `seed`."""

    seed: int
    count: int


@dataclass(frozen=True)
class Place:
    """Where the run was: the target's name, the emulator, and whether it is the debug kernel."""

    target: str
    emulator: str
    debug: bool


@dataclass(frozen=True)
class Kernel:
    """The kernel, and the origin of its source; see RunResult."""

    release: str
    toolchain: str
    origin: str
    repository: str | None
    commit: str | None
    changed: tuple[str, ...]


@dataclass(frozen=True)
class Harness:
    """The harness that ran: its version, a digest of its code, its commit if known."""

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
    """The result of the original run: its result line, and all its verdicts in order."""

    passed: bool
    result: str
    outcomes: tuple[Told, ...]

    @classmethod
    def of_run(cls, run: RunResult) -> Original:
        """Return the result of a run of the main job."""
        told = [
            Told(visible(one.policy), visible(one.scenario), one.outcome.name) for one in run.judged
        ]
        return cls(run.passed, visible(run.last_line), tuple(told))

    @classmethod
    def of_rounds(cls, problems: Sequence[str], rounds: int) -> Original:
        """Return the result of a fuzz run of so many rounds with these problems.

        All broken invariants together are one outcome: how many there are, and of which
        processes, is chance.
        """
        if problems:
            told = Told("", "rounds", "FAILED")
            return cls(False, visible(f"FAIL: {problems[0]}"), (told,))
        return cls(True, f"PASS: {rounds} rounds", (Told("", "rounds", "PASSED"),))


@dataclass(frozen=True)
class Manifest:
    """A bundle's manifest. Either `scenarios` or `rounds` says what was run.

    `machine` is the target's machine as the original's harness defined it, `arguments` the
    kernel's command line, `qemu` QEMU's version line, and `packages` are the packages of the
    guest, as `name=version`. If nothing was run, there are no `scenarios`, `rounds` or `original`,
    `run` and `qemu` are empty, and `command` is that of the build.
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
    original: Original | None
    members: tuple[Member, ...]


def from_text(text: bytes) -> Manifest:
    """Parse a manifest.json.

    Raises ValueError if it is malformed, and InfrastructureError if its schema is newer than
    this harness.
    """
    value = typed_json.parse(text)
    if not isinstance(value, dict) or not isinstance(value.get("schema"), int):
        raise ValueError("it has no schema")
    if value["schema"] > _NEWEST:
        raise InfrastructureError(
            f"the bundle was made by a newer version of this harness: its schema is"
            f" {value['schema']}, and {_NEWEST} is the newest known here",
            hint="git pull, then try it again",
        )
    manifest = typed_json.from_stranger(Manifest, value)
    if manifest.schema not in (SCHEMA, SCHEMA_BUILT):
        raise ValueError(f"there is no schema {manifest.schema}")
    run = (manifest.scenarios, manifest.rounds, manifest.original)
    if manifest.schema == SCHEMA_BUILT:
        if run != (None, None, None):
            raise ValueError(f"schema {SCHEMA_BUILT} is for what was built and not run")
    elif (manifest.scenarios is None) == (manifest.rounds is None):
        raise ValueError("it does not say what was run")
    elif manifest.original is None:
        raise ValueError("it does not say how the run ended")
    check_members(manifest.members)
    return manifest


def check_members(members: Sequence[Member]) -> None:
    """Raise ValueError unless these can be the members of a bundle, and are not too large."""
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
