# SPDX-License-Identifier: MIT
"""What compilers and linkers say that they are, and which steps of a series that asks for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from stand_ins import script

from harness.build import toolchain
from harness.build.series import Condition, Tool
from harness.build.toolchain import is_needed, linker, tool_version, toolchain_version
from harness.core.errors import InfrastructureError, ToolMissingError
from harness.core.tools import LLVM_PACKAGES
from harness.targets.goldfish_3_4 import GOLDFISH_3_4
from harness.targets.linux_6_1 import LINUX_6_1
from harness.targets.model import Target


@pytest.fixture(autouse=True)
def _ask_again() -> Iterator[None]:
    """What was asked of other tests' tools is forgotten, and of these too."""
    toolchain._ask.cache_clear()
    yield
    toolchain._ask.cache_clear()


@pytest.fixture
def target(tmp_path: Path) -> Target:
    """A target whose compiler is looked for in the test's folder."""
    return GOLDFISH_3_4.with_cross_compile(f"{tmp_path}/arm-eabi-")


def write_tool(target: Target, name: str, says: str, status: int = 0) -> None:
    """Gives a target a tool of that name."""
    script(Path(f"{target.cross_compile}{name}"), f"cat <<'END'\n{says}\nEND\nexit {status}")


@pytest.mark.parametrize(
    ("tool", "says", "version"),
    [
        ("gcc", "12.2.0", (12, 2, 0)),
        # AOSP's, and the NDK's last.
        ("gcc", "4.8", (4, 8)),
        ("gcc", "4.9.x 20150123 (prerelease)", (4, 9)),
        ("gcc", "4.9.4\nmore", (4, 9, 4)),
        ("gcc", "", None),
        ("gcc", "no number", None),
        ("binutils", "GNU ld (GNU Binutils for Debian) 2.40\nCopyright (C) 2023", (2, 40)),
        ("binutils", "GNU ld (GNU Binutils) 2.24.90\n", (2, 24, 90)),
        ("binutils", "GNU ld (Linaro-2019.12) 2.28.2.20170706\n", (2, 28, 2, 20170706)),
    ],
)
def test_the_version_of_a_tool(
    target: Target, tool: Tool, says: str, version: tuple[int, ...] | None
) -> None:
    write_tool(target, "ld" if tool == "binutils" else tool, says)
    assert tool_version(target, tool) == version


def test_gcc_is_asked_in_the_way_of_old_and_new_ones(tmp_path: Path, target: Target) -> None:
    words = tmp_path / "words"
    script(tmp_path / "arm-eabi-gcc", f'echo "$* $LC_ALL" >{words}; echo 4.8')
    tool_version(target, "gcc")
    assert words.read_text() == "-dumpfullversion -dumpversion C\n"


