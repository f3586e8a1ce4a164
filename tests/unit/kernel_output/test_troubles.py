# SPDX-License-Identifier: MIT
"""The table of troubles, and its readers: the console, the judge of the log, the cutter."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.kernel_output.klog import find_trouble
from harness.kernel_output.reports import find_reports
from harness.kernel_output.troubles import LINES, trouble_in
from harness.machine import console

LOGS = sorted((Path(__file__).parents[1] / "kernel_logs").glob("*.log"))

# The kinds of trouble, by the console's name for them; empty if a session goes on.
KINDS = {
    "kernel panic": ["panic"],
    "kernel oops": ["oops"],
    "kernel bug": [
        *("BUG", "KASAN report", "sanitizer report"),
        *("scheduling while atomic", "sleep in atomic context"),
    ],
    **{kind: [kind] for kind in ("soft lockup", "hard lockup", "hung task", "RCU stall")},
    "": [
        *("UBSAN report", "lockdep report", "WARNING", "object error", "memory leak"),
        *("stock OOM kill", "allocation failure"),
    ],
}
CONSOLE = {kind: name for name, kinds in KINDS.items() for kind in kinds}
NULL = "kernel NULL pointer dereference"
PROTECTION = "general protection fault"
SLEEP = "BUG: sleeping function called from invalid context"

# What a broken kernel says, by kind, and the title of the report that begins there.
BROKEN: dict[str, list[tuple[str, str | None]]] = {
    "panic": [
        ("Kernel panic - not syncing: Fatal exception", "kernel panic: Fatal exception"),
        ("Kernel panic - not syncing", "kernel panic"),
        ("---[ end Kernel panic - not syncing: Fatal exception ]---", None),
    ],
    "KASAN report": [
        ("BUG: KASAN: use-after-free in f+0x1/0x2", "KASAN: use-after-free in f"),
        ("BUG: KASAN: slab-out-of-bounds in f+0x1/0x2 at addr 1", "KASAN: slab-out-of-bounds in f"),
    ],
    "sanitizer report": [
        ("BUG: KFENCE: memory corruption in f+0x1/0x2", "KFENCE: memory corruption in f"),
        ("BUG: KCSAN: data-race in f / g", "KCSAN: data-race in f"),
        ("BUG: KMSAN: uninit-value in f+0x1/0x2", "KMSAN: uninit-value in f"),
    ],
    "UBSAN report": [
        ("UBSAN: shift-out-of-bounds in mm/x.c:12:3", "UBSAN: shift-out-of-bounds"),
        ("UBSAN: Undefined behaviour in mm/x.c:12:3", "UBSAN: Undefined behaviour"),
    ],
    "soft lockup": [
        ("watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [a:70]", "BUG: soft lockup"),
        ("NMI watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [a:70]", "BUG: soft lockup"),
        ("BUG: soft lockup - CPU#1 stuck for 22s! [a:70]", "BUG: soft lockup"),
    ],
    "hard lockup": [
        ("NMI watchdog: Watchdog detected hard LOCKUP on cpu 0", "BUG: hard lockup"),
        ("watchdog: CPU0: Watchdog detected hard LOCKUP on cpu 1", "BUG: hard lockup"),
        ("Watchdog detected hard LOCKUP on cpu 0", "BUG: hard lockup"),
    ],
    "scheduling while atomic": [
        ("BUG: scheduling while atomic: a/70/0x2", "BUG: scheduling while atomic"),
    ],
    "sleep in atomic context": [
        (f"{SLEEP} at mm/slab.h:494", SLEEP),
    ],
    "oops": [
        # 32-bit ARM.
        ("Alignment trap: not handling instruction e1932f9f at [<8028bd58>]", "alignment trap"),
        ("Unhandled fault: external abort (0x1008) at 0x1", "Unhandled fault: external abort"),
        ("Unhandled prefetch abort: x (0x1008) at 0x1", "Unhandled prefetch abort: x"),
        (f"Unable to handle {NULL} at virtual address 00000008", NULL),
        (
            "Unable to handle kernel paging request at virtual address dead4ead",
            "unable to handle kernel paging request",
        ),
        ("Internal error: Oops: 805 [#1] SMP ARM", "Oops"),
        ("Internal error: Oops - BUG: 0 [#1] SMP ARM", "kernel BUG"),
        ("Internal error: : 1008 [#1] SMP ARM", "internal error"),
        ("Insufficient stack space to handle exception!", "kernel stack overflow"),
        # arm64.
        ("Unhandled fault at 0xffff800082a00000", "Unhandled fault"),
        ("Bad mode in Error handler detected on CPU0, code 0xbf000000", "unhandled exception"),
        ("SError Interrupt on CPU0, code 0xbf000002 -- SError", "unhandled exception"),
        ("Unhandled 64-bit el1h sync exception on CPU0, ESR 0x2", "unhandled exception"),
        (
            "Internal error: synchronous external abort: 0000000096000010 [#1] SMP",
            "synchronous external abort",
        ),
        # x86.
        (f"BUG: {NULL}, address: 0000000000000008", NULL),
        (f"BUG: unable to handle {NULL} at 0000000000000008", NULL),
        (
            "BUG: unable to handle page fault for address: ffffffffdeadbeef",
            "unable to handle kernel page fault",
        ),
        ("Oops: 0002 [#1] PREEMPT SMP", "oops"),
        ("Oops: Oops: 0002 [#1] PREEMPT SMP NOPTI", "oops"),
        (f"{PROTECTION}: 0000 [#1] SMP", PROTECTION),
        (f"Oops: {PROTECTION}, maybe for address 0x0: 0000 [#1] SMP", PROTECTION),
        ("divide error: 0000 [#1] SMP", "divide error"),
        ("traps: PANIC: double fault, error_code: 0x0", "PANIC: double fault"),
        (
            "BUG: TASK stack guard page was hit at 0000000012345678 (stack is 0..1)",
            "BUG: stack guard page was hit",
        ),
    ],
    "hung task": [
        ("INFO: task a b:70 blocked for more than 120 seconds.", "INFO: task hung"),
        ("INFO: task a:70 blocked in I/O wait for more than 143 seconds.", "INFO: task hung"),
    ],
    "RCU stall": [
        ("rcu: INFO: rcu_sched self-detected stall on CPU", "INFO: rcu detected stall"),
        (
            "rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: {",
            "INFO: rcu detected stall",
        ),
        ("INFO: rcu_sched_state detected stalls on CPUs/tasks: {}", "INFO: rcu detected stall"),
    ],
    "lockdep report": [
        ("WARNING: possible circular locking dependency detected", "possible deadlock"),
        ("WARNING: possible irq lock inversion dependency detected", "possible deadlock"),
        ("[ INFO: possible recursive locking detected ]", "possible deadlock"),
        ("WARNING: HARDIRQ-safe -> HARDIRQ-unsafe lock order detected", "possible deadlock"),
        ("WARNING: inconsistent lock state", "inconsistent lock state"),
        ("[ INFO: suspicious RCU usage. ]", "WARNING: suspicious RCU usage"),
        ("INFO: trying to register non-static key.", "INFO: trying to register non-static key"),
        ("[ BUG: bad unlock balance detected! ]", "BUG: bad unlock balance"),
        ("WARNING: Nested lock was not taken", "WARNING: Nested lock was not taken"),
        ("WARNING: a/70 still has locks held!", "WARNING: locks still held"),
        ("[ BUG: a/70 still has locks held! ]", "WARNING: locks still held"),
    ],
    "BUG": [
        ("------------[ cut here ]------------", "report cut off behind its first line"),
        ("kernel BUG at mm/slub.c:43!", "kernel BUG at mm/slub.c:43"),
        ("Kernel BUG at f+0x1/0x2", "Kernel BUG"),
        ("BUG: Bad page state in process a  pfn:1", "BUG: Bad page state"),
        ("BUG: Bad rss-counter state mm:1 type:MM_FILEPAGES val:2", "BUG: Bad rss-counter state"),
        ("BUG: workqueue lockup - pool cpus=0 stuck for 31s!", "BUG: workqueue lockup"),
        (
            "BUG: using smp_processor_id() in preemptible [00000000] code: a/70",
            "BUG: using smp_processor_id() in preemptible code",
        ),
        ("BUG: key 12 has not been registered!", "BUG: key 12 has not been registered!"),
        (
            "BUG kmalloc-64 (Not tainted): Poison overwritten",
            "BUG: Poison overwritten in cache kmalloc-64",
        ),
        ("usercopy: Kernel memory exposure attempt detected", "BUG: bad usercopy"),
    ],
    "WARNING": [
        ("WARNING: CPU: 0 PID: 70 at mm/x.c:1 f+0x1/0x2", "WARNING in f"),
        ("WARNING: at mm/x.c:1 f+0x1/0x2()", "WARNING in f"),
        ("WARNING: mm/x.c:1 at f+0x1/0x2, CPU#0: a/70", "WARNING in f"),
        ("WARNING: CPU: 0 PI", "WARNING"),
        ("WARNING: the words of a driver", "WARNING: the words of a driver"),
    ],
    "object error": [
        ("refcount_t: underflow; use-after-free.", "WARNING: refcount bug"),
        ("WARNING: CPU: 0 PID: 1 at refcount_warn_saturate+0x1/0x2", "WARNING: refcount bug"),
        ("ODEBUG: free active (active state 0) object type: timer_list", "WARNING: ODEBUG bug"),
        ("WARNING: at lib/debugobjects.c:262 debug_print_object+0x1/0x2()", "WARNING: ODEBUG bug"),
    ],
    "memory leak": [
        ("kmemleak: 3 new suspected memory leaks (see /x)", "memory leak"),
        ("kmemleak: unreferenced object 0x8162a400 (size 64):", "memory leak"),
    ],
    "stock OOM kill": [
        ("Out of memory: Killed process 70 (a)", None),
        ("a b invoked oom-killer: gfp_mask=0x1, order=0", None),
        ("lowmemorykiller: Killing 'a' (70), adj 9,", None),
        ("Killing 'a' (70), adj 9,", None),
        ("send sigkill to 70 (a), adj 9, size 4096", None),
    ],
    "allocation failure": [
        ("a: page allocation failure: order:4, mode:0x20", None),
        ("SLUB: Unable to allocate memory on node -1", None),
    ],
}
EXAMPLES = [(kind, text, title) for kind, rows in BROKEN.items() for text, title in rows]

# What a kernel says that is well, or what somebody printed: a driver, --patch, a process's name.
WELL = [
    "8<--- cut here ---",
    "uid=10070,\tuRSS=1,\tcomm=Kernel panic - not syncing",
    "mark: BUG: this test is about bugs",
    "Linux version 6.1 (BUG: none)",
    "EDAC DEBUG: edac_mc_init: created",
    "DEBUG: this is a debug line",
    "no BUG here",
    "There is no BUG: none",
    "mm_limits: DEBUG: scanning",
    "usb 1-1: BUG: told by a driver",
    "driver: WARNING: the firmware is old",
    "ODEBUGGING: on",
    "ODEBUG: 6 of 6 active objects replaced",
    "ODEBUG: selftest passed",
    "mydriver: Internal error: retrying",
    "mydriver: Oops: never mind",
    "mydriver: Kernel panic - not syncing is what we avoid",
    "cmdline: oops=panic panic=-1 WARNING: none",
    "audit: comm=BUG: x",
    "Modules linked in: BUG:",
    "driver: Unable to handle kernel version 7",
    "Unable to handle the request",
    "driver: Unhandled fault: none",
    "Unhandled faultless reset",
    "Alignment trap: a (70) PC=0x00010abc Instr=0xe5932001 Address=0x00000001 FSR 0x001",
    "SError Interrupts are masked",
    "PANIC: none",
    "driver: task a blocked for more than 3 seconds",
    "driver: INFO: task a blocked for more than 3 seconds",
    "INFO: lockdep is turned off.",
    "INFO: NMI handler (perf_event_nmi_handler) took too long to run: 2.1 msecs",
    "driver: detected stalls of the FIFO, rcu is well",
    "rcu: Hierarchical RCU implementation.",
    "driver: inconsistent lock state of the PLL",
    "driver: kmemleak: 3 new suspected memory leaks are a joke",
    "kmemleak: Kernel memory leak detector initialized (mem pool available: 1)",
    "selftest: refcount_t: passed",
    "driver: Out of memory: 3",
    "Call trace format: v2",
    "panic_on_oops is 0",
    "Oopsie",
    "systemd[1]: Kernel panic - not syncing was yesterday",
    "general protection fault handler installed",
    "traps: a[70] general protection fault ip:401000 sp:7ffc0000 error:0 in a[401000+1000]",
]
# What a healthy kernel writes behind the name of a process.
BEHIND_A_NAME = [
    "[70]: segfault at 8 ip 0000000000401000 sp 00007ffc00000000 error 4 in a[401000+1000]",
    "[70]: unhandled exception: DABT (lower EL), ESR 0x92000004, at address 0x8",
    ": unhandled page fault (11) at 0x00000008, code 0x017",
    " (70): undefined instruction: pc=00010abc",
    " (70): drop_caches: 3",
    " (70) used greatest stack depth: 5120 bytes left",
    " (70): /proc/70/oom_adj is deprecated, please use /proc/70/oom_score_adj instead.",
    "/70: potentially unexpected fatal signal 11.",
]


def check_innocent(line: str) -> None:
    assert console.find_trouble(line) == ""
    assert find_trouble(f"{line}\n") == ()
    assert find_reports(f"{line}\n") == ()


@pytest.mark.parametrize(("kind", "text", "title"), EXAMPLES, ids=[row[1] for row in EXAMPLES])
def test_the_readers_agree_on_what_is_broken(kind: str, text: str, title: str | None) -> None:
    cut_off = text.startswith("------------[ cut here ]")
    # The last one stands behind a prompt, on a console.
    for start in ("<6>[    1.000000] ", "[    1.000000][   T70] ", "~ # [    1.000000] "):
        line = f"{start}{text}"
        (trouble,) = find_trouble(f"{line}\n", levels_tell=False)
        assert (trouble.kind, trouble.fatal) == (kind, kind == "panic")
        assert console.find_trouble(line) == ("" if cut_off else CONSOLE[kind])
        reports = [(report.kind, report.title) for report in find_reports(f"{line}\n")]
        assert reports == ([] if title is None else [(kind, title)])


def test_each_line_of_the_table_has_an_example() -> None:
    found = [trouble_in(text) for _, text, _ in EXAMPLES]
    assert [row for row in LINES if row not in [one and one.line for one in found]] == []


def test_what_one_reader_does_not_know_has_a_reason() -> None:
    assert {row.kind.name for row in LINES} == set(CONSOLE) == set(BROKEN)
    for row in LINES:
        assert bool(row.kind.console) != bool(row.kind.goes_on)
    # Reports, by contrast, begin with all lines but these.
    untitled = {trouble_in(text) for _, text, title in EXAMPLES if title is None}
    assert {one.line.no_report != "" for one in untitled if one} == {True}


@pytest.mark.parametrize("path", LOGS, ids=lambda path: path.stem)
def test_the_readers_agree_on_saved_logs(path: Path) -> None:
    reports = find_reports(path.read_bytes().decode("latin-1").split("\n", 1)[1])
    for report in reports:
        names = filter(None, map(console.find_trouble, report.text.splitlines()))
        cut_off = report.title == "report cut off behind its first line"
        assert next(names, "") == ("" if cut_off else CONSOLE[report.kind])
        troubles = find_trouble(report.text, levels_tell=False)
        assert report.kind in {trouble.kind for trouble in troubles}
        panics = "Kernel panic - not syncing" in report.text
        assert any(trouble.fatal for trouble in troubles) == panics


@pytest.mark.parametrize("text", WELL)
def test_the_readers_agree_on_what_is_well(text: str) -> None:
    for start in ("<7>[    1.000000] ", "[    1.000000][   T70] ", "~ # [    1.000000] "):
        check_innocent(f"{start}{text}")


@pytest.mark.parametrize("behind", BEHIND_A_NAME)
def test_a_process_may_be_called_like_a_trouble(behind: str) -> None:
    for name in {text[:15] for _, text, _ in EXAMPLES} | {"BUG: ", "WARNING: ", "Oops: \\x0a"}:
        check_innocent(f"<6>[    1.000000] {name}{behind}")


@pytest.mark.parametrize("name", ["BUG: ", "WARNING: a", "Oops: ", "Internal error:", "UBSAN: a"])
def test_the_name_of_a_process_is_no_trouble_of_its_own(name: str) -> None:
    for text, kind in (
        (f"{name} invoked oom-killer: gfp_mask=0x1, order=0", "stock OOM kill"),
        (f"{name}: page allocation failure: order:4, mode:0x20", "allocation failure"),
    ):
        line = f"<4>[    1.000000] {text}"
        assert [trouble.kind for trouble in find_trouble(f"{line}\n")] == [kind]
        assert console.find_trouble(line) == ""
        assert find_reports(f"{line}\n") == ()


@pytest.mark.parametrize("text", [text for _, text, _ in EXAMPLES])
def test_what_a_program_writes_breaks_no_kernel(text: str) -> None:
    # To the console, with no time or one of its own; to the log, where the kernel adds a facility.
    for start in ("", "~ # ", "[1.0] ", "init: ", "<12>[    1.000000] ", "~ # <12>[    1.000000] "):
        check_innocent(f"{start}{text}")
    # In the log only the kernel writes a level below 8; on a console anybody does.
    assert console.find_trouble(f"<4>{text}") == ""
