# SPDX-License-Identifier: MIT
"""What a worker of a sweep announces, and what an order needs of one. Pure, but for the code."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version

from harness.core.cache import digest, tree_digest
from harness.core.paths import BOOT_TESTS, KERNEL_PATCHES, MODULES, NDK_TESTS, REPO

# What a worker announces: how many guests and builds at a time; the version of its code; and for
# each kernel whether it can boot and build it. What has no limit is announced as this many.
GUEST, BUILD = "guest", "build"
_ANY = 1_000_000.0


def this_code() -> str:
    """Return a key over the code that a sweep and its workers must share, and its interpreter."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    programs = (REPO / "harness", REPO / "inv_program.py", REPO / "tasks.py")
    # Also the packages that they import, and the options of pytest, which are in pyproject.toml.
    settings = (REPO / "invoke.yaml", REPO / "pyproject.toml", REPO / "requirements.lock")
    # The boot tests use fakes, too.
    tests = (BOOT_TESTS, REPO / "tests" / "fakes", REPO / "tests" / "conftest.py")
    parts = (*programs, *settings, KERNEL_PATCHES, MODULES, NDK_TESTS, *tests)
    return digest(tree_digest(*parts), python, version("distributed"))


def is_changed(code: str) -> bool:
    """Return whether this code is not the one with that key any more: people edit it."""
    # A file that has vanished meanwhile.
    with suppress(OSError):
        return this_code() != code
    return True


def _code(key: str) -> str:
    return f"harness {key}"


def boots(kernel: str) -> str:
    """Return the name under which a worker announces that it can boot a kernel."""
    return f"boots {kernel}"


def builds(compiled: str) -> str:
    """Return the name under which a worker announces that it can build this; see cell.Build."""
    return f"builds {compiled}"


def announced(
    code: str, guests: int, bootable: Sequence[str], buildable: Sequence[str]
) -> dict[str, float]:
    """Return what a worker announces that runs `guests` guests of these kernels.

    `buildable` are names as Build.compiled has them.
    """
    found = {GUEST: float(guests), _code(code): _ANY}
    found |= {boots(kernel): _ANY for kernel in bootable}
    if buildable:
        # Two builds would compete for the same CPUs.
        found |= {BUILD: 1.0, **{builds(one): _ANY for one in buildable}}
    return found


def needs(kernel: str, code: str, *, guest: bool, build: str) -> dict[str, float]:
    """Return what an order needs of a worker; `build` is what it builds, if anything."""
    found = {_code(code): 1.0}
    if guest:
        found |= {GUEST: 1.0, boots(kernel): 1.0}
    if build:
        found |= {BUILD: 1.0, builds(build): 1.0}
    return found


@dataclass(frozen=True)
class Seen:
    """A worker of the cluster, with what it has announced.

    `others` is how many orders of other sweeps it has, as it said last.
    """

    name: str
    address: str
    resources: Mapping[str, float]
    others: int = 0

    def is_of(self, code: str) -> bool:
        """Whether its harness is the one with this key."""
        return _code(code) in self.resources
