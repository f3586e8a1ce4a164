# SPDX-License-Identifier: MIT
"""Where things are: the repository, and the user's cache directory."""

from __future__ import annotations

from pathlib import Path

import platformdirs

REPO = Path(__file__).resolve().parent.parent
KERNEL_PATCHES = REPO / "kernel_patches"
COMMON = KERNEL_PATCHES / "common"
MODULES = REPO / "module"
NDK_TESTS = REPO / "ndk_tests"
GUEST = REPO / "harness" / "guest"
PAGES = REPO / "harness" / "pages"
RESULTS = REPO / "results"


def cache_root() -> Path:
    """The folder for everything that is downloaded or built.

    Follows XDG_CACHE_HOME; it is read at each call, so that a test can point
    it elsewhere.
    """
    return platformdirs.user_cache_path("goldfish-oom", appauthor=False)
