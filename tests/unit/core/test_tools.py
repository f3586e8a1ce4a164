# SPDX-License-Identifier: MIT
"""Which programs, files and packages each target needs of Debian."""

from __future__ import annotations

import pytest

from harness.core.tools import (
    CROSS_COMPILERS,
    FILE_PACKAGES,
    LLVM_PACKAGES,
    TOOL_PACKAGES,
    is_foreign,
    needed_files,
    needed_tools,
    package_of,
)
from harness.targets.goldfish_3_4 import GOLDFISH_3_4
from harness.targets.linux_6_1 import LINUX_6_1
from harness.targets.model import QemuMachine, Target
from harness.targets.table import TARGETS


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
    compiler = {f"{triple}-gcc": f"gcc-{triple}", f"{triple}-ld": f"binutils-{triple}"}
    assert tools == {**TOOL_PACKAGES, **compiler}
    assert files == {**FILE_PACKAGES, f"/usr/{triple}/lib/libc.a": library}


@pytest.mark.parametrize("prefix", ["/opt/bin/arm-eabi-", "/opt/bin/", "arm-none-eabi-"])
def test_a_compiler_that_was_given_is_tools_without_a_package(prefix: str) -> None:
    own = GOLDFISH_3_4.with_cross_compile(prefix)
    tools = needed_tools(own.compilers)
    for tool in (f"{prefix}gcc", f"{prefix}ld"):
        assert tools[tool] is None
        assert is_foreign(tool)
    # The programs are still compiled with Debian's.
    assert tools["arm-linux-gnueabi-gcc"] == "gcc-arm-linux-gnueabi"
    assert needed_files(own.compilers) == needed_files(GOLDFISH_3_4.compilers)


def test_clang_needs_its_own_tools() -> None:
    clang = LINUX_6_1.with_toolchain("llvm")
    more = needed_tools(clang.compilers).items() - needed_tools(LINUX_6_1.compilers).items()
    assert dict(more) == LLVM_PACKAGES
    assert set(LLVM_PACKAGES.values()) == {"clang", "lld", "llvm"}
    # For the programs.
    assert needed_files(clang.compilers) == needed_files(LINUX_6_1.compilers)
    assert needed_tools(clang.compilers)["arm-linux-gnueabihf-gcc"] is not None


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)
def test_debian_has_the_compilers_and_machines_of_every_target(target: Target) -> None:
    assert set(target.compilers) <= CROSS_COMPILERS.keys()
    for board in target.boards.values():
        if isinstance(board.machine, QemuMachine):
            assert board.machine.binary in TOOL_PACKAGES


@pytest.mark.parametrize(
    ("tool", "package"),
    [
        ("arm-linux-gnueabi-gcc", "gcc-arm-linux-gnueabi"),
        ("arm-linux-gnueabihf-gcc", "gcc-arm-linux-gnueabihf"),
        ("arm-linux-gnueabi-ld", "binutils-arm-linux-gnueabi"),
        *(("clang", "clang"), ("ld.lld", "lld"), ("llvm-ar", "llvm")),
        *(("gcc", "gcc"), ("xz", "xz-utils"), ("unheard-of", None)),
        *((f"{foreign}gcc", None) for foreign in ("arm-eabi-", "/usr/bin/arm-linux-gnueabi-", "/")),
    ],
)
def test_package_of(tool: str, package: str | None) -> None:
    assert package_of(tool) == package


@pytest.mark.parametrize("tool", ["gcc", "arm-linux-gnueabi-ld", "/ndk/ndk-build", "unheard-of"])
def test_what_is_no_compiler_of_a_user(tool: str) -> None:
    assert not is_foreign(tool)


def test_setup_is_told_which_kernel() -> None:
    assert LINUX_6_1.setup_command == "./inv setup"
    assert GOLDFISH_3_4.setup_command == "./inv setup --kernel goldfish-3.4"
