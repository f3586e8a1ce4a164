# SPDX-License-Identifier: MIT
"""What `doctor` and `setup` ask of the host: its programs, files, memory, and commands to run."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from harness.core import process
from harness.core.errors import InfrastructureError
from harness.core.ports import check_loopback
from harness.machine.console import check_terminals

# Debian keeps these out of a plain user's PATH.
_SYSTEM_FOLDERS = ("usr/sbin", "sbin")
_LISTS = "var/lib/apt/lists"


@dataclass(frozen=True)
class Host:
    """The machine that the harness runs on; its files are below `root`."""

    root: Path = Path("/")

    def find_tool(self, tool: str) -> str | None:
        """Return where `tool` is; also look in the folders that only root has on its PATH."""
        folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
        folders += [str(self.root / folder) for folder in _SYSTEM_FOLDERS]
        return shutil.which(tool, path=os.pathsep.join(folders))

    def exists(self, path: str) -> bool:
        """Return whether there is a file with this absolute path."""
        return self._at(path).exists()

    def os_release(self) -> Mapping[str, str]:
        """Return the fields of /etc/os-release; empty if there is none."""
        path = self._at("/etc/os-release")
        if not path.is_file():
            return {}
        pairs = (line.partition("=") for line in path.read_text().splitlines() if "=" in line)
        return {name: value.strip("\"'") for name, _, value in pairs}

    def python(self) -> str:
        """Return the version of the Python that runs the harness."""
        return platform.python_version()

    def is_root(self) -> bool:
        """Return whether the harness runs as root."""
        return os.geteuid() == 0

    def has_terminal(self) -> bool:
        """Return whether a user can answer questions on stdin."""
        return sys.stdin.isatty()

    def lists_age(self) -> float:
        """Return the seconds since apt's package lists were last updated; inf without lists."""
        lists = self.root / _LISTS
        try:
            names = os.listdir(lists)  # noqa: PTH208 - names are all that is needed
        except OSError:
            return float("inf")
        if not any("Release" in name for name in names):
            return float("inf")
        # The list files have the server's times; each update of apt changes these folders.
        folders = (lists, lists / "partial")
        return time.time() - max(one.stat().st_mtime for one in folders if one.exists())

    def free_disk(self, folder: Path) -> int:
        """Return the free bytes of the disk that has `folder`, which may not exist yet."""
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        return shutil.disk_usage(existing).free

    def free_memory(self) -> int:
        """Return the bytes of memory that programs can still get."""
        return int(psutil.virtual_memory().available)

    def check_terminals(self) -> None:
        """Raise InfrastructureError if there is no pseudo-terminal for a guest's console."""
        check_terminals()

    def check_loopback(self) -> None:
        """Raise InfrastructureError if there is no loopback network, which adb needs."""
        check_loopback()

    def check_writable(self, folder: Path) -> None:
        """Create `folder` if it is missing; raise OSError if a file cannot be written there."""
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass

    def run(self, argv: Sequence[str], *, timeout: float | None = None) -> process.Completed:
        """Run a program, and return its status and output; see process.run() without `check`."""
        return process.run(argv, process.RunOptions(timeout=timeout), check=False)

    def run_logged(
        self, argv: Sequence[str], *, env: Mapping[str, str], log: Path, what: str
    ) -> None:
        """Run a program that prints into `log`; raise InfrastructureError if it fails."""
        options = process.RunOptions(env=env)
        process.run(argv, options, log=log, error=InfrastructureError, what=what)

    def run_on_terminal(self, argv: Sequence[str]) -> int:
        """Run a program that talks to the user; return its status."""
        return process.run_on_terminal(argv)

    def _at(self, path: str) -> Path:
        return self.root / path.lstrip("/")


THIS_HOST = Host()
