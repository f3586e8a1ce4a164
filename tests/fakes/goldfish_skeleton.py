# SPDX-License-Identifier: MIT
"""Skeletons of goldfish 3.4 trees: only the context lines of the series' hunks, in their places.

The line numbers are those of public 3.4 trees, as far as they are known. Between the lines there
is only filler.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

Lines = Mapping[int, str]

# A put_user() of our own: only the lines that the patch replaces, and the operands' places, are
# those of 3.4.
PUT_USER = r"""#define call_put_user(result, pointer, value, limit, bytes) \
	asm volatile(__asmeq("%0", "r0") __asmeq("%2", "r2") __asmeq("%3", "r1") \
		"bl __put_user_" #bytes \
		: "=&r"(result) : "0"(pointer), "r"(value), "r"(limit) : "ip", "lr", "cc")
#define put_user(x, p) \
	({ \
		unsigned long most = current_thread_info()->addr_limit - 1; \
		register const typeof(*(p)) __r2 asm("r2") = (x);	\
		register const typeof(*(p)) __user *__p asm("r0") = (p);\
		register unsigned long bound asm("r1") = most; \
		register int answer asm("r0"); \
		if (sizeof(*__p) == 1) \
			call_put_user(answer, __p, __r2, bound, 1); \
		else if (sizeof(*__p) == 2) \
			call_put_user(answer, __p, __r2, bound, 2); \
		else if (sizeof(*__p) == 4) \
			call_put_user(answer, __p, __r2, bound, 4); \
		else \
			call_put_user(answer, __p, __r2, bound, 8); \
		answer; \
	})
"""

# Prints "y" if the compiler accepts the address of a variable as a constant.
GOTO_SH = """\
#!/bin/sh



