# SPDX-License-Identifier: MIT
"""Addresses of a kernel report, decoded against a small program in the place of a vmlinux."""

from __future__ import annotations

import contextlib
import re
import subprocess
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stand_ins import script

from harness.build.kernel_symbols import Decoder
from harness.core.errors import InfrastructureError, ToolMissingError

PREFIX = "arm-linux-gnueabihf-"
SOURCES = {
    "init/main.c": "void kernel_init(void)\n{\n}\n",
    # Line 2 is inlined into line 7; line 12 calls and line 13 is where the call returns to.
    "mm/scan.c": (
        "static inline __attribute__((always_inline)) int peek(volatile int *p) {\n"
        "\treturn *p;\n"
        "}\n"
        "void kernel_init(void);\n"
        "int mm_limits_scan(volatile int *p)\n"
        "{\n"
        "\treturn peek(p);\n"
        "}\n"
        "static __attribute__((noinline, used)) int twin(volatile int *p) { return *p; }\n"
        "void mm_limits_round(volatile int *p)\n"
        "{\n"
        "\tkernel_init();\n"
        "\tp[1] = 7;\n"
        "\ttwin(p);\n"
        "}\n"
        'static __attribute__((noinline, used)) void same(void) { __asm__("nop"); }\n'
    ),
    # A twin of another size; a namesake of the same size; nothing local but that.
    "mm/charge.c": (
        "static __attribute__((noinline, used)) int twin(volatile int *p)\n"
        "{\n"
        "\treturn p[1] + p[2] + p[3] + p[4];\n"
        "}\n"
        'static __attribute__((noinline, used)) void same(void) { __asm__("nop"); }\n'
    ),
    "mm/global.c": "int mm_limits_only(int a)\n{\n\treturn a + 1;\n}\n",
    "arch/entry.S": (
        "\t.syntax unified\n\t.arm\n\t.text\n\t.globl ret_fast_syscall\n"
        "\t.type ret_fast_syscall, %function\nret_fast_syscall:\n\tmov r0, r0\n\tbx lr\n"
        '\t.globl _etext\n_etext:\n\t.section .note.GNU-stack,""\n'
    ),
}


@dataclass(frozen=True)
class Built:
    """A program and, by name, where its functions are and how large."""

    path: Path
    functions: dict[str, list[tuple[int, int]]]

    def at(self, name: str, offset: int, index: int = 0) -> str:
        """The kernel's form of a place."""
        return f"{name}+{offset:#x}/{self.functions[name][index][1]:#x}"

    def size(self, name: str) -> int:
        return self.functions[name][0][1]

    def decode(self, text: str) -> str:
        return Decoder(self.path, PREFIX).decode(text)


