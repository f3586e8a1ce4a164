# SPDX-License-Identifier: MIT
"""What setup asks of apt, as whom, and what it says when it cannot."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from harness import packages, process, setup
from harness.cache import Cache
from harness.errors import InfrastructureError
from harness.progress import PlainConsole, Reporter
from harness.targets import GOLDFISH_3_4, LINUX_6_1, Target
from harness.workspace import Workspace

DAY = 86400.0


class Machine:
    """A machine as setup sees it; what is run on it is only noted."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.said = io.StringIO()
        self.ws = Workspace(Cache(folder / "cache"), Reporter(PlainConsole(file=self.said)))
        self.missing: tuple[str, ...] = ()
        self.candidate: str | None = "6.1.1-1"
        self.age = 0.0
        self.root = True
        self.tools = {"apt-get"}
        self.sudo_status = 0
        self.asked = False
        self.failing = ""
        self.ran: list[str] = []
        monkeypatch.setattr(packages, "missing", lambda _compilers: self.missing)
        monkeypatch.setattr(packages, "candidate", lambda _name: self.candidate)
        monkeypatch.setattr(packages, "lists_age", lambda: self.age)
        monkeypatch.setattr(os, "geteuid", lambda: 0 if self.root else 1000)
        monkeypatch.setattr("shutil.which", lambda tool: tool if tool in self.tools else None)
        monkeypatch.setattr(process, "run", self._run)
        monkeypatch.setattr(process, "run_on_terminal", self._on_terminal)

    def _run(self, argv: Sequence[str], **options: object) -> process.Completed:
        words = tuple(argv)
        if words[:2] == ("sudo", "-n"):
            return process.Completed(words, self.sudo_status, "")
        self.ran.append(" ".join(words))
        if self.failing and self.failing in words:
            raise InfrastructureError(f"apt-get {self.failing} failed", tail="no network")
        return process.Completed(words, 0, "")

    def _on_terminal(self, argv: Sequence[str]) -> int:
        self.asked = True
        self._run(argv)
        return 0


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_nothing_missing(machine: Machine) -> None:
    setup.run(machine.ws, LINUX_6_1)
    assert machine.ran == []
    assert machine.said.getvalue() == "setup: nothing to install\n"


def test_as_root_the_command_is_said_and_run(machine: Machine) -> None:
    machine.missing = ("bc", "flex")
    setup.run(machine.ws, LINUX_6_1)
    (command,) = machine.ran
    assert command.startswith("apt-get ")
    assert command.endswith("install --no-install-recommends bc flex")
    assert f"$ {command}\n" in machine.said.getvalue()


@pytest.mark.parametrize(
    ("age", "missing", "candidate", "updates"),
    [
        (float("inf"), (), "1", True),
        (8 * DAY, (), "1", True),
        (2 * DAY, (), "1", False),
        (2 * DAY, (), None, True),
        (2 * DAY, ("bc",), "1", True),
        (0.5 * DAY, ("bc",), None, False),
    ],
)
def test_lists_are_brought_up_to_date_when_they_matter(
    machine: Machine, age: float, missing: tuple[str, ...], candidate: str | None, updates: bool
) -> None:
    machine.age, machine.missing, machine.candidate = age, missing, candidate
    setup.run(machine.ws, LINUX_6_1)
    assert any(command.endswith(" update") for command in machine.ran) == updates


def test_sudo_without_a_password(machine: Machine) -> None:
    machine.root, machine.missing = False, ("bc",)
    machine.tools.add("sudo")
    setup.run(machine.ws, LINUX_6_1)
    assert machine.ran[0].startswith("sudo env DEBIAN_FRONTEND=noninteractive apt-get ")
    assert not machine.asked


def test_sudo_that_asks_gets_the_terminal(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.root, machine.missing, machine.sudo_status = False, ("bc",), 1
    machine.tools.add("sudo")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    setup.run(machine.ws, LINUX_6_1)
    assert machine.asked


@pytest.mark.parametrize("tools", [{"apt-get"}, {"apt-get", "sudo"}])
def test_neither_root_nor_sudo_says_what_to_type(
    machine: Machine, tools: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.root, machine.missing, machine.sudo_status = False, ("bc",), 1
    machine.tools = tools
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    with pytest.raises(InfrastructureError) as caught:
        setup.run(machine.ws, LINUX_6_1)
    assert caught.value.hint.startswith("as root: apt-get ")
    assert caught.value.hint.endswith(" bc")
    assert machine.ran == []


def test_no_apt(machine: Machine) -> None:
    machine.missing, machine.tools = ("bc",), set()
    with pytest.raises(InfrastructureError, match="no apt-get"):
        setup.run(machine.ws, LINUX_6_1)


def test_an_install_that_fails(machine: Machine) -> None:
    machine.missing, machine.failing = ("bc",), "install"
    with pytest.raises(InfrastructureError, match="install failed"):
        setup.run(machine.ws, LINUX_6_1)


def test_an_update_that_fails_is_told_and_the_install_tried(machine: Machine) -> None:
    machine.missing, machine.failing, machine.age = ("bc",), "update", float("inf")
    setup.run(machine.ws, LINUX_6_1)
    assert len(machine.ran) == 2
    assert "warning: apt-get update failed" in machine.said.getvalue()


def test_a_system_without_the_kernels_source(machine: Machine) -> None:
    machine.candidate = None
    setup.run(machine.ws, LINUX_6_1)
    assert "no linux-source-6.1; give the kernel's source with --source" in machine.said.getvalue()


@pytest.mark.parametrize(
    ("target", "prefixes"),
    [
        (LINUX_6_1, ("arm-linux-gnueabihf-",)),
        (GOLDFISH_3_4, ("arm-linux-gnueabi-",)),
        (
            GOLDFISH_3_4.with_cross_compile("/opt/arm-eabi-"),
            ("/opt/arm-eabi-", "arm-linux-gnueabi-"),
        ),
    ],
    ids=["linux-6.1", "goldfish-3.4", "another compiler"],
)
def test_what_a_target_compiles_with_is_what_is_looked_for(
    machine: Machine,
    target: Target,
    prefixes: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[str, ...]] = []

    def missing(compilers: Iterable[str]) -> tuple[str, ...]:
        asked.append(tuple(compilers))
        return ("gcc-arm-linux-gnueabi",)

    monkeypatch.setattr(packages, "missing", missing)
    setup.run(machine.ws, target)
    assert asked == [prefixes]
    assert machine.ran[-1].endswith(" gcc-arm-linux-gnueabi")


def test_a_source_in_git_is_nothing_to_apt(machine: Machine) -> None:
    machine.candidate, machine.age = None, 2 * DAY
    setup.run(machine.ws, GOLDFISH_3_4)
    assert machine.ran == []
    assert machine.said.getvalue() == "setup: nothing to install\n"
