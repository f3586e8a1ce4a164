# SPDX-License-Identifier: MIT
"""Skeletons of the known 6.1 trees: only the context lines of the series' hunks.

Other lines differ from tree to tree. The line numbers are those of the tree that a form is named
after. Between the lines there is only filler.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from goldfish_skeleton import Lines, filled

# By file, as in Debian's 6.1.192.
_DEBIAN: Mapping[str, Lines] = {
    "mm/Kconfig": {1185: 'source "mm/damon/Kconfig"', 1186: "", 1187: "endmenu"},
    "mm/Makefile": {
        128: "obj-$(CONFIG_DAMON) += damon/",
        129: "obj-$(CONFIG_HARDENED_USERCOPY) += usercopy.o",
    },
    "include/linux/mm.h": {
        15: "#include <linux/mmap_lock.h>",
        16: "#include <linux/range.h>",
        2193: "{",
        2194: "\tlong count = atomic_long_add_return(value, &mm->rss_stat.count[member]);",
        2195: "",
        2196: "\tmm_trace_rss_stat(mm, member, count);",
        2200: "{",
        2201: "\tlong count = atomic_long_inc_return(&mm->rss_stat.count[member]);",
        2202: "",
        2203: "\tmm_trace_rss_stat(mm, member, count);",
        2207: "{",
        2208: "\tlong count = atomic_long_dec_return(&mm->rss_stat.count[member]);",
        2209: "",
        2210: "\tmm_trace_rss_stat(mm, member, count);",
    },
    "include/linux/mm_types.h": {
        706: "\t\tstruct work_struct async_put_work;",
        707: "",
    },
    "include/linux/sched.h": {
        874: "\tstruct task_rss_stat\t\trss_stat;",
        875: "#endif",
    },
    "init/init_task.c": {
        59: "",
        60: "/*",
    },
    "kernel/cred.c": {
        17: "#include <linux/cn_proc.h>",
        18: "#include <linux/uidgid.h>",
        504: "\talter_cred_subscribers(old, -2);",
        505: "",
    },
    "kernel/fork.c": {
        807: "\tmmu_notifier_subscriptions_destroy(mm);",
        808: "\tcheck_mm(mm);",
        1185: "\tmm->user_ns = get_user_ns(user_ns);",
        1186: "\tlru_gen_init_mm(mm);",
        1213: "\tVM_BUG_ON(atomic_read(&mm->mm_users));",
        1214: "",
        1564: "",
        1565: "\tmm->hiwater_rss = get_mm_rss(mm);",
        2595: "\tproc_fork_connector(p);",
        2596: "\tsched_post_fork(p);",
    },
    "kernel/sys_ni.c": {481: "COND_SYSCALL(rseq);"},
    "mm/gup.c": {
        1006: "\t\tfault_flags |= FAULT_FLAG_WRITE;",
        1007: "\tif (*flags & FOLL_REMOTE)",
        1008: "\t\tfault_flags |= FAULT_FLAG_REMOTE;",
    },
    "mm/memory.c": {
        175: "",
        176: "\tfor (i = 0; i < NR_MM_COUNTERS; i++) {",
        184: "",
        185: "static void add_mm_counter_fast(struct mm_struct *mm, int member, int val)",
        188: "",
        189: "\tif (likely(task->mm == mm))",
        190: "\t\ttask->rss_stat.count[member] += val;",
        198: "#define TASK_RSS_EVENTS_THRESH\t(64)",
        199: "static void check_sync_rss_stat(struct task_struct *task)",
        200: "{",
        201: "\tif (unlikely(task != current))",
        202: "\t\treturn;",
        203: "\tif (unlikely(task->rss_stat.events++ > TASK_RSS_EVENTS_THRESH))",
        204: "\t\tsync_mm_rss(task->mm);",
        205: "}",
        210: "",
        211: "static void check_sync_rss_stat(struct task_struct *task)",
        212: "{",
        213: "}",
        500: "",
        501: "static inline void add_mm_rss_vec(struct mm_struct *mm, int *rss)",
        502: "{",
        506: "\t\tsync_mm_rss(mm);",
        507: "\tfor (i = 0; i < NR_MM_COUNTERS; i++)",
        508: "\t\tif (rss[i])",
        509: "\t\t\tadd_mm_counter(mm, i, rss[i]);",
        510: "}",
        1036: "\tstruct page *prealloc = NULL;",
        1037: "",
        1114: "\tpte_unmap(orig_src_pte);",
        1115: "\tadd_mm_rss_vec(dst_mm, rss);",
        1116: "\tpte_unmap_unlock(orig_dst_pte, dst_ptl);",
        1118: "",
        1119: "\tif (ret == -EIO) {",
        1866: "\tget_page(page);",
        1867: "\tinc_mm_counter_fast(vma->vm_mm, mm_counter_file(page));",
        1868: "\tpage_add_file_rmap(page, vma, false);",
        4598: "",
        4599: "\treturn vmf->vma->vm_ops->map_pages(vmf, start_pgoff, end_pgoff);",
        5273: "\t/* do counter updates before entering really critical section. */",
        5274: "\tcheck_sync_rss_stat(current);",
        5275: "",
    },
    "arch/arm/tools/syscall.tbl": {
        466: "450\tcommon\tset_mempolicy_home_node\t\tsys_set_mempolicy_home_node"
    },
    "fs/exec.c": {
        1033: "\ttask_unlock(tsk);",
        1034: "\tlru_gen_use_mm(mm);",
        1327: "\tacct_arg_size(bprm, 0);",
        1328: "\tretval = exec_mmap(bprm->mm);",
    },
    "include/linux/resume_user_mode.h": {
        8: "#include <linux/memcontrol.h>",
        9: "#include <linux/blk-cgroup.h>",
        59: "\tblkcg_maybe_throttle_current();",
        60: "",
    },
    "kernel/exit.c": {
        570: "\tmmap_read_unlock(mm);",
        571: "\tmm_update_next_owner(mm);",
    },
    "kernel/signal.c": {
        17: "#include <linux/sched/mm.h>",
        18: "#include <linux/sched/user.h>",
        2657: "\tint signr;",
        2658: "",
        2659: "\tclear_notify_signal();",
        2660: "\tif (unlikely(task_work_pending(current)))",
    },
}
# The files in which another tree has a line elsewhere, or another line beside it.
_OTHERS: Mapping[str, Mapping[str, Lines]] = {
    "Debian's 6.1.192": {},
    # The first 6.1 of the stable tree.
    "6.1.0": {"mm/Kconfig": {1153: 'source "mm/damon/Kconfig"', 1154: "", 1155: "endmenu"}},
    "android14-6.1": {
        "mm/Kconfig": {
            1340: "config ONE_OF_ANDROIDS",
            1341: "\tbool",
            1342: '\tdefault "n"',
            1343: "",
            1344: "endmenu",
        },
        "include/linux/mm.h": {
            **_DEBIAN["include/linux/mm.h"],
            32: "#include <linux/android_kabi.h>",
            33: "",
        },
        "kernel/cred.c": {**_DEBIAN["kernel/cred.c"], 506: "\ttrace_android_of_credentials(old);"},
    },
}
FORMS = tuple(_OTHERS)
# These files end with the line after which the patch adds lines.
_TO_THE_END = ("kernel/sys_ni.c", "arch/arm/tools/syscall.tbl")


def files_of(form: str) -> dict[str, Lines]:
    """Return the lines of a tree, by file."""
    return {**_DEBIAN, **_OTHERS[form]}


def write_6_1_skeleton(folder: Path, form: str, shift: int = 0) -> None:
    """Write the skeleton of a tree, with its lines `shift` lines further down."""
    for name, lines in files_of(form).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        behind = 0 if name in _TO_THE_END else 20
        path.write_text("\n".join(filled(lines, shift, behind)) + "\n")