def build(folder: Path, *flags: str) -> Built:
    """Links SOURCES as a kernel is linked: each file by its path below the top."""
    objects = []
    for name, text in SOURCES.items():
        source = folder / name
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_text(text)
        objects.append(f"{name}.o")
        words = ["-c", "-Os", "-marm", "-ffreestanding", *flags, "-o", objects[-1], name]
        subprocess.run([f"{PREFIX}gcc", *words], cwd=folder, check=True)
    linked = ["-nostdlib", "-static", "-Wl,-Ttext=0x80100000", "-Wl,-e,kernel_init"]
    subprocess.run([f"{PREFIX}gcc", *linked, "-o", "vmlinux", *objects], cwd=folder, check=True)
    listed = subprocess.run(
        [f"{PREFIX}nm", "-n", "vmlinux"], cwd=folder, check=True, capture_output=True, text=True
    ).stdout
    rows = re.findall(r"^([0-9a-f]+) [tT] ([a-z_]\w*)$", listed, re.MULTILINE)
    functions: dict[str, list[tuple[int, int]]] = {}
    for (address, name), (following, _) in pairwise(rows):
        size = int(following, 16) - int(address, 16)
        functions.setdefault(name, []).append((int(address, 16), size))
    return Built(folder / "vmlinux", functions)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """As ours are: without debug information."""
    return build(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def debug(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(tmp_path_factory.mktemp("debug"), "-g")


def test_without_debug_information_the_file_is_named(plain: Built) -> None:
    decoder = Decoder(plain.path, "no-such-tool-")
    scan, only = plain.at("mm_limits_scan", 4), plain.at("mm_limits_only", 4)
    entry = plain.at("ret_fast_syscall", 0)
    assert decoder.decode(f"PC is at {scan}\n") == f"PC is at {scan} (scan.c)\n"
    # A file without local symbols; and one in assembler, whose object file is all there is.
    assert decoder.decode(f" x from {only}") == f" x from {only} (global.c)"
    assert decoder.decode(f" x from {entry}") == f" x from {entry} (entry.S.o)"


def test_what_inlined_functions_do_is_told(debug: Built) -> None:
    places = {
        debug.decode(f"PC is at {debug.at('mm_limits_scan', offset)}").split(" ", 4)[-1]
        for offset in range(0, debug.size("mm_limits_scan"), 4)
    }
    assert "(mm/scan.c:2 in peek, mm/scan.c:7)" in places


def test_a_return_address_is_in_the_line_of_the_call(debug: Built) -> None:
    for offset in range(0, debug.size("mm_limits_round"), 4):
        place = debug.at("mm_limits_round", offset)
        if (debug.decode(f"PC is at {place}"), debug.decode(f" x from {place}")) == (
            f"PC is at {place} (mm/scan.c:13)",
            f" x from {place} (mm/scan.c:12)",
        ):
            break
    else:
        pytest.fail("no address is behind the call")


def test_an_address_alone(debug: Built, plain: Built) -> None:
    (address, size), *_ = debug.functions["mm_limits_only"]
    text = f"pc : [<{address:08x}>]    lr : [<{address + size - 1:08x}>]    psr: 20000013"
    decoded = debug.decode(text)
    assert re.sub(r" \(mm/global\.c:[234]\)", "", decoded) == text
    assert decoded.count("(mm/global.c:") == 2
    # 3.4 has the function behind it, which is told then.
    place = debug.at("mm_limits_only", 4)
    form = "[<{0:08x}>] ({1}{2}) from [<{0:08x}>] ({1}{2})"
    with_files = plain.decode(form.format(address + 4, place, ""))
    assert with_files == form.format(address + 4, place, " (global.c)")


def test_namesakes_are_told_apart_by_their_size(plain: Built) -> None:
    found = {plain.decode(plain.at("twin", 4, index)).split(" ")[-1] for index in (0, 1)}
    assert found == {"(scan.c)", "(charge.c)"}
    assert plain.functions["same"][0][1] == plain.functions["same"][1][1]
    assert plain.decode(plain.at("same", 0)) == plain.at("same", 0)


@pytest.mark.parametrize(
    "text",
    [
        "mm_limits_scan+0x4/0xfff8",
        "nobody_knows+0x4/0x8",
        "set_mm_limits_call+0x58/0xe4 [set_mm_limits]",
        "[<bf000058>] [<00000000>] [<ffffffff>] [<(ptrval)>] [<ffffffffffffffff>]",
        "x+0x/0x y+0x1/ +0x1/0x2 [<>]",
        "",
    ],
)
def test_what_nobody_knows_is_left(debug: Built, text: str) -> None:
    assert debug.decode(text) == text


def test_a_modules_function_is_not_the_kernels(plain: Built) -> None:
    text = f"{plain.at('mm_limits_scan', 4)} [set_mm_limits]"
    assert plain.decode(text) == text


def test_the_tool_is_asked_once(debug: Built, tmp_path: Path) -> None:
    asks = f'echo >> {tmp_path}/asked; exec {PREFIX}addr2line "$@"'
    script(tmp_path / "addr2line", asks)
    decoder = Decoder(debug.path, f"{tmp_path}/")
    names = ("mm_limits_scan", "mm_limits_round", "mm_limits_only")
    text = "\n".join(debug.at(name, 4) for name in names)
    assert decoder.decode(f"{text}\n{text}").count("(mm/") == 6
    assert (tmp_path / "asked").read_text() == "\n"
    assert decoder.decode("nothing to ask for") == "nothing to ask for"
    assert (tmp_path / "asked").read_text() == "\n"


def test_a_missing_tool_is_told(debug: Built) -> None:
    with pytest.raises(ToolMissingError, match="no-such-tool-addr2line is not installed"):
        Decoder(debug.path, "no-such-tool-").decode(debug.at("mm_limits_scan", 4))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "nothing cannot be read: No such file"),
        ("", "cannot be read: Is a directory"),
        ("text", "text is not a whole ELF file"),
        ("empty", "empty is not a whole ELF file"),
        ("stripped", "stripped has no symbols of functions"),
    ],
)
def test_a_vmlinux_that_is_none_is_told(
    plain: Built, tmp_path: Path, name: str, message: str
) -> None:
    (tmp_path / "text").write_text("a text\n")
    (tmp_path / "empty").touch()
    subprocess.run([f"{PREFIX}strip", "-o", tmp_path / "stripped", plain.path], check=True)
    with pytest.raises(InfrastructureError, match=message):
        Decoder(tmp_path / name, PREFIX)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused(
    plain: Built, tmp_path: Path, data: st.DataObject
) -> None:
    whole = plain.path.read_bytes()
    content = bytearray(whole[: data.draw(st.integers(0, len(whole)) | st.just(len(whole)))])
    for place in data.draw(st.lists(st.integers(0, len(whole)), max_size=8)):
        if place < len(content):
            content[place] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged"
    path.write_bytes(content)
    with contextlib.suppress(InfrastructureError):
        Decoder(path, PREFIX).decode(f"{plain.at('mm_limits_scan', 4)} [<80100004>]")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(text=st.text(), noise=st.from_regex(r"(\[<[0-9a-f]{8}>\]|\w\+0x[0-9a-f]/0x[0-9a-f]| )*"))
def test_text_is_only_added_to(plain: Built, text: str, noise: str) -> None:
    decoded = plain.decode(text + noise)
    assert re.sub(r" \((?:scan|charge|global|main)\.c\)| \(entry\.S\.o\)", "", decoded) == (
        text + noise
    )
