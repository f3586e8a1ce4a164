# SPDX-License-Identifier: MIT
"""Removing what runs left behind."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from harness.core.paths import RESULTS
from harness.ui.workspace import Workspace


def run(ws: Workspace, *, cache: bool, results: Path = RESULTS) -> None:
    """Removes the results of test runs; with `cache`, all that is stored as well."""
    folders = [results, ws.cache.root] if cache else [results]
    with ws.reporter.phase("clean"):
        for folder in folders:
            if folder.exists():
                ws.reporter.say(f"remove {folder}")
            _remove(folder)


def _remove(folder: Path) -> None:
    """Removes `folder`; nobody sees it half-removed, also where this is interrupted."""
    if folder.exists():
        folder.rename(folder.with_name(f"{folder.name}.removed-{os.getpid()}"))
    for removed in folder.parent.glob(f"{folder.name}.removed-*"):
        shutil.rmtree(removed, ignore_errors=True)
