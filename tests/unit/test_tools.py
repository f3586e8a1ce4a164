# SPDX-License-Identifier: MIT
"""Which programs, files and packages each target needs of Debian."""

from __future__ import annotations

import pytest

from harness.targets import GOLDFISH_3_4, LINUX_6_1, TARGETS, QemuMachine, Target
from harness.tools import (
    CROSS_COMPILERS,
    FILE_PACKAGES,
    TOOL_PACKAGES,
    needed_files,
    needed_tools,
    package_of,
)


@pytest.mark.parametrize(
    ("target", "triple", "library"),
    [
        (LINUX_6_1, "arm-linux-gnueabihf", "libc6-dev-armhf-cross"),
        (GOLDFISH_3_4, "arm-linux-gnueabi", "libc6-dev-armel-cross"),
    ],
    ids=["linux-6.1", "goldfish-3.4"],
)
def test_a_target_needs_its_own_compiler_and_no_other(
    target: Target, triple: str, library: str
) -> None:
    tools, files = needed_tools(target.compilers), needed_files(target.compilers)
    assert tools == {**TOOL_PACKAGES, f"{triple}-gcc": f"gcc-{triple}"}
    assert files == {**FILE_PACKAGES, f"/usr/{triple}/lib/libc.a": library}


def test_a_compiler_that_was_given_is_a_tool_without_a_package() -> None:
    own = GOLDFISH_3_4.with_cross_compile("/opt/bin/arm-eabi-")
    tools = needed_tools(own.compilers)
    assert tools["/opt/bin/arm-eabi-gcc"] == "/opt/bin/arm-eabi-gcc"
    # The programs are still compiled with Debian's.
    assert tools["arm-linux-gnueabi-gcc"] == "gcc-arm-linux-gnueabi"
    assert needed_files(own.compilers) == needed_files(GOLDFISH_3_4.compilers)


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)
def test_debian_has_the_compilers_and_machines_of_every_target(target: Target) -> None:
    assert set(target.compilers) <= CROSS_COMPILERS.keys()
    for board in target.boards.values():
        if isinstance(board.machine, QemuMachine):
            assert board.machine.binary in TOOL_PACKAGES


def test_packages_of_compilers() -> None:
    assert package_of("arm-linux-gnueabi-gcc") == "gcc-arm-linux-gnueabi"
    assert package_of("arm-linux-gnueabihf-gcc") == "gcc-arm-linux-gnueabihf"
    assert package_of("gcc") == "gcc"
    assert package_of("arm-eabi-gcc") == "arm-eabi-gcc"


def test_setup_is_told_which_kernel() -> None:
    assert LINUX_6_1.setup_command == "./inv setup"
    assert GOLDFISH_3_4.setup_command == "./inv setup --kernel goldfish-3.4"
