# SPDX-License-Identifier: MIT
"""The Debian packages that are missing on this host, and the age of apt's package lists."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

from harness.core.tools import needed_files, needed_tools

_LISTS = Path("/var/lib/apt/lists")
# Debian keeps these out of a plain user's PATH.
_SYSTEM_FOLDERS = ("/usr/sbin", "/sbin")


def find_tool(tool: str) -> str | None:
    """Return where `tool` is; also look in the folders that only root has on its PATH."""
    folders = [*os.environ.get("PATH", os.defpath).split(os.pathsep), *_SYSTEM_FOLDERS]
    return shutil.which(tool, path=os.pathsep.join(folders))


def missing(compilers: Iterable[str], root: Path = Path("/")) -> tuple[str, ...]:
    """Return the Debian packages that are needed with these cross compilers, and not installed.

    A cross compiler that Debian does not have is left to the user.
    """
    packages = {
        package
        for tool, package in needed_tools(compilers).items()
        if package is not None and find_tool(tool) is None
    }
    packages |= {
        package
        for path, package in needed_files(compilers).items()
        if not (root / path.lstrip("/")).exists()
    }
    return tuple(sorted(packages))


def lists_age(lists: Path = _LISTS) -> float:
    """Return the seconds since apt's package lists were last updated; inf without lists."""
    try:
        names = os.listdir(lists)  # noqa: PTH208 - names are all that is needed
    except OSError:
        return float("inf")
    if not any("Release" in name for name in names):
        return float("inf")
    # The list files have the server's times; each update of apt changes these folders.
    return time.time() - max(_times((lists, lists / "partial")))


def _times(folders: Iterable[Path]) -> list[float]:
    """Return when each existing folder of `folders` was last changed."""
    return [folder.stat().st_mtime for folder in folders if folder.exists()]
