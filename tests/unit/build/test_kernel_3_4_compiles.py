# SPDX-License-Identifier: MIT
"""Our C against declarations of Linux 3.4: what is C99, is not there or differs is found here.

The declarations in tests/linux-3.4 are our own, from public facts: its README
says for each how sure it is.
"""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from harness.core.paths import COMMON, MODULES, REPO

DECLARATIONS = REPO / "tests" / "linux-3.4"
COMPILER = "arm-linux-gnueabihf-gcc"
SOURCES = sorted((COMMON / "mm" / "mm_limits").glob("*.c"))
MODULE_SOURCES = sorted(MODULES.glob("*.c"))
# The kernel's C of that time, and every complaint that is not about its style.
FLAGS = (
    *("-std=gnu89", "-Wdeclaration-after-statement", "-Wall", "-Wextra", "-Wstrict-prototypes"),
    *("-Wmissing-prototypes", "-Werror", "-O2", "-fno-builtin", "-nostdinc", "-funsigned-char"),
    # A callback need not use all that it is given.
    "-Wno-unused-parameter",
    # The kernel compares sizes with signed counts throughout.
    "-Wno-sign-compare",
    # A table's last entry is {}.
    "-Wno-missing-field-initializers",
)

SMP_OR_NOT = pytest.mark.parametrize(
    "more", [(), ("-DWITHOUT_SPLIT_RSS_COUNTING",)], ids=["smp", "up"]
)

HEADERS = "#include <linux/sched.h>\n#include <linux/mm.h>\n"
# A function that calls each hook of the series.
HOOKS = """
bool hook(struct mm_struct *mm, struct task_struct *p, struct cred *cred);
bool hook(struct mm_struct *mm, struct task_struct *p, struct cred *cred)
{
	static const int rss[NR_MM_COUNTERS];

	mm_limits_mm_init(mm, p);
	mm_limits_mm_copied(mm);
	mm_limits_mm_exec(mm);
	mm_limits_fork(p);
	mm_limits_exec(mm);
	mm_limits_leave(mm);
	mm_limits_mm_unused(mm);
	mm_limits_mm_free(mm);
	mm_limits_cred(cred, cred);
	mm_limits_fault_around(16);
	mm_limits_resume();
	mm_limits_signal();
	if (mm_limits_rss(mm, MM_ANONPAGES, 1) || mm_limits_rss_vec(mm, rss))
		return mm_limits_folded();
	return mm_limits_copy() || mm_limits_fast_mm(p) == mm;
}
"""

TABLE = """
#include <linux/mm.h>
struct mm_limits my_mm_limits = {
	.lock = __MUTEX_INITIALIZER(my_mm_limits.lock),
	.entries = LIST_HEAD_INIT(my_mm_limits.entries),
};
"""

# What others have brought to old kernels as well, before they take ours in or behind it.
FOREIGN = """
#include <linux/mm_limits.h>
#define uid_valid(uid) ((uid) != -1)
#define uid_eq(a, b) ((a) == (b))
#define make_kuid(a, b) (b)
#define from_kuid(a, b) (b)
#define from_kuid_munged(a, b) (b)
#define GLOBAL_ROOT_UID 0
#define __kuid_val(uid) (uid)
"""


def gcc(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMPILER, *words], capture_output=True, text=True, check=False)


@cache
def headers_of_gcc() -> str:
    return gcc("-print-file-name=include").stdout.strip()


def compile_c(source: Path, target: Path, *more: str) -> str:
    """What the compiler says against a file; it writes `target` if that is nothing."""
    folders = [DECLARATIONS / "include", COMMON / "include"]
    words = [*FLAGS, *more, "-isystem", headers_of_gcc(), *(f"-I{folder}" for folder in folders)]
    words += ["-include", str(DECLARATIONS / "include/linux/kconfig.h")]
    done = gcc("-c", *words, "-o", target, source)
    assert (done.returncode == 0) == (done.stderr == "")
    return done.stderr


def compile_text(folder: Path, text: str, *more: str) -> str:
    source = folder / "snippet.c"
    source.write_text(text)
    return compile_c(source, folder / "snippet.o", *more)


