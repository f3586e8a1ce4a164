# SPDX-License-Identifier: MIT
"""What many tests need: a workspace in a folder of their own, and scripts in place of programs."""

from __future__ import annotations

import io
from pathlib import Path

from harness.core.cache import Cache
from harness.ui.progress import PlainConsole, Reporter
from harness.ui.workspace import Workspace


def workspace(folder: Path, said: io.StringIO | None = None) -> Workspace:
    """Return a workspace whose cache is `folder`, and whose messages go to `said`."""
    console = PlainConsole(file=said or io.StringIO(), width=200)
    return Workspace(Cache(folder), Reporter(console))


def script(path: Path, text: str) -> Path:
    """Write a shell script that can be run; return its path."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path
