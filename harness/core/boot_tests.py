# SPDX-License-Identifier: MIT
"""The files of tests that boot a kernel, and how a user names one."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from harness.core.errors import UsageError
from harness.core.paths import BOOT_TESTS, REPO
from harness.core.text import visible


def boot_test_file(name: str) -> str:
    """Return the path, below the repository, of a file of boot tests.

    `name` is the path, from anywhere, or the file's name: `slots`, `test_slots` or
    `test_slots.py`. Raise UsageError, which lists the files, if there is no such file.
    """
    found = {path.stem: path for path in boot_test_files()}
    stem = name.removesuffix(".py")
    path = found.get(stem) or found.get(f"test_{stem}")
    if path is None:
        # From the caller's folder, or from the repository; it may be no path at all.
        with suppress(OSError, RuntimeError, ValueError):
            places = {Path(name).expanduser().resolve(), (REPO / name).resolve()}
            path = next((file for file in found.values() if file.resolve() in places), None)
    if path is None:
        short = ", ".join(stem.removeprefix("test_") for stem in found)
        raise UsageError(f"{visible(name)} is no file of boot tests", hint=f"one of: {short}")
    return path.relative_to(REPO).as_posix()


def boot_test_files() -> list[Path]:
    """Return the files of boot tests, sorted by name."""
    return sorted(BOOT_TESTS.glob("test_*.py"))


def boot_test_name(name: str) -> str:
    """Return the short name of a file of boot tests, such as `slots`; as boot_test_file()."""
    return Path(boot_test_file(name)).stem.removeprefix("test_")
