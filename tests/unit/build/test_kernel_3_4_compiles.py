# SPDX-License-Identifier: MIT
"""Our C against declarations of Linux 3.4: what is C99, is not there or differs is found here.

The declarations in tests/linux-3.4 are our own, from public facts: its README
says for each how sure it is.
"""

from __future__ import annotations

import subprocess
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

# A function that calls each hook of the series.
HOOKS = """
void hook(gfp_t gfp, struct mm_struct *mm, struct task_struct *p, struct cred *cred);
void hook(gfp_t gfp, struct mm_struct *mm, struct task_struct *p, struct cred *cred)
{
	mm_limits_alloc(gfp);
	mm_limits_rss(mm, MM_ANONPAGES, 1);
	mm_limits_folded();
	mm_limits_fault();
	mm_limits_fault_around(16);
	mm_limits_mm_init(mm, p);
	mm_limits_mm_exit(mm);
	mm_limits_mm_free(mm);
	mm_limits_fork(p);
	mm_limits_cred(cred, cred);
}
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


def compile_c(source: Path, target: Path, *more: str) -> subprocess.CompletedProcess[str]:
    own = subprocess.run(
        [COMPILER, "-print-file-name=include"], capture_output=True, text=True, check=True
    ).stdout.strip()
    folders = [DECLARATIONS / "include", COMMON / "include"]
    words = [*FLAGS, *more, "-isystem", own, *(f"-I{folder}" for folder in folders)]
    words += ["-include", str(DECLARATIONS / "include/linux/kconfig.h")]
    return subprocess.run(
        [COMPILER, "-c", *words, "-o", str(target), str(source)],
        capture_output=True,
        text=True,
        check=False,
    )


def compile_text(folder: Path, text: str, *more: str) -> subprocess.CompletedProcess[str]:
    source = folder / "snippet.c"
    source.write_text(text)
    return compile_c(source, folder / "snippet.o", *more)


def compiles(folder: Path, text: str, *more: str) -> None:
    done = compile_text(folder, text, *more)
    assert (done.returncode, done.stderr) == (0, "")


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


@pytest.mark.parametrize("more", [(), ("-DWITHOUT_SPLIT_RSS_COUNTING",)], ids=["smp", "up"])
@pytest.mark.parametrize("source", [*SOURCES, *MODULE_SOURCES], ids=lambda path: path.name)
def test_it_compiles_without_a_complaint(
    source: Path, more: tuple[str, ...], tmp_path: Path
) -> None:
    done = compile_c(source, tmp_path / "out.o", *more)
    assert (done.returncode, done.stderr) == (0, "")


def test_without_limits_the_calls_of_the_series_vanish(tmp_path: Path) -> None:
    text = "#include <linux/sched.h>\n#include <linux/mm.h>\n" + HOOKS
    compiles(tmp_path, text, "-DWITHOUT_MM_LIMITS")
    assert symbols(tmp_path / "snippet.o", defined=False) == set()


@pytest.mark.parametrize("more", [(), ("-DWITHOUT_SPLIT_RSS_COUNTING",)], ids=["smp", "up"])
def test_the_hooks_can_be_called_where_the_series_does(
    tmp_path: Path, more: tuple[str, ...]
) -> None:
    text = "#include <linux/sched.h>\n#include <linux/mm.h>\n#include <linux/cred.h>\n" + HOOKS
    compiles(tmp_path, text, *more)


def test_the_table_can_be_defined_where_the_series_does(tmp_path: Path) -> None:
    text = (
        "#include <linux/mm.h>\n"
        "struct mm_limits my_mm_limits = {\n"
        "\t.lock = __MUTEX_INITIALIZER(my_mm_limits.lock),\n"
        "\t.entries = LIST_HEAD_INIT(my_mm_limits.entries),\n};\n"
    )
    compiles(tmp_path, text)


SCHED = "#include <linux/sched.h>\n#include <linux/signal.h>\n#include <linux/rculist.h>\n"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "void f(void);\nvoid f(void)\n{\n\tfor (int i = 0; i < 3; i++)\n\t\t;\n}",
            "C99",
        ),
        ("int f(int a);\nint f(int a)\n{\n\ta++;\n\tint b = a;\n\treturn b;\n}", "mixed"),
        ("#include <linux/uidgid.h>", "No such file"),
        ("#include <linux/sched/mm.h>", "No such file"),
        (f"{SCHED}int f(int *p);\nint f(int *p)\n{{\n\treturn READ_ONCE(*p);\n}}", "READ_ONCE"),
        (f"{SCHED}extern kuid_t owner;", "kuid_t"),
        (
            "#include <linux/mm.h>\nint f(void);\nint f(void)\n{\n\treturn current->flags;\n}",
            "curr",
        ),
        (
            (
                f"{SCHED}void f(struct task_struct *p);\nvoid f(struct task_struct *p)\n"
                "{\n\tdo_send_sig_info(SIGKILL, SEND_SIG_PRIV, p);\n}"
            ),
            "too few arguments",
        ),
        (
            (
                f"{SCHED}struct s {{ struct hlist_node n; }};\nvoid f(struct hlist_head *h);\n"
                "void f(struct hlist_head *h)\n{\n\tstruct s *p;\n"
                "\thlist_for_each_entry_rcu(p, h, n)\n\t\t;\n}"
            ),
            "requires 4 arguments",
        ),
        (
            (
                "#include <linux/seq_file.h>\n#include <linux/proc_fs.h>\n"
                "void f(void);\nvoid f(void)\n"
                '{\n\tproc_create_seq("x", 0444, NULL, NULL);\n}'
            ),
            "proc_create_seq",
        ),
    ],
)
def test_what_3_4_does_not_have_is_found(tmp_path: Path, text: str, complaint: str) -> None:
    done = compile_text(tmp_path, text + "\n")
    assert done.returncode != 0
    assert complaint in done.stderr


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
        assert compile_c(source, out, "-DMODULE").returncode == 0
        needed = symbols(out, defined=False)
        assert needed <= ours | theirs, source.name


def test_what_is_built_in_is_complete(tmp_path: Path) -> None:
    """Our files define what they want of each other."""
    defined: set[str] = set()
    needed: set[str] = set()
    for source in SOURCES:
        out = tmp_path / f"{source.stem}.o"
        assert compile_c(source, out).returncode == 0
        defined |= symbols(out, defined=True)
        needed |= symbols(out, defined=False)
    missing = {name for name in needed - defined if "mm_limits" in name}
    # Defined by the series.
    assert missing == {"my_mm_limits"}


def test_names_that_others_have_brought_too_do_not_come_with_every_header(tmp_path: Path) -> None:
    compiles(tmp_path, FOREIGN)