def symbols(path: Path, *, defined: bool) -> set[str]:
    with path.open("rb") as stream:
        table = ELFFile(stream).get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection)
        return {
            symbol.name
            for symbol in table.iter_symbols()
            if symbol["st_info"]["bind"] == "STB_GLOBAL"
            and (symbol["st_shndx"] != "SHN_UNDEF") == defined
        }


@SMP_OR_NOT
@pytest.mark.parametrize("source", [*SOURCES, *MODULE_SOURCES], ids=lambda path: path.name)
def test_it_compiles_without_a_complaint(
    source: Path, more: tuple[str, ...], tmp_path: Path
) -> None:
    assert compile_c(source, tmp_path / "out.o", *more) == ""


def test_without_limits_the_calls_of_the_series_vanish(tmp_path: Path) -> None:
    assert compile_text(tmp_path, HEADERS + HOOKS, "-DWITHOUT_MM_LIMITS") == ""
    assert symbols(tmp_path / "snippet.o", defined=False) == set()


@SMP_OR_NOT
@pytest.mark.parametrize(
    "text",
    [f"{HEADERS}#include <linux/cred.h>\n{HOOKS}", TABLE, FOREIGN],
    ids=[
        "the hooks can be called where the series does",
        "the table can be defined where the series does",
        "names that others have brought too do not come with every header",
    ],
)
def test_a_text_compiles(tmp_path: Path, text: str, more: tuple[str, ...]) -> None:
    assert compile_text(tmp_path, text, *more) == ""


SCHED = "sched signal rculist"


@pytest.mark.parametrize(
    ("headers", "function", "complaint"),
    [
        ("", "void f(void) { for (int i = 0; i < 3; i++) ; }", "C99"),
        ("", "int f(int a) { a++; int b = a; return b; }", "mixed"),
        ("uidgid", "", "No such file"),
        ("sched/mm", "", "No such file"),
        (SCHED, "int f(int *p) { return READ_ONCE(*p); }", "READ_ONCE"),
        (SCHED, "kuid_t f(kuid_t owner) { return owner; }", "kuid_t"),
        ("mm", "int f(void) { return current->flags; }", "curr"),
        (
            SCHED,
            "void f(struct task_struct *p) { do_send_sig_info(SIGKILL, SEND_SIG_PRIV, p); }",
            "too few arguments",
        ),
        (
            SCHED,
            "void f(struct hlist_head *h, void *p) { hlist_for_each_entry_rcu(p, h, n) ; }",
            "requires 4 arguments",
        ),
        (
            "seq_file proc_fs",
            'void f(void) { proc_create_seq("x", 0444, NULL, NULL); }',
            "proc_create_seq",
        ),
    ],
)
def test_what_3_4_does_not_have_is_found(
    tmp_path: Path, headers: str, function: str, complaint: str
) -> None:
    text = "".join(f"#include <linux/{name}.h>\n" for name in headers.split())
    text += f"static inline {function}\n" if function else ""
    assert complaint in compile_text(tmp_path, text)


def test_the_modules_use_only_what_is_exported(tmp_path: Path) -> None:
    """What a module needs and nobody exports is an error at insmod, and not before."""
    ours = set()
    for source in SOURCES:
        for line in source.read_text().splitlines():
            if line.startswith("EXPORT_SYMBOL_GPL("):
                ours.add(line.removeprefix("EXPORT_SYMBOL_GPL(").removesuffix(");"))
    lines = (DECLARATIONS / "exported").read_text().splitlines()
    theirs = {line for line in lines if line and not line.startswith("#")}
    assert ours
    for source in MODULE_SOURCES:
        out = tmp_path / f"{source.stem}.o"
        assert compile_c(source, out, "-DMODULE") == ""
        assert symbols(out, defined=False) <= ours | theirs, source.name


def test_what_is_built_in_is_complete(tmp_path: Path) -> None:
    """Our files define what they want of each other."""
    defined: set[str] = set()
    needed: set[str] = set()
    for source in SOURCES:
        out = tmp_path / f"{source.stem}.o"
        assert compile_c(source, out) == ""
        defined |= symbols(out, defined=True)
        needed |= symbols(out, defined=False)
    missing = {name for name in needed - defined if "mm_limits" in name}
    # Defined by the series.
    assert missing == {"my_mm_limits"}
