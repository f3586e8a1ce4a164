# SPDX-License-Identifier: MIT
"""What many tests need: a workspace in a folder of their own, scripts in place of programs.

Also Pythons that run a text of the test's, and a wait for what they do.
"""

from __future__ import annotations

import io
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from harness.core.cache import Cache
from harness.core.paths import REPO
from harness.ui.progress import PlainConsole, Reporter
from harness.ui.workspace import Workspace


def workspace(folder: Path, said: io.StringIO | None = None) -> Workspace:
    """Return a workspace whose cache is `folder`, and whose messages go to `said`."""
    console = PlainConsole(file=said or io.StringIO(), width=300)
    return Workspace(Cache(folder), Reporter(console))


def script(path: Path, text: str) -> Path:
    """Write a shell script that can be run; return its path."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def start_python(text: str, *arguments: object, **options: Any) -> subprocess.Popen[str]:
    """Start a program in Python that imports the harness; its stderr is read, unless told."""
    words = [sys.executable, "-c", text, *map(str, arguments)]
    return subprocess.Popen(words, cwd=REPO, **{"stderr": subprocess.PIPE, "text": True, **options})


def wait_for(path: Path, program: subprocess.Popen[str] | None = None) -> None:
    """Wait until there is such a file, which `program` writes."""
    deadline = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < deadline
        assert program is None or program.poll() is None
        time.sleep(0.01)
