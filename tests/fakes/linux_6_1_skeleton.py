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
        31: "#include <linux/memremap.h>",
        32: "",
        **{
            number: line
            for first, call in (
                (2194, "add_return(value, "),
                (2201, "inc_return("),
                (2208, "dec_return("),
            )
            for number, line in (
                (first, "{"),
                (first + 1, f"\tlong count = atomic_long_{call}&mm->rss_stat.count[member]);"),
                (first + 2, ""),
                (first + 3, "\tmm_trace_rss_stat(mm, member, count);"),
                (first + 4, "}"),
            )
        },
    },
    "include/linux/mm_types.h": {706: "\t\tstruct work_struct async_put_work;", 707: ""},
    "include/linux/sched.h": {874: "\tstruct task_rss_stat\t\trss_stat;", 875: "#endif"},
    "init/init_task.c": {59: "", 60: "/*"},
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
        1218: "\texit_aio(mm);",
        1219: "\tksm_exit(mm);",
        2597: "\tproc_fork_connector(p);",
        2598: "\tsched_post_fork(p);",
    },
    "kernel/sys_ni.c": {481: "COND_SYSCALL(rseq);"},
    "mm/memory.c": {
        178: "\t\t\tadd_mm_counter(mm, i, current->rss_stat.count[i]);",
        179: "\t\t\tcurrent->rss_stat.count[i] = 0;",
        180: "\t\t}",
        182: "\tcurrent->rss_stat.events = 0;",
        183: "}",
        202: "\t\treturn;",
        203: "\tif (unlikely(task->rss_stat.events++ > TASK_RSS_EVENTS_THRESH))",
        204: "\t\tsync_mm_rss(task->mm);",
        205: "}",
        4598: "",
        4599: "\treturn vmf->vma->vm_ops->map_pages(vmf, start_pgoff, end_pgoff);",
        5274: "\tcheck_sync_rss_stat(current);",
        5275: "",
    },
    "mm/page_alloc.c": {
        5645: "\tgfp = current_gfp_context(gfp);",
        5646: "\talloc_gfp = gfp;",
    },
    "arch/arm/tools/syscall.tbl": {
        466: "450\tcommon\tset_mempolicy_home_node\t\tsys_set_mempolicy_home_node"
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
