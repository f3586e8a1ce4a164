# SPDX-License-Identifier: MIT
"""What setup asks of apt, as whom, and what it says when it cannot."""

from __future__ import annotations

import pytest
from fake_debian import package
from fake_host import Machine

from harness.build import debian
from harness.core.errors import InfrastructureError
from harness.jobs import setup
from harness.targets.goldfish_3_4 import GOLDFISH_3_4
from harness.targets.linux_6_1 import LINUX_6_1
from harness.targets.model import Target

DAY = 86400.0


@pytest.fixture(autouse=True)
def news(machine: Machine) -> None:
    """The network has a newer source than the one that is known."""
    machine.network.version, machine.network.known = "6.1.2-1", debian.Known(package(), 0.0)


def run(machine: Machine, target: Target = LINUX_6_1) -> list[str]:
    """Run setup; return the commands that were run so far."""
    setup.run(machine.ws, target, machine.host)
    return machine.host.ran


def test_nothing_missing(machine: Machine) -> None:
    assert run(machine) == []
    assert machine.said == "setup: nothing to install\n"


def test_as_root_the_command_is_said_and_run(machine: Machine) -> None:
    machine.host.lacks |= {"bc", "flex"}
    (command,) = run(machine)
    assert command.startswith("apt-get ")
    # Names are no patterns.
    install = "-o APT::Cmd::Pattern-Only=true install --no-install-recommends"
    assert command.endswith(f" {install} bc flex")
    assert f"$ {command}\n" in machine.said


@pytest.mark.parametrize(
    ("age", "missing", "updates"),
    [
        (float("inf"), set(), False),
        (8 * DAY, set(), False),
        (float("inf"), {"bc"}, True),
        (2 * DAY, {"bc"}, True),
        (0.5 * DAY, {"bc"}, False),
    ],
)
def test_lists_are_brought_up_to_date_when_they_matter(
    machine: Machine, age: float, missing: set[str], updates: bool
) -> None:
    machine.host.lists, machine.host.lacks = age, missing
    assert any(command.endswith(" update") for command in run(machine)) == updates


def test_sudo_without_a_password(machine: Machine) -> None:
    machine.host.root_user, machine.host.lacks = False, {"bc"}
    assert run(machine)[0].startswith("sudo env DEBIAN_FRONTEND=noninteractive apt-get ")
    assert machine.host.asked == []


def test_sudo_that_asks_gets_the_terminal(machine: Machine) -> None:
    machine.host.root_user, machine.host.lacks = False, {"bc"}
    machine.host.sudo_status, machine.host.terminal = 1, True
    assert run(machine)
    assert machine.host.asked == machine.host.ran
    machine.host.failing = "bc"
    with pytest.raises(InfrastructureError, match="apt-get install failed") as caught:
        run(machine)
    assert caught.value.hint == "see above"


@pytest.mark.parametrize("lacks", [{"bc", "sudo"}, {"bc"}])
def test_neither_root_nor_sudo_says_what_to_type(machine: Machine, lacks: set[str]) -> None:
    machine.host.root_user, machine.host.lacks, machine.host.sudo_status = False, lacks, 1
    with pytest.raises(InfrastructureError) as caught:
        run(machine)
    assert caught.value.hint.startswith("as root: apt-get ")
    assert caught.value.hint.endswith(" bc")
    assert machine.host.ran == []


@pytest.mark.parametrize(
    ("lacks", "failing", "message"),
    [({"bc", "apt-get"}, "", "no apt-get"), ({"bc"}, "install", "install failed")],
)
def test_what_cannot_be_installed_is_an_error(
    machine: Machine, lacks: set[str], failing: str, message: str
) -> None:
    machine.host.lacks, machine.host.failing = lacks, failing
    with pytest.raises(InfrastructureError, match=message):
        run(machine)


def test_what_only_tests_need_may_be_missing(machine: Machine) -> None:
    """As on Ubuntu, which has no package of Chromium's."""
    machine.host.lacks, machine.host.failing = {"bc", "chromium", "sparse"}, "chromium"
    groups = [command.rpartition(" --no-install-recommends ")[2] for command in run(machine)]
    assert groups == ["bc", "chromium", "sparse"]
    assert "warning: apt-get install failed: chromium" in machine.said
    machine.host.failing = "bc"
    with pytest.raises(InfrastructureError):
        run(machine)


def test_an_update_that_fails_is_told_and_the_install_tried(machine: Machine) -> None:
    machine.host.lacks, machine.host.failing, machine.host.lists = {"bc"}, "update", float("inf")
    assert len(run(machine)) == 2
    assert "warning: apt-get update failed" in machine.said


@pytest.mark.parametrize(
    ("age", "asks"), [(None, True), (8 * DAY, True), (6 * DAY, False), (0.0, False)]
)
def test_debian_is_asked_for_the_source_where_that_was_long_ago(
    machine: Machine, age: float | None, asks: bool
) -> None:
    machine.network.known = None if age is None else debian.Known(package(), age)
    run(machine)
    assert machine.network.asked == ([("linux-source-6.1", "bookworm")] if asks else [])
    assert ("source of the kernel: linux-source-6.1 6.1.2-1" in machine.said) == asks


def test_without_a_network_the_source_is_what_it_was(machine: Machine) -> None:
    machine.network.known, machine.network.version = debian.Known(package(), 30 * DAY), None
    run(machine)
    assert "could not be asked; 6.1.1-1 is taken" in machine.said
    machine.network.known = None
    run(machine)
    assert "could not be asked; give a source by hand: --source" in machine.said


@pytest.mark.parametrize(
    ("target", "triple"),
    [
        (LINUX_6_1, "arm-linux-gnueabihf"),
        (GOLDFISH_3_4, "arm-linux-gnueabi"),
        # The test programs take Debian's compiler.
        (GOLDFISH_3_4.with_cross_compile("/opt/arm-eabi-"), "arm-linux-gnueabi"),
    ],
    ids=["linux-6.1", "goldfish-3.4", "another compiler"],
)
def test_the_compiler_of_the_target_alone_is_installed(
    machine: Machine, target: Target, triple: str
) -> None:
    machine.host.lacks = {"arm-linux-gnueabihf-gcc", "arm-linux-gnueabi-gcc", "/opt/arm-eabi-gcc"}
    (command,) = run(machine, target)
    assert command.endswith(f" --no-install-recommends gcc-{triple}")


def test_clang_is_installed_where_it_is_asked_for(machine: Machine) -> None:
    machine.host.lacks = {"clang", "ld.lld"}
    assert run(machine, LINUX_6_1) == []
    (command,) = run(machine, LINUX_6_1.with_toolchain("llvm"))
    assert command.endswith(" --no-install-recommends clang lld")


def test_a_source_in_git_is_nothing_to_apt(machine: Machine) -> None:
    machine.network.known, machine.host.lists = None, 2 * DAY
    assert run(machine, GOLDFISH_3_4) == []
    assert machine.network.asked == []
    assert machine.said == "setup: nothing to install\n"
