# SPDX-License-Identifier: MIT
"""The steps of goldfish-3.4 that mend an old tree: taken where the fault is, and only there."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from goldfish_skeleton import GOTO_SH, PUT_USER, write_skeleton
from stand_ins import workspace

from harness.build.patching import PatchReport, check, inputs, overlay, steps
from harness.build.source import KernelSource
from harness.build.toolchain import tool_version
from harness.build.tree_faults import is_sound, script_of
from harness.build.tree_file import write_file
from harness.targets.goldfish_3_4 import GOLDFISH_3_4
from harness.targets.linux_6_1 import LINUX_6_1
from harness.targets.model import Target

# Debian's two differ in how they pass floating point numbers, of which there are none here.
COMPILERS = [
    target.cross_compile
    for target in (GOLDFISH_3_4, LINUX_6_1)
    if shutil.which(f"{target.cross_compile}gcc")
]
STEPS = ("compiler-gcc", "put-user", "gcc-goto", "timeconst", "make-cmd", "pid-proc-fs")

FAULTY_PERL = """\
%canned_values = ();
$hz = 100;
sub compute_values { return (1); }
{
	@val = @{$canned_values{$hz}};
	if (!defined(@val)) {
		@val = compute_values($hz);
	}
}
"""
KBUILD = r"""
squote := '
escsq = $(subst $(squote),'\$(squote)',$1)
# in $(cmd_xxx) double $$ your perl vars
make-cmd = $(subst \\,\\\\,$(subst \#,\\\#,$(subst $$,$$$$,$(call escsq,$(cmd_$(1))))))

"""
GCC_HEADER = """\
#define __gcc_header(x) #x
#define _gcc_header(x) __gcc_header(linux/compiler-gcc##x.h)
#define gcc_header(x) _gcc_header(x)
#include gcc_header(__GNUC__)
"""
PID_C = """\
#include <linux/pid_namespace.h>
#include <linux/init_task.h>
static unsigned int number = PROC_PID_INIT_INO;
"""
# No patching stores anything there.
WS = workspace(Path("/nowhere"))
PERL, MAKE, GCC = "kernel/timeconst.pl", "scripts/Kbuild.include", "include/linux/compiler-gcc.h"
GOTO, PID, UACCESS = "scripts/gcc-goto.sh", "kernel/pid.c", "arch/arm/include/asm/uaccess.h"
Files = Mapping[str, str]
FAULTY: Files = {
    GCC: GCC_HEADER,
    "include/linux/compiler-gcc4.h": "",
    UACCESS: PUT_USER,
    GOTO: GOTO_SH,
    PERL: FAULTY_PERL,
    MAKE: KBUILD,
    PID: PID_C,
    "include/linux/pid_namespace.h": "",
    "include/linux/init_task.h": "",
}


def variant(name: str, text: str, *changes: tuple[str, str]) -> Files:
    """A file of the tree, changed."""
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return {name: text}


TEST = "if (!defined(@val)) {"
UPSTREAM_PERL = """\
	$cv = $canned_values{$hz};
	@val = defined($cv) ? @$cv : compute_values($hz);
	if (0) {
"""
OLD_MAKE_CMD = r"$(subst \\,\\\\,$(subst \#,\\\#,$(subst $$,$$$$,$(call escsq,$(cmd_$(1))))))"
PROC_FS = "\n#include <linux/proc_fs.h>"
GOES_ON = " \\\n\t\t"
NOT_CONST = "register typeof(*(p)) __r2"
ALL_GCC = {f"include/linux/compiler-gcc{major}.h": "" for major in range(5, 40)}
# How trees have mended it, step by step.
MENDED: list[tuple[str, Files]] = [
    ("timeconst", variant(PERL, FAULTY_PERL, (TEST, "if (!@val) {"))),
    ("timeconst", variant(PERL, FAULTY_PERL, (f"\t{TEST}\n", UPSTREAM_PERL))),
    # Seen in a public tree: a function's name, which is never defined.
    ("timeconst", variant(PERL, FAULTY_PERL, (TEST, "if (!defined(array)) {"))),
    ("compiler-gcc", {GCC: '#define barrier() asm volatile("" : : : "memory")\n'}),
    ("compiler-gcc", ALL_GCC),
    (
        "compiler-gcc",
        variant(GCC, GCC_HEADER, ("gcc_header(__GNUC__)", "<linux/compiler-gcc4.h>")),
    ),
    (
        "make-cmd",
        variant(
            MAKE,
            KBUILD,
            (f"make-cmd = {OLD_MAKE_CMD}", "pound := \\#\nmake-cmd = $(call twice,$(cmd_$(1)))"),
            ("squote :=", "twice = $(subst $(pound),$$(pound),$(subst $$,$$$$,$1))\nsquote :="),
        ),
    ),
    ("pid-proc-fs", variant(PID, PID_C, ("namespace.h>", f"namespace.h>{PROC_FS}"))),
    ("pid-proc-fs", {"include/linux/pid_namespace.h": "#include <linux/proc_fs.h>\n"}),
    ("pid-proc-fs", {"include/linux/init_task.h": "enum {\n\tPROC_PID_INIT_INO\t= 1,\n};\n"}),
    ("pid-proc-fs", variant(PID, PID_C, ("PROC_PID_INIT_INO", "0xEFFFFFFC"))),
    ("gcc-goto", variant(GOTO, GOTO_SH, ("-x c -", "-x c -fno-PIE -"))),
    # The older question, whose answer is yes.
    ("gcc-goto", variant(GOTO, GOTO_SH, ('".long %c0" :: "i" (&word) ::', '"" ::::'))),
    # A compiler without it, whatever it is told.
    ("gcc-goto", variant(GOTO, GOTO_SH, ("asm goto", "asm gone"))),
    (
        "put-user",
        variant(
            UACCESS,
            PUT_USER,
            ('__r2 asm("r2") = (x);', '__r2 asm("r2") = v;'),
            ("register const typeof(*(p)) __r2", f"typeof(*(p)) v = (x);{GOES_ON}{NOT_CONST}"),
        ),
    ),
]

# The same faults in words that no patch knows.
UNKNOWN: list[tuple[str, Files]] = [
    ("timeconst", variant(PERL, FAULTY_PERL, (TEST, "unless (defined @val) {"))),
    (
        "compiler-gcc",
        variant(GCC, GCC_HEADER, ("gcc_header(x) _", "gcc_header(y) _"), ("(x)\n", "(y)\n")),
    ),
    ("gcc-goto", variant(GOTO, GOTO_SH, ("int main(void)", "int other(void)"))),
    ("make-cmd", variant(MAKE, KBUILD, (OLD_MAKE_CMD, "$(subst  \\#,\\\\\\#,$(cmd_$(1)))"))),
    ("pid-proc-fs", variant(PID, PID_C, ("#include <linux/init_task.h>\n", ""))),
    ("put-user", variant(UACCESS, PUT_USER, ("typeof(*(p)) __r2 ", "typeof(*p) __r2 "))),
]


def tree(folder: Path, changed: Files | None = None) -> KernelSource:
    """A tree with all six faults, but for what is `changed`."""
    write_skeleton(folder, "short")
    for name, text in {**FAULTY, **(changed or {})}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return KernelSource(target(), folder, "mended", "3.4.67", "a skeleton")


def target(prefix: str | None = None) -> Target:
    assert COMPILERS, "no cross compiler is installed: ./inv setup"
    # An unpatched tree has only these steps.
    return replace(GOLDFISH_3_4.stock(), cross_compile=prefix or COMPILERS[0])


def reports(source: KernelSource) -> dict[str, PatchReport]:
    """What becomes of each compat step, by the name of its first patch."""
    return {report.patch.removesuffix(".patch"): report for report in check(WS, source)}


def mend(source: KernelSource) -> None:
    """Patches a tree in its place."""
    for path, file in overlay(WS, source).items():
        assert file is not None
        write_file(source.tree / path, file)


def scripts() -> dict[str, Path]:
    """The scripts that look for the faults, by their step's name."""
    found = (script_of(step.files[0]) for step in steps(GOLDFISH_3_4) if step.optional)
    return {script.stem: script for script in found if script is not None}


def test_every_step_looks_for_its_fault() -> None:
    assert tuple(scripts()) == STEPS


@pytest.mark.parametrize("name", STEPS)
def test_a_step_is_taken_where_the_fault_is_and_mends_it(tmp_path: Path, name: str) -> None:
    source = tree(tmp_path)
    script = scripts()[name]
    if is_sound(source.target, script, source.tree):
        pytest.fail(f"this machine's tools do not stumble over {name} any more")
    assert reports(source)[name].outcome == "applies"
    mend(source)
    assert is_sound(source.target, script, source.tree)


@pytest.mark.parametrize(("name", "changed"), MENDED)
def test_a_tree_without_the_fault_is_left_alone(tmp_path: Path, name: str, changed: Files) -> None:
    found = reports(tree(tmp_path, changed))
    assert {step: report.outcome for step, report in found.items() if step != name} == {
        step: "applies" for step in STEPS if step != name
    }
    assert (found[name].outcome, found[name].detail) == ("not needed", "the tree has no such fault")


@pytest.mark.parametrize(("name", "changed"), UNKNOWN)
def test_a_fault_in_unknown_words_is_a_conflict(tmp_path: Path, name: str, changed: Files) -> None:
    found = reports(tree(tmp_path, changed)).values()
    (conflict,) = (report for report in found if report.outcome == "conflict")
    assert name in conflict.patch


def test_a_tree_that_has_no_such_script_needs_none(tmp_path: Path) -> None:
    source = tree(tmp_path)
    for step, name in (("timeconst", PERL), ("gcc-goto", GOTO)):
        (source.tree / name).unlink()
        assert is_sound(source.target, scripts()[step], source.tree)


def test_looking_for_faults_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, temporary = tree(tmp_path), tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    for script in scripts().values():
        assert not is_sound(source.target, script, source.tree)
    assert list(temporary.iterdir()) == []


def test_a_make_cmd_that_doubles_no_backslashes(tmp_path: Path) -> None:
    shorter = r"$(subst \#,\\\#,$(subst $$,$$$$,$(call escsq,$(cmd_$(1)))))"
    source = tree(tmp_path, variant(MAKE, KBUILD, (OLD_MAKE_CMD, shorter)))
    found = {name: report.outcome for name, report in reports(source).items() if "cmd" in name}
    assert found == {"make-cmd-without-backslashes": "applies"}
    mend(source)
    assert is_sound(source.target, scripts()["make-cmd"], source.tree)


def test_a_compiler_that_is_not_there_says_nothing_of_the_tree(tmp_path: Path) -> None:
    source = tree(tmp_path, ALL_GCC)
    other = replace(source.target, cross_compile="no-such-")
    for name in ("compiler-gcc", "put-user", "gcc-goto"):
        assert not is_sound(other, scripts()[name], source.tree)


def test_the_key_of_a_kernel_has_what_the_choice_depends_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = inputs(GOLDFISH_3_4)
    assert {f"fault: {name}.sh" for name in STEPS} <= set(before)
    version = (tool_version(GOLDFISH_3_4, "perl") or (5,))[0] + 1
    monkeypatch.setattr("harness.build.patching.tool_version", lambda *_: (version,))
    assert inputs(GOLDFISH_3_4)["tool: perl"] != before["tool: perl"]


# --- put_user(), compiled -----------------------------------------------------

TYPES = {
    "signed char": "c",
    "unsigned char": "uc",
    "short": "s",
    "unsigned short": "us",
    "int": "i",
    "unsigned long": "ul",
    "char *": "p",
    "long long": "ll",
    "unsigned long long": "ull",
    "_Bool": "b",
}
VALUES = ("0", "1", "-1", "0x7fffffff", "!a", "a", "a + 1", "a * b + 3", "other(a)", "a ? 0 : b")
PLACES = ("p", "p + 1", "p + a", "place(p, a)", "place(p, other(b))")
HEAD = """\
#define __user
#define __asmeq(x, y) ".ifnc " x "," y " ; .err ; .endif\\n\\t"
struct thread_info { unsigned long addr_limit; };
extern struct thread_info *current_thread_info(void);
extern int other(int a);
"""


def callers() -> str:
    """A caller of put_user() for each type, value and place."""
    lines = []
    for kind, short in TYPES.items():
        lines.append(f"extern {kind} *place_{short}({kind} *p, int a);")
        for number, value in enumerate(VALUES):
            for other, place in enumerate(PLACES):
                at = place.replace("place", f"place_{short}")
                lines.append(
                    f"int put_{short}_{number}_{other}({kind} *p, int a, int b)"
                    f" {{ return put_user(({kind})({value}), {at}); }}"
                )
    return "\n".join(lines) + "\n"


# Each compiler as the kernel calls it, and the first one at all levels.
BUILDS = [(prefix, "-O2") for prefix in COMPILERS]
BUILDS += [(prefix, level) for prefix in COMPILERS[:1] for level in ("-O1", "-O3", "-Os")]


@pytest.mark.parametrize(("prefix", "level"), BUILDS)
def test_put_user_compiles(tmp_path: Path, prefix: str, level: str) -> None:
    source = replace(tree(tmp_path), target=target(prefix))
    mend(source)
    header = (source.tree / UACCESS).read_text()
    (tmp_path / "put_user.c").write_text(HEAD + header + callers())
    flags = GOLDFISH_3_4.make_variables[0].removeprefix("KCFLAGS=").split()
    made = subprocess.run(
        # As 3.4 itself, whose code has no floating point numbers.
        [f"{prefix}gcc", *flags, "-msoft-float", level, "-w", "-c", "put_user.c"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
