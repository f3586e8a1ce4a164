# SPDX-License-Identifier: MIT
"""The targets' data, and what is asked of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.core.errors import UsageError
from harness.targets.goldfish_3_4 import GOLDFISH_3_4
from harness.targets.linux_6_1 import LINUX_6_1
from harness.targets.model import EMULATORS, GitSource, QemuMachine, SdkMachine, Target
from harness.targets.table import TARGETS, get_target


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)
def test_a_target_is_whole(target: Target) -> None:
    assert set(target.boards) <= set(EMULATORS)
    for emulator in target.boards:
        for fragment in target.on(emulator).checking_itself().fragments:
            assert fragment.is_file()
    assert len(set(target.syscalls.values())) == len(target.syscalls) == 2
    assert re.compile(target.syscall_list.pattern).groupindex.keys() == {"number", "name"}


def test_a_wrong_word_says_which_there_are() -> None:
    with pytest.raises(UsageError, match="no emulator is called 'x'") as caught:
        get_target("linux-6.1", "x")
    assert caught.value.hint == "one of: qemu, sdk"
    with pytest.raises(UsageError, match="no kernel is called 'x'") as caught:
        get_target("x")
    assert caught.value.hint == f"one of: {', '.join(TARGETS)}"
    with pytest.raises(UsageError, match=r"linux-6\.1 does not run on the emulator") as caught:
        get_target("linux-6.1", "sdk")
    assert "--emulator qemu" in caught.value.hint


def test_only_some_machines_work_with_one_cpu() -> None:
    alone = LINUX_6_1.with_one_cpu()
    assert isinstance(alone.machine, QemuMachine)
    assert alone.machine.smp == 1
    # It looks for races.
    assert LINUX_6_1.checking_itself().with_one_cpu().machine.title.count("2 CPUs")
    for target in (GOLDFISH_3_4, GOLDFISH_3_4.on("sdk")):
        assert target.with_one_cpu() is target


def test_goldfish_is_what_the_contract_says() -> None:
    target = get_target("goldfish-3.4", "sdk")
    assert isinstance(target.machine, SdkMachine)
    assert (target.machine.cpu, target.board.base_config) == (
        "cortex-a8",
        "goldfish_armv7_defconfig",
    )
    assert GOLDFISH_3_4.board.base_config == "vexpress_defconfig"
    assert isinstance(GOLDFISH_3_4.source, GitSource)
    assert GOLDFISH_3_4.source.branch == "android-goldfish-3.4"
    assert GOLDFISH_3_4.make_variables == ("KCFLAGS=-fno-pic -fno-pie -std=gnu89 -march=armv7-a",)
    assert dict(GOLDFISH_3_4.syscalls) == {"set_mm_limits": 378, "my_oom_killer": 382}


def test_an_emulated_android_gets_more_time() -> None:
    board, other = GOLDFISH_3_4.on("sdk").board, GOLDFISH_3_4.board
    for name in ("silence", "adb", "android", "echo"):
        assert getattr(board.limits, name) > getattr(other.limits, name)
    assert board.hung_task_seconds > other.hung_task_seconds
    assert isinstance(board.machine, SdkMachine)
    assert board.machine.newest_api == 23


def test_a_kernel_that_checks_itself_gets_more_time() -> None:
    for target in (LINUX_6_1, GOLDFISH_3_4.on("sdk")):
        slow = target.checking_itself()
        assert slow.board.limits.echo > target.board.limits.echo


def test_kmemleak_of_3_4_is_no_hung_task() -> None:
    # Its thread sleeps for a minute, and no signal wakes it.
    assert GOLDFISH_3_4.checking_itself().board.hung_task_seconds > 60
    assert LINUX_6_1.checking_itself().board.hung_task_seconds == LINUX_6_1.board.hung_task_seconds


def test_another_compiler_is_the_kernels_alone() -> None:
    own = GOLDFISH_3_4.with_cross_compile("/opt/bin/arm-eabi-")
    assert (own.cross_compile, own.programs_cross_compile) == (
        "/opt/bin/arm-eabi-",
        "arm-linux-gnueabi-",
    )
    assert own.is_cross_compile_changed
    # What is on PATH stays on PATH.
    assert GOLDFISH_3_4.with_cross_compile("arm-eabi-").cross_compile == "arm-eabi-"
    assert not GOLDFISH_3_4.is_cross_compile_changed
    assert LINUX_6_1.compilers == ("arm-linux-gnueabihf-",)


def test_clang_builds_the_kernel_and_not_the_programs() -> None:
    clang = LINUX_6_1.with_toolchain("llvm")
    assert clang.is_llvm
    assert clang.compilers == ("llvm", "arm-linux-gnueabihf-")
    assert clang.programs_cross_compile == LINUX_6_1.programs_cross_compile
    assert clang.setup_command == "./inv setup --toolchain llvm"
    assert LINUX_6_1.with_toolchain("gnu") == LINUX_6_1


def test_each_compiler_and_the_debug_kernel_have_work_trees_of_their_own() -> None:
    clang = LINUX_6_1.with_toolchain("llvm")
    assert (LINUX_6_1.work_tree, clang.work_tree) == ("", "llvm")
    assert (LINUX_6_1.stock().work_tree, clang.stock().work_tree) == ("stock", "stock-llvm")
    assert LINUX_6_1.checking_itself().work_tree == "debug"
    assert clang.checking_itself().stock().work_tree == "stock-debug-llvm"
    assert clang.in_tree("bench").work_tree == "bench-llvm"
    assert LINUX_6_1.stock().with_toolchain("llvm").work_tree == "stock-llvm"
    assert clang.with_toolchain("llvm") == clang


def test_what_clang_cannot_build_is_said() -> None:
    with pytest.raises(UsageError, match=r"goldfish-3\.4 cannot be built with clang: its make"):
        GOLDFISH_3_4.with_toolchain("llvm")
    with pytest.raises(UsageError, match="no such toolchain: 'icc'") as caught:
        LINUX_6_1.with_toolchain("icc")
    assert caught.value.hint == "--toolchain gnu or llvm"
    with pytest.raises(UsageError, match="--cross-compile names a GCC"):
        LINUX_6_1.with_cross_compile("/opt/arm-").with_toolchain("llvm")


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("../tc/bin/arm-eabi-", "{here}/../tc/bin/arm-eabi-"),
        ("./arm-eabi-", "{here}/arm-eabi-"),
        ("tc/bin/", "{here}/tc/bin/"),
        ("~/tc/bin/arm-eabi-", "/home-of/tc/bin/arm-eabi-"),
        ("/arm-eabi-", "/arm-eabi-"),
        ("/opt/bin/", "/opt/bin/"),
    ],
)
def test_a_compilers_folder_is_looked_for_where_the_user_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, taken: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home-of")
    target = GOLDFISH_3_4.with_cross_compile(given)
    assert target.cross_compile == taken.format(here=tmp_path)
