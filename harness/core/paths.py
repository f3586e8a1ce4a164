# SPDX-License-Identifier: MIT
"""Paths of the repository and of the user's cache directory."""

from __future__ import annotations

import shlex
from contextlib import suppress
from pathlib import Path

import platformdirs

from harness.core.errors import InfrastructureError

REPO = Path(__file__).resolve().parents[2]
KERNEL_PATCHES = REPO / "kernel_patches"
COMMON = KERNEL_PATCHES / "common"
MODULES = REPO / "module"
NDK_TESTS = REPO / "ndk_tests"
GUEST = REPO / "harness" / "build" / "guest"
PAGES = REPO / "harness" / "report" / "pages"
BOOT_TESTS = REPO / "tests" / "boot"
# Where results go unless the configuration's `results` names another folder.
RESULTS = REPO / "results"
# The hint for a user who may not write there.
RESULTS_HINT = "set INVOKE_GOLDFISH_OOM_RESULTS to a folder that you may write to"
# The hint for a user who may not write to the cache.
CACHE_HINT = "set XDG_CACHE_HOME to a folder that you may write to"


def cache_root() -> Path:
    """Return the folder for everything that is downloaded or built.

    It follows XDG_CACHE_HOME, which is read at each call so that a test can change it. Raises
    InfrastructureError for a user without a home directory.
    """
    try:
        return platformdirs.user_cache_path("goldfish-oom", appauthor=False)
    except RuntimeError as error:
        raise InfrastructureError("this user has no home directory", hint=CACHE_HINT) from error


def as_typed(path: Path) -> str:
    """Return a path as a user would type it into a shell here: relative, if it is below."""
    # The working directory may be gone.
    with suppress(OSError, ValueError):
        path = path.relative_to(Path.cwd())
    return shlex.quote(str(path))