cat << "END" | $@ -x c - -c -o /dev/null >/dev/null 2>&1 && echo "y"
int main(void)
{
	static int word;

	asm goto (".long %c0" :: "i" (&word) :: out);
out:
	return 0;
}
END
"""

SKELETON: Mapping[str, Lines] = {
    "Makefile": {1: "VERSION = 3", 2: "PATCHLEVEL = 4", 3: "SUBLEVEL = 67", 4: "EXTRAVERSION ="},
    "mm/Kconfig": {223: "", 224: "config KSM"},
    "mm/Makefile": {
        41: "obj-$(CONFIG_KSM) += ksm.o",
        42: "obj-$(CONFIG_PAGE_POISONING) += debug-pagealloc.o",
    },
    "include/linux/mm.h": {
        16: "#include <linux/mm_types.h>",
        17: "#include <linux/range.h>",
        1099: "{",
        1100: "\tatomic_long_add(value, &mm->rss_stat.count[member]);",
        1104: "{",
        1105: "\tatomic_long_inc(&mm->rss_stat.count[member]);",
        1109: "{",
        1110: "\tatomic_long_dec(&mm->rss_stat.count[member]);",
    },
    "include/linux/mm_types.h": {
        374: "",
        375: "\tstruct core_state *core_state; /* coredumping support */",
    },
    "include/linux/compiler-gcc.h": {
        88: "#define __gcc_header(x) #x",
        89: "#define _gcc_header(x) __gcc_header(linux/compiler-gcc##x.h)",
        90: "#define gcc_header(x) _gcc_header(x)",
        91: "#include gcc_header(__GNUC__)",
    },
    "scripts/Kbuild.include": {
        203: "# in $(cmd_xxx) double $$ your perl vars",
        204: r"make-cmd = $(subst \\,\\\\,$(subst \#,\\\#,$(subst $$,$$$$,"
        "$(call escsq,$(cmd_$(1))))))",
        205: "",
    },
    "scripts/gcc-goto.sh": dict(enumerate(GOTO_SH.splitlines(), start=1)),
    "arch/arm/include/asm/uaccess.h": dict(enumerate(PUT_USER.splitlines(), start=167)),
    "arch/arm/include/asm/unistd.h": {
        404: "#define __NR_setns\t\t\t(__NR_SYSCALL_BASE+375)",
        405: "#define __NR_process_vm_readv\t\t(__NR_SYSCALL_BASE+376)",
        406: "#define __NR_process_vm_writev\t\t(__NR_SYSCALL_BASE+377)",
    },
    "arch/arm/kernel/entry-common.S": {
        94: "\t.equ NR_syscalls,0",
        95: "#define CALL(x) .equ NR_syscalls,NR_syscalls+1",
        96: '#include "calls.S"',
        97: "#undef CALL",
        98: "#define CALL(x) .long x",
        99: "",
    },
    "arch/arm/kernel/init_task.c": {
        14: "",
        15: "static struct signal_struct init_signals = INIT_SIGNALS(init_signals);",
    },
    "include/linux/sched.h": {
        1334: "#endif",
        1335: "/* task state */",
    },
    "kernel/cred.c": {
        20: "#include <linux/cn_proc.h>",
        21: "",
        524: "\talter_cred_subscribers(old, -2);",
        525: "",
    },
    "kernel/fork.c": {
        525: "\t\tmmu_notifier_mm_init(mm);",
        526: "\t\treturn mm;",
        576: "\tmmu_notifier_mm_destroy(mm);",
        577: "\tcheck_mm(mm);",
        589: "\tif (atomic_dec_and_test(&mm->mm_users)) {",
        590: "\t\texit_aio(mm);",
        835: "",
        836: "\tmm->hiwater_rss = get_mm_rss(mm);",
        856: "\t */",
        857: "\tmm_free_pgd(mm);",
        1469: "\tproc_fork_connector(p);",
        1470: "\tcgroup_post_fork(p);",
    },
    "mm/memory.c": {
        131: "",
        132: "\tfor (i = 0; i < NR_MM_COUNTERS; i++) {",
        140: "",
        141: "static void add_mm_counter_fast(struct mm_struct *mm, int member, int val)",
        142: "{",
        144: "",
        145: "\tif (likely(task->mm == mm))",
        146: "\t\ttask->rss_stat.count[member] += val;",
        154: "#define TASK_RSS_EVENTS_THRESH\t(64)",
        155: "static void check_sync_rss_stat(struct task_struct *task)",
        156: "{",
        157: "\tif (unlikely(task != current))",
        158: "\t\treturn;",
        159: "\tif (unlikely(task->rss_stat.events++ > TASK_RSS_EVENTS_THRESH))",
        160: "\t\tsync_mm_rss(task->mm);",
        161: "}",
        166: "",
        167: "static void check_sync_rss_stat(struct task_struct *task)",
        168: "{",
        169: "}",
        640: "",
        641: "static inline void add_mm_rss_vec(struct mm_struct *mm, int *rss)",
        642: "{",
        646: "\t\tsync_mm_rss(mm);",
        647: "\tfor (i = 0; i < NR_MM_COUNTERS; i++)",
        648: "\t\tif (rss[i])",
        649: "\t\t\tadd_mm_counter(mm, i, rss[i]);",
        650: "}",
        927: "\tswp_entry_t entry = (swp_entry_t){0};",
        928: "",
        966: "\tpte_unmap(orig_src_pte);",
        967: "\tadd_mm_rss_vec(dst_mm, rss);",
        968: "\tpte_unmap_unlock(orig_dst_pte, dst_ptl);",
        970: "",
        971: "\tif (entry.val) {",
        2041: "\tget_page(page);",
        2042: "\tinc_mm_counter_fast(mm, MM_FILEPAGES);",
        2043: "\tpage_add_file_rmap(page);",
        3538: "\t/* do counter updates before entering really critical section. */",
        3539: "\tcheck_sync_rss_stat(current);",
        3540: "",
    },
    "kernel/pid.c": {
        36: "#include <linux/pid_namespace.h>",
        37: "#include <linux/init_task.h>",
        50: "\tproc_root_number = PROC_PID_INIT_INO;",
    },
    "kernel/timeconst.pl": {
        372: "\t@val = @{$canned_values{$hz}};",
        373: "\tif (!defined(@val)) {",
        374: "\t\t@val = compute_values($hz);",
    },
    "fs/exec.c": {
        851: "\tarch_pick_mmap_layout(mm);",
        852: "\tif (old_mm) {",
        1115: "\tacct_arg_size(bprm, 0);",
        1116: "\tretval = exec_mmap(bprm->mm);",
    },
    "include/linux/tracehook.h": {
        48: "",
        49: "#include <linux/sched.h>",
        185: "static inline void tracehook_notify_resume(struct pt_regs *regs)",
        186: "{",
        187: "}",
    },
    "kernel/exit.c": {
        693: "\ttask_unlock(tsk);",
        694: "\tmm_update_next_owner(mm);",
    },
    "kernel/signal.c": {2206: "", 2207: "relock:"},
}

# How the table of syscalls goes on after 377, in different trees.
_PADDING = (
    "#ifndef syscalls_counted",
    ".equ syscalls_padding, ((NR_syscalls + 3) & ~3) - NR_syscalls",
    "#define syscalls_counted",
    "#endif",
    ".rept syscalls_padding",
    "\t\tCALL(sys_ni_syscall)",
    ".endr",
)
_HOLES = ("\t\tCALL(sys_ni_syscall)",) * 2 + ("/* 380 */\tCALL(sys_ni_syscall)",)
TABLE_TAILS: Mapping[str, tuple[str, ...]] = {
    "short": _PADDING,
    "short and spaced": ("", *_PADDING),
    "with seccomp": (
        *_HOLES,
        "\t\tCALL(sys_ni_syscall)",
        "\t\tCALL(sys_ni_syscall)",
        "\t\tCALL(sys_seccomp)",
        *_PADDING,
    ),
    "with seccomp, and comments": (
        "\t\tCALL(sys_ni_syscall)\t\t/* reserved sys_kcmp */",
        "\t\tCALL(sys_ni_syscall) /* CALL(sys_finit_module) */",
        "/* 380 */\tCALL(sys_ni_syscall)\t\t/* reserved sys_sched_setattr */",
        "\t\tCALL(sys_ni_syscall)\t\t/* reserved sys_sched_getattr */",
        "\t\tCALL(sys_ni_syscall)\t\t/* reserved sys_renameat2     */",
        "\t\tCALL(sys_seccomp)",
        "",
        *_PADDING,
    ),
}
_WRITEV_LINE = 389
FILLER = "/* filler {} */"


def table_lines(tail: str) -> list[str]:
    """Return a whole calls.S: 378 entries, which are named by number, and the tail `tail`."""
    entries = [f"\t\tCALL(sys_{number})" for number in range(378)]
    entries[0] = "/* 0 */\t\tCALL(sys_0)"
    entries[376] = "\t\tCALL(sys_process_vm_readv)"
    entries[377] = "\t\tCALL(sys_process_vm_writev)"
    head = [f"/* filler {number} */" for number in range(1, _WRITEV_LINE + 1 - len(entries))]
    return [*head, *entries, *TABLE_TAILS[tail]]


def filled(lines: Lines, shift: int = 0, behind: int = 20, filler: str = FILLER) -> list[str]:
    """Return a whole file: `lines`, moved down by `shift`, with filler between and after them."""
    last = max(lines) + shift + behind
    return [lines.get(n - shift, filler.format(n)) for n in range(1, last + 1)]


def write_skeleton(folder: Path, tail: str, shift: int = 0) -> None:
    """Write the skeleton of a tree, with its lines `shift` lines further down."""
    for name, lines in SKELETON.items():
        moved = 0 if name == "Makefile" else shift
        # A script is executed, so its filler has to be a shell's comment.
        filler = "# filler {}" if name.endswith(".sh") else FILLER
        _write(folder / name, filled(lines, moved, filler=filler))
    _write(folder / "arch/arm/kernel/calls.S", [*(["/* moved */"] * shift), *table_lines(tail)])


def _write(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