def test_the_hosts_tools_are_those_of_the_path(
    tmp_path: Path, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, says in (("gcc", "12.2.0"), ("perl", "5.36.0")):
        script(tmp_path / name, f"echo {says}")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert tool_version(target, "hostgcc") == (12, 2, 0)
    assert tool_version(target, "perl") == (5, 36, 0)
    # The host's compiler is not the kernel's.
    assert tool_version(target, "gcc") is None


def test_a_tool_that_is_not_there_or_fails_has_no_version(target: Target) -> None:
    assert tool_version(target, "binutils") is None
    write_tool(target, "gcc", "arm-eabi-gcc: 4.8: no such option", status=1)
    assert tool_version(target, "gcc") is None


def test_a_tool_is_asked_once(target: Target) -> None:
    write_tool(target, "gcc", "4.8")
    assert tool_version(target, "gcc") == (4, 8)
    write_tool(target, "gcc", "5.0")
    assert tool_version(target, "gcc") == (4, 8)


@pytest.mark.parametrize(
    ("says", "since", "needed"),
    [
        ("4.8", (5,), False),
        ("4.9.4", (4, 9), True),
        ("4.9", (4, 9, 1), False),
        ("5.0", (5,), True),
        ("12.2.0", (5,), True),
        # As text it would be less than 9.
        ("10.2.1", (9, 3), True),
        # Nobody can tell.
        ("no number", (5,), True),
    ],
)
def test_a_condition(target: Target, says: str, since: tuple[int, ...], needed: bool) -> None:
    write_tool(target, "gcc", says)
    assert is_needed(target, Condition("gcc", since)) == needed


def test_without_a_condition_or_the_tool_a_step_is_needed(target: Target) -> None:
    assert is_needed(target, None)
    assert is_needed(target, Condition("binutils", (99,)))


def test_conditions_look_at_the_compiler_that_was_given(tmp_path: Path, target: Target) -> None:
    write_tool(target, "gcc", "4.8")
    new = target.with_cross_compile(f"{tmp_path}/arm-new-")
    write_tool(new, "gcc", "12.2.0")
    condition = Condition("gcc", (5,))
    assert (is_needed(target, condition), is_needed(new, condition)) == (False, True)


def test_the_toolchain_is_what_compiler_and_linker_say_first(target: Target) -> None:
    write_tool(target, "gcc", "arm-eabi-gcc (GCC) 4.8\nCopyright")
    write_tool(target, "ld", "GNU ld (GNU Binutils) 2.24\nCopyright")
    assert toolchain_version(target) == "arm-eabi-gcc (GCC) 4.8; GNU ld (GNU Binutils) 2.24"


@pytest.mark.parametrize(
    ("target", "triple"),
    [(LINUX_6_1, "arm-linux-gnueabihf"), (GOLDFISH_3_4, "arm-linux-gnueabi")],
    ids=["linux-6.1", "goldfish-3.4"],
)
def test_a_missing_compiler_is_named_with_its_package(
    target: Target, triple: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissingError) as caught:
        toolchain_version(target)
    assert caught.value.message == f"not installed: {triple}-gcc, {triple}-ld"
    assert caught.value.hint.startswith(f"apt-get install binutils-{triple} gcc-{triple} ")
    assert caught.value.exit_status == 3


def test_a_missing_compiler_of_somebody_elses_is_named(target: Target, tmp_path: Path) -> None:
    with pytest.raises(ToolMissingError, match=f"not installed: {tmp_path}/arm-eabi-gcc") as caught:
        toolchain_version(target)
    assert caught.value.hint == "look at --cross-compile"


def test_a_missing_linker_is_named(target: Target, tmp_path: Path) -> None:
    write_tool(target, "gcc", "arm-eabi-gcc (GCC) 4.8")
    with pytest.raises(ToolMissingError) as caught:
        toolchain_version(target)
    assert caught.value.message == f"not installed: {tmp_path}/arm-eabi-ld"


@pytest.mark.parametrize("content", [b"#!/lib/ld-linux.so.99\n", b"\x7fELFjunk"])
def test_a_compiler_that_cannot_be_started_here(
    target: Target, tmp_path: Path, content: bytes
) -> None:
    write_tool(target, "ld", "GNU ld (GNU Binutils) 2.24")
    script(tmp_path / "arm-eabi-gcc", "").write_bytes(content)
    with pytest.raises(InfrastructureError, match="cannot be started here"):
        toolchain_version(target)
    assert tool_version(target, "gcc") is None


def test_the_linker_is_bfds_where_it_has_its_own_name(target: Target, tmp_path: Path) -> None:
    write_tool(target, "gcc", "arm-eabi-gcc (GCC) 4.9")
    write_tool(target, "ld", "GNU gold (GNU Binutils 2.25) 1.11")
    assert linker(target) == f"{tmp_path}/arm-eabi-ld"
    write_tool(target, "ld.bfd", "GNU ld (GNU Binutils) 2.25")
    assert linker(target) == f"{tmp_path}/arm-eabi-ld.bfd"
    assert toolchain_version(target).endswith("; GNU ld (GNU Binutils) 2.25")
    assert tool_version(target, "binutils") == (2, 25)


def test_bfds_linker_is_found_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert linker(GOLDFISH_3_4) == "arm-linux-gnueabi-ld"
    script(tmp_path / "arm-linux-gnueabi-ld.bfd", "")
    assert linker(GOLDFISH_3_4) == "arm-linux-gnueabi-ld.bfd"


def test_clang_and_its_linker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clang = LINUX_6_1.with_toolchain("llvm")
    says = {
        "clang": "Debian clang version 14.0.6\nTarget: x86_64",
        "ld.lld": "Debian LLD 14.0.6 (x)",
    }
    for tool in LLVM_PACKAGES:
        script(tmp_path / tool, f"cat <<'END'\n{says.get(tool, '')}\nEND")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert toolchain_version(clang) == "Debian clang version 14.0.6; Debian LLD 14.0.6 (x)"
    assert tool_version(clang, "binutils") == (14, 0, 6)
    assert linker(clang) == "ld.lld"
    assert toolchain.make_words(clang) == ("LLVM=1",)
    assert toolchain.make_words(LINUX_6_1) == ("CROSS_COMPILE=arm-linux-gnueabihf-",)
    (tmp_path / "llvm-nm").unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissingError) as caught:
        toolchain_version(clang)
    assert "llvm-nm" in caught.value.message
