# SPDX-License-Identifier: MIT
"""ELF files, real ones and broken ones, against what a target expects."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.build.elfcheck import ElfFacts, check_static_program, read_elf, static_program_problems
from harness.core.errors import BuildError
from harness.targets.model import ElfAbi

HARD = ElfAbi(machine="EM_ARM", elf_class=32, hard_float=True)
SOFT = replace(HARD, hard_float=False)
GOOD = ElfFacts(
    "EM_ARM", 32, "ET_EXEC", None, (), hard_float=True, oldest_kernel=None, tls_alignment=None
)


def compiled(path: Path, *flags: str, text: str = "void _start(void) { }\n") -> Path:
    """What a cross-compiler makes of a C text, by default the smallest that can be linked."""
    source = path.with_suffix(".c")
    source.write_text(text)
    subprocess.run(["arm-linux-gnueabihf-gcc", *flags, "-o", path, source], check=True)
    return path


def refused(path: Path, abi: ElfAbi, message: str) -> None:
    with pytest.raises(BuildError, match=message):
        check_static_program(path, abi)


@pytest.fixture(scope="module")
def static(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("elf") / "static", "-nostdlib", "-static")


def test_a_static_program_is_accepted(static: Path) -> None:
    check_static_program(static, HARD)
    assert read_elf(static) == GOOD


def test_the_other_float_abi_is_told(static: Path, tmp_path: Path) -> None:
    refused(static, SOFT, r"static .*float ABI is hard, not soft")
    soft = compiled(tmp_path / "soft", "-nostdlib", "-static", "-mfloat-abi=soft")
    check_static_program(soft, SOFT)
    refused(soft, HARD, r"soft .*float ABI is soft, not hard")


@pytest.mark.parametrize(("flag", "hard"), [("hard", True), ("softfp", False)])
def test_an_object_files_attributes_tell_its_float_abi(
    tmp_path: Path, flag: str, hard: bool
) -> None:
    path = compiled(tmp_path / "object", "-c", f"-mfloat-abi={flag}")
    facts = read_elf(path)
    assert (facts.file_type, facts.hard_float) == ("ET_REL", hard)
    refused(path, HARD, "it is no program")


def test_a_dynamic_program_is_refused(tmp_path: Path) -> None:
    path = compiled(tmp_path / "dynamic", text="int main(void) { return 0; }\n")
    refused(path, HARD, r"asks for /lib/ld-linux-armhf.*needs libc\.so\.6")


def test_a_program_of_the_host_is_refused() -> None:
    path = Path(shutil.which("sh") or "/bin/sh").resolve()
    refused(path, HARD, r"it is for EM_\w+, not EM_ARM")


def test_a_missing_file_and_a_missing_mode_bit_are_told(static: Path, tmp_path: Path) -> None:
    refused(tmp_path / "nothing", HARD, "nothing was not built")
    copy = tmp_path / "copy"
    shutil.copyfile(static, copy)
    refused(copy, HARD, "it is not executable")


def test_every_problem_is_told_at_once() -> None:
    of_others = ("EM_386", 64, "ET_CORE", "/lib/ld.so", ("libc.so", "libm.so"))
    bad = ElfFacts(*of_others, hard_float=None, oldest_kernel=(3, 10, 0), tls_alignment=None)
    assert len(static_program_problems(bad, HARD)) == 5
    problems = static_program_problems(bad, HARD, (3, 4))
    assert problems[-1] == "its C library needs Linux 3.10.0, not 3.4"
    assert static_program_problems(GOOD, HARD, (3, 4)) == []
    assert static_program_problems(replace(GOOD, oldest_kernel=(3, 2, 0)), HARD, (3, 4)) == []
    assert static_program_problems(GOOD, HARD) == []


def test_the_alignment_of_thread_local_variables_is_read(tmp_path: Path) -> None:
    text = "__thread char a __attribute__((aligned(16)));\nvoid _start(void) { a = 1; }\n"
    path = compiled(tmp_path / "tls", "-nostdlib", "-static", "-O2", "-mtp=cp15", text=text)
    assert read_elf(path).tls_alignment == 16


@pytest.mark.parametrize(
    ("alignment", "bionic", "refused"),
    [(8, True, True), (31, True, True), (32, True, False), (None, True, False), (8, False, False)],
)
def test_what_bionic_aborts_for_is_refused(
    alignment: int | None, bionic: bool, refused: bool
) -> None:
    facts = replace(GOOD, tls_alignment=alignment)
    problems = static_program_problems(facts, HARD, bionic=bionic)
    told = [f"its TLS segment is aligned to {alignment}, and bionic aborts below 32"]
    assert problems == (told if refused else [])


@given(st.binary(max_size=200))
def test_no_bytes_break_it(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("bytes") / "file"
    path.write_bytes(data)
    refused(path, HARD, "file")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_a_damaged_file_is_judged_or_refused(
    static: Path, tmp_path: Path, data: st.DataObject
) -> None:
    whole = static.read_bytes()
    content = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    for place in data.draw(st.lists(st.integers(0, 200), max_size=4)):
        if place < len(content):
            content[place] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged"
    path.write_bytes(content)
    with contextlib.suppress(BuildError):
        read_elf(path)
