# SPDX-License-Identifier: MIT
"""The series of goldfish-3.4 on the skeleton of a tree: no tree is to be had here."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection
from fakekernel import patch_files
from goldfish_skeleton import SKELETON, TABLE_TAILS, write_skeleton
from hypothesis import given, settings
from hypothesis import strategies as st
from stand_ins import workspace

from harness.build.patching import check, overlay
from harness.build.series import touched_files
from harness.build.source import KernelSource
from harness.build.toolchain import tool_version
from harness.build.tree_file import Overlay
from harness.core.errors import PatchError
from harness.targets.goldfish_3_4 import GOLDFISH_3_4

# No patching stores anything there.
WS = workspace(Path("/nowhere"))
COMPILER = "arm-linux-gnueabihf-gcc"
NEEDED = 12
TABLES = {
    "short": "0005-ARM-append-to-the-syscall-table.patch",
    "short and spaced": "0005-ARM-append-to-the-syscall-table-spaced.patch",
    "with seccomp": "0005-ARM-fill-free-places-of-the-syscall-table.patch",
    "with seccomp, and comments": "0005-ARM-fill-free-places-of-the-syscall-table.patch",
}


def touched(patch: Path) -> tuple[str, ...]:
    return touched_files(patch.read_text(), patch.name)


OUR_OWN = [patch for patch in patch_files(GOLDFISH_3_4) if patch.parent.name != "compat"]


@pytest.fixture(autouse=True)
def versions(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[int, ...]]:
    """The versions of tools that need all there is, whatever is installed here."""
    found = {"gcc": (12, 2, 0), "hostgcc": (12, 2, 0), "binutils": (2, 40), "perl": (5, 36)}
    found["make"] = (4, 3)
    monkeypatch.setattr("harness.build.toolchain.tool_version", lambda _, tool: found[tool])
    return found


def skeleton(folder: Path, tail: str, shift: int = 0) -> KernelSource:
    write_skeleton(folder, tail, shift)
    return KernelSource(GOLDFISH_3_4, folder, "skeleton", "3.4.67", "a skeleton")


def patched_in_place(folder: Path, tail: str) -> None:
    """Makes a skeleton, and writes what is patched below arch/ into it."""
    for name, file in overlay(WS, skeleton(folder, tail)).items():
        if file is not None and name.startswith("arch/"):
            (folder / name).write_bytes(file.data)


def text_of(files: Overlay, name: str) -> str:
    file = files[name]
    assert file is not None
    return file.data.decode()


@pytest.mark.parametrize("tail", TABLE_TAILS)
def test_every_patch_applies_where_it_says(tmp_path: Path, tail: str) -> None:
    reports = check(WS, skeleton(tmp_path, tail))
    assert [(r.patch, r.outcome, r.detail) for r in reports if r.outcome != "applies"] == []
    assert [r.detail for r in reports if r.detail] == []
    assert len(reports) == NEEDED + 1
    assert TABLES[tail] in [report.patch for report in reports]


# A tree each.
@settings(max_examples=settings().max_examples // 5)
@given(shift=st.integers(1, 300), tail=st.sampled_from(sorted(TABLE_TAILS)))
def test_a_tree_whose_lines_moved_gets_them_too(
    tmp_path_factory: pytest.TempPathFactory, shift: int, tail: str
) -> None:
    folder = tmp_path_factory.mktemp("moved")
    reports = check(WS, skeleton(folder, tail, shift))
    assert {report.outcome for report in reports} == {"applies"}
    assert all(f"offset {shift} line" in report.detail for report in reports)


def test_what_is_put_where(tmp_path: Path) -> None:
    files = overlay(WS, skeleton(tmp_path, "with seccomp"))
    assert '\nsource "mm/mm_limits/Kconfig"\n\nconfig KSM\n' in text_of(files, "mm/Kconfig")
    fork = text_of(files, "kernel/fork.c")
    assert "\t\tmm_limits_mm_init(mm, p);\n\t\treturn mm;\n" in fork
    assert "\tmm_limits_mm_free(mm);\n\tcheck_mm(mm);\n" in fork
    assert "\tmm_limits_mm_copied(mm);\n\tmm->hiwater_rss" in fork
    assert "(p);\n\tmm_limits_fork(p);\n" in fork
    # Before the mm may be gone, and before somebody else can be found for it.
    assert "\tmm_limits_leave(mm);\n\tmm_update_next_owner(mm);\n" in text_of(
        files, "kernel/exit.c"
    )
    assert "\tmm_limits_exec(old_mm);\n\tif (old_mm) {\n" in text_of(files, "fs/exec.c")
    resume = "them off. */\n\tlocal_irq_enable();\n\tmm_limits_resume();\n}\n"
    assert resume in text_of(files, "include/linux/tracehook.h")
    counters = text_of(files, "include/linux/mm.h")
    for change, told in (("add(value, ", "value"), ("inc(", "1"), ("dec(", "-1")):
        counter = f"atomic_long_{change}&mm->rss_stat.count[member]);\n"
        hook = f"\tif (mm_limits_rss(mm, member, {told}))\n\t\treturn;\n"
        assert f"{hook}\t{counter}" in counters
    assert text_of(files, "arch/arm/kernel/init_task.c").count("my_mm_limits = {") == 1
    fields = text_of(files, "include/linux/mm_types.h")
    assert fields.index("mm_limits_dying;") < fields.index("struct core_state")
    # All else is ours.
    ours = {name for patch in patch_files(GOLDFISH_3_4) for name in touched(patch)}
    assert {name for name in files if name in SKELETON or "calls.S" in name} <= ours


def test_a_tree_that_has_it_already_is_left_as_it_is(tmp_path: Path) -> None:
    source = skeleton(tmp_path, "short")
    perl = tmp_path / "kernel/timeconst.pl"
    perl.write_text(perl.read_text().replace("!defined(@val)", "!@val"))
    outcomes = {report.patch: report.outcome for report in check(WS, source)}
    assert outcomes["timeconst.patch"] == "in the tree"
    assert outcomes["compiler-gcc.patch"] == "applies"


def test_old_tools_need_nothing(tmp_path: Path, versions: dict[str, tuple[int, ...]]) -> None:
    versions |= {"gcc": (4, 8), "hostgcc": (4, 8), "binutils": (2, 22), "perl": (5, 14, 2)}
    versions["make"] = (3, 82)
    reports = check(WS, skeleton(tmp_path, "short"))
    left_out = {r.patch: r.detail for r in reports if r.outcome == "not needed"}
    assert left_out == {
        "compiler-gcc.patch": "only for gcc>=5",
        "put-user.patch": "only for gcc>=5",
        "gcc-goto.patch": "only for gcc>=6",
        "timeconst.patch": "only for perl>=5.22",
        "make-cmd.patch": "only for make>=4.3",
    }


# What is only there for old faults may not be needed: see test_compat_steps.py.
HELD_ON_TO = sorted({name for patch in OUR_OWN for name in touched(patch)} & set(SKELETON))


@pytest.mark.parametrize("name", HELD_ON_TO)
def test_a_line_that_is_not_there_is_a_conflict(tmp_path: Path, name: str) -> None:
    source = skeleton(tmp_path, "with seccomp")
    (tmp_path / name).write_text("nothing that is known\n")
    with pytest.raises(PatchError, match=name):
        overlay(WS, source)


def test_a_number_that_somebody_else_has_taken_is_named(tmp_path: Path) -> None:
    source = skeleton(tmp_path, "short")
    numbers = tmp_path / "arch/arm/include/asm/unistd.h"
    line = "#define __NR_set_mlimit    (__NR_SYSCALL_BASE+378)"
    numbers.write_text(numbers.read_text().replace("/* filler 407 */", line))
    last = check(WS, source)[-1]
    assert (last.patch, last.outcome) == ("syscall set_mm_limits", "conflict")
    assert last.detail == "arch/arm/include/asm/unistd.h:407: 378 is set_mlimit already"
    with pytest.raises(PatchError, match="378 is set_mlimit already"):
        overlay(WS, source)


def test_no_hunk_shows_more_of_the_kernel_than_it_must() -> None:
    for patch in patch_files(GOLDFISH_3_4):
        for hunk in patch.read_text().split("\n@@ ")[1:]:
            context = [line for line in hunk.splitlines()[1:] if line.startswith(" ")]
            assert len(context) <= 2, patch.name


# --- the syscall table, assembled ---------------------------------------------


def assembled_table(folder: Path) -> dict[int, str]:
    """By number the function that the assembled table calls."""
    entry = folder / "arch/arm/kernel/entry-common.S"
    lines = [line for line in entry.read_text().splitlines() if not line.startswith("/* filler")]
    header = (folder / "arch/arm/include/asm/unistd.h").read_text().splitlines()
    numbers = [line for line in header if line.startswith("#define __NR_")]
    source = folder / "arch/arm/kernel/table.S"
    head = ["#define __NR_SYSCALL_BASE 0", *numbers, *lines]
    # The table for the old ABI is made of the same file.
    for table in ("sys_call_table", "sys_oabi_call_table"):
        head += [f"\t.global {table}", f"{table}:", '#include "calls.S"']
    source.write_text("\n".join([*head, ""]))
    made = subprocess.run(
        [COMPILER, "-c", "-DCONFIG_MM_LIMITS", "-o", "table.o", "table.S"],
        cwd=source.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    with (source.parent / "table.o").open("rb") as stream:
        elf = ELFFile(stream)
        symbols = elf.get_section_by_name(".symtab")
        relocations = elf.get_section_by_name(".rel.text")
        assert isinstance(symbols, SymbolTableSection)
        assert isinstance(relocations, RelocationSection)
        return {
            relocation["r_offset"] // 4: symbols.get_symbol(relocation["r_info_sym"]).name
            for relocation in relocations.iter_relocations()
        }


@pytest.mark.parametrize("tail", TABLE_TAILS)
def test_the_table_that_comes_of_it(tmp_path: Path, tail: str) -> None:
    patched_in_place(tmp_path, tail)
    table = assembled_table(tmp_path)
    numbers = GOLDFISH_3_4.syscalls
    assert table[numbers["set_mm_limits"]] == "sys_set_mm_limits"
    assert table[numbers["my_oom_killer"]] == "sys_my_oom_killer"
    assert [table[n] for n in (379, 380, 381)] == ["sys_ni_syscall"] * 3
    assert table[377] == "sys_process_vm_writev"
    assert table[0] == "sys_0"
    assert table[383] == ("sys_seccomp" if "seccomp" in tail else "sys_ni_syscall")
    # A multiple of 4, and the second table begins where the first ends.
    assert table[384] == "sys_0"
    native = [number for number, name in table.items() if "limits" in name or "oom" in name]
    assert [n for n in native if n < 384] == sorted(numbers.values())


def test_a_table_with_no_place_for_them_stops_the_build(tmp_path: Path) -> None:
    patched_in_place(tmp_path, "with seccomp")
    calls = tmp_path / "arch/arm/kernel/calls.S"
    lines = calls.read_text().splitlines()
    calls.write_text(
        "\n".join(line for line in lines if "ni_sys" not in line and "sec" not in line)
    )
    with pytest.raises(AssertionError, match="no place for my_oom_killer"):
        assembled_table(tmp_path)


def test_the_tools_of_this_machine_have_versions() -> None:
    assert tool_version(GOLDFISH_3_4, "perl") is not None
    assert tool_version(GOLDFISH_3_4, "hostgcc") is not None


# --- what make remembers of a command -----------------------------------------

MAKEFILE = r"""
squote := '
escsq = $(subst $(squote),'\$(squote)',$1)
%s
arg-check = $(strip $(filter-out $(cmd_$(1)),$(cmd_$@)) $(filter-out $(cmd_$@),$(cmd_$(1))))
cmd_x = echo '-D"KBUILD_STR(s)=\#s" $$h' > $@
out: FORCE
	$(if $(call arg-check,x),@$(cmd_x); echo ran; echo 'cmd_$@ := $(call make-cmd,x)' > .cmd)
FORCE:
-include .cmd
"""


def test_a_command_with_a_number_sign_is_not_run_again(tmp_path: Path) -> None:
    files = overlay(WS, skeleton(tmp_path, "short"))
    macros = [
        line
        for line in text_of(files, "scripts/Kbuild.include").splitlines()
        if line.startswith(("make-cmd", "number-sign"))
    ]
    (tmp_path / "Makefile").write_text(MAKEFILE.replace("%s", "\n".join(macros)))
    make = ["make", "-s", "out"]
    runs = [subprocess.run(make, cwd=tmp_path, capture_output=True, check=True) for _ in range(3)]
    assert [run.stdout for run in runs] == [b"ran\n", b"", b""]
