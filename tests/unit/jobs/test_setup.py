# SPDX-License-Identifier: MIT
"""What setup asks of apt, as whom, and what it says when it cannot."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from harness.build import debian
from harness.core import process
from harness.core.cache import Cache
from harness.core.errors import InfrastructureError, SourceError
from harness.jobs import packages, setup
from harness.targets.goldfish_3_4 import GOLDFISH_3_4
from harness.targets.linux_6_1 import LINUX_6_1
from harness.targets.model import Target
from harness.ui.progress import PlainConsole, Reporter
from harness.ui.workspace import Workspace

DAY = 86400.0


def package(version: str) -> debian.Package:
    return debian.Package("linux-source-6.1", version, "http://x/x.deb", "x.deb", "0" * 64)


class Machine:
    """A machine as setup sees it; what is run on it is only noted."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.said = io.StringIO()
        self.ws = Workspace(Cache(folder / "cache"), Reporter(PlainConsole(file=self.said)))
        self.missing: tuple[str, ...] = ()
        # What was known of the kernel's source, and what Debian says.
        self.known: debian.Known | None = debian.Known(package("6.1.1-1"), 0.0)
        self.newest: debian.Package | None = package("6.1.2-1")
        self.asked_debian = False
        self.age = 0.0
        self.root = True
        self.tools = {"apt-get"}
        self.sudo_status = 0
        self.asked = False
        self.failing = ""
        self.ran: list[str] = []
        monkeypatch.setattr(packages, "missing", lambda _compilers: self.missing)
        monkeypatch.setattr(debian, "known", lambda *_: self.known)
        monkeypatch.setattr(debian, "ask", self._ask)
        monkeypatch.setattr(packages, "lists_age", lambda: self.age)
        monkeypatch.setattr(os, "geteuid", lambda: 0 if self.root else 1000)
        monkeypatch.setattr("shutil.which", lambda tool: tool if tool in self.tools else None)
        monkeypatch.setattr(process, "run", self._run)
        monkeypatch.setattr(process, "run_on_terminal", self._on_terminal)

    def _ask(self, ws: Workspace, name: str, suite: str) -> debian.Package:
        self.asked_debian = True
        assert (ws, name, suite) == (self.ws, "linux-source-6.1", "bookworm")
        if self.newest is None:
            raise SourceError("Debian's bookworm could not be asked")
        return self.newest

    def _run(self, argv: Sequence[str], *_: object, **_options: object) -> process.Completed:
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
    ("age", "missing", "updates"),
    [
        (float("inf"), (), False),
        (8 * DAY, (), False),
        (float("inf"), ("bc",), True),
        (2 * DAY, ("bc",), True),
        (0.5 * DAY, ("bc",), False),
    ],
)
def test_lists_are_brought_up_to_date_when_they_matter(
    machine: Machine, age: float, missing: tuple[str, ...], updates: bool
) -> None:
    machine.age, machine.missing = age, missing
    setup.run(machine.ws, LINUX_6_1)
    assert any(command.endswith(" update") for command in machine.ran) == updates


def test_names_are_no_patterns(machine: Machine) -> None:
    machine.missing = ("bc",)
    setup.run(machine.ws, LINUX_6_1)
    assert " -o APT::Cmd::Pattern-Only=true install " in machine.ran[0]


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


def test_what_only_tests_need_may_be_missing(machine: Machine) -> None:
    """As on Ubuntu, which has no package of Chromium's."""
    machine.missing, machine.failing = ("bc", "chromium", "sparse"), "chromium"
    setup.run(machine.ws, LINUX_6_1)
    assert [command.rpartition(" --no-install-recommends ")[2] for command in machine.ran] == [
        *("bc", "chromium", "sparse")
    ]
    assert "warning: apt-get chromium failed" in machine.said.getvalue()
    machine.failing = "bc"
    with pytest.raises(InfrastructureError):
        setup.run(machine.ws, LINUX_6_1)


def test_an_update_that_fails_is_told_and_the_install_tried(machine: Machine) -> None:
    machine.missing, machine.failing, machine.age = ("bc",), "update", float("inf")
    setup.run(machine.ws, LINUX_6_1)
    assert len(machine.ran) == 2
    assert "warning: apt-get update failed" in machine.said.getvalue()


@pytest.mark.parametrize(
    ("age", "asks"), [(None, True), (8 * DAY, True), (6 * DAY, False), (0.0, False)]
)
def test_debian_is_asked_for_the_source_where_that_was_long_ago(
    machine: Machine, age: float | None, asks: bool
) -> None:
    machine.known = None if age is None else debian.Known(package("6.1.1-1"), age)
    setup.run(machine.ws, LINUX_6_1)
    assert machine.asked_debian == asks
    said = machine.said.getvalue()
    assert ("source of the kernel: linux-source-6.1 6.1.2-1" in said) == asks


def test_without_a_network_the_source_is_what_it_was(machine: Machine) -> None:
    machine.known, machine.newest = debian.Known(package("6.1.1-1"), 30 * DAY), None
    setup.run(machine.ws, LINUX_6_1)
    assert "could not be asked; 6.1.1-1 is taken" in machine.said.getvalue()
    machine.known = None
    setup.run(machine.ws, LINUX_6_1)
    assert "could not be asked; give a source by hand: --source" in machine.said.getvalue()


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
    machine.known, machine.age = None, 2 * DAY
    setup.run(machine.ws, GOLDFISH_3_4)
    assert machine.ran == []
    assert not machine.asked_debian
    assert machine.said.getvalue() == "setup: nothing to install\n"
