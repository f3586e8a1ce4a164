# SPDX-License-Identifier: MIT
"""A host that has everything, for tests to take things away; what is run on it is noted."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from fake_debian import Network

from harness.core import process
from harness.core.errors import InfrastructureError
from harness.jobs.host import Host
from harness.ui.workspace import Workspace

GIB = 1 << 30
DEBIAN_12 = {
    "ID": "debian",
    "VERSION_ID": "12",
    "PRETTY_NAME": "Debian GNU/Linux 12 (bookworm)",
}


class FakeHost(Host):
    """A Debian 12 with root, all programs and files, and enough memory and disk.

    It overrides every method of Host: nothing is asked of the machine that runs the tests.
    """

    def __init__(self) -> None:
        super().__init__()
        # Programs (by name or path) and files that are not there.
        self.lacks: set[str] = set()
        self.system: Mapping[str, str] = DEBIAN_12
        self.python_version = "3.11.2"
        self.root_user = True
        self.terminal = False
        self.lists = 0.0
        self.disk = 99 * GIB
        self.memory = 9 * GIB
        # What each check of the host raises.
        self.no_terminals: InfrastructureError | None = None
        self.no_loopback: InfrastructureError | None = None
        # Folders that cannot be written to, with the reason.
        self.read_only: dict[Path, str] = {}
        # What a program prints that is asked for its version, and its status.
        self.answer: Callable[[Sequence[str]], tuple[int, str]] = lambda _: (0, "x 1.0\n")
        # The status of `sudo -n true`.
        self.sudo_status = 0
        # A word of the commands that fail.
        self.failing = ""
        # The commands that change the host, and of these the ones that may ask the user.
        self.ran: list[str] = []
        self.asked: list[str] = []

    def find_tool(self, tool: str) -> str | None:
        return None if tool in self.lacks else tool if "/" in tool else f"/usr/bin/{tool}"

    def exists(self, path: str) -> bool:
        return path not in self.lacks

    def os_release(self) -> Mapping[str, str]:
        return self.system

    def python(self) -> str:
        return self.python_version

    def is_root(self) -> bool:
        return self.root_user

    def has_terminal(self) -> bool:
        return self.terminal

    def lists_age(self) -> float:
        return self.lists

    def free_disk(self, folder: Path) -> int:
        return self.disk

    def free_memory(self) -> int:
        return self.memory

    def check_terminals(self) -> None:
        if self.no_terminals is not None:
            raise self.no_terminals

    def check_loopback(self) -> None:
        if self.no_loopback is not None:
            raise self.no_loopback

    def check_writable(self, folder: Path) -> None:
        if folder in self.read_only:
            raise OSError(30, self.read_only[folder])

    def run(self, argv: Sequence[str], *, timeout: float | None = None) -> process.Completed:
        sudo = tuple(argv) == ("sudo", "-n", "true")
        status, output = (self.sudo_status, "") if sudo else self.answer(argv)
        return process.Completed(tuple(argv), status, output)

    def run_logged(
        self, argv: Sequence[str], *, env: Mapping[str, str], log: Path, what: str
    ) -> None:
        self.ran.append(" ".join(argv))
        if self.failing in argv:
            raise InfrastructureError(f"{what} failed: {self.failing}", tail="no network")

    def run_on_terminal(self, argv: Sequence[str]) -> int:
        self.ran.append(" ".join(argv))
        self.asked.append(" ".join(argv))
        return int(self.failing in argv)


class Machine:
    """A host in a network, for a job with this workspace, and what was said to the user."""

    def __init__(self, ws: Workspace, said: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ws, self.host, self.network = ws, FakeHost(), Network()
        self._said = said
        self.network.install(monkeypatch)

    @property
    def said(self) -> str:
        return self._said.getvalue()
