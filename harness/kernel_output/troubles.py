# SPDX-License-Identifier: MIT
"""A table of what kernels write when something is wrong: how they announce it, and what follows.

The console, the judge of the log and the cutter of reports all read this one table. A line counts
only if the kernel's message begins with these words: anywhere else they come from a driver, a
process's name or a program.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, NamedTuple

FUNCTION = r"[A-Za-z_$][\w.$]*"
OFFSET = r"\+0x[0-9a-f]+/0x[0-9a-f]+"


@dataclass(frozen=True)
class Kind:
    """A kind of trouble.

    `console` is the console's name for it, and a session ends with it, because nothing can be
    trusted that the kernel does afterwards. If it is empty, `goes_on` says why a session goes on.
    """

    name: str
    console: str = ""
    goes_on: str = ""
    # Whether the kernel is dead after it.
    fatal: bool = False
    # Whether only a broken kernel writes it. A process may write into the log, too, and a
    # healthy kernel that is short of memory kills processes and refuses allocations.
    certain: bool = True
    # Whether a healthy kernel writes it, too, when its clock jumps: its host stood still meanwhile.
    by_clock: bool = False
    # Whether the report shows the registers of the place that it is about.
    registers: bool = False
    # Whether other CPUs write a part of the report.
    all_cpus: bool = False
    # A row of = ends a report that has a line which begins with this.
    row_after: str | None = None
    # What a panic says that only follows from such a report.
    panics: str = ""


@dataclass(frozen=True)
class Line:
    """A line that announces a trouble, from the beginning of the kernel's message.

    A report begins with it, unless `no_report` says why not. The report's title is `title`, filled
    in with the matched text ({0}), the expression's groups and {access} (KASAN's Read or Write),
    and the function that broke: the group `func`, or what is found by `place`. If no function is
    found, `alone` is the title. If several lines may announce one report, `step` is their order;
    those of step 1 may repeat.
    """

    kind: Kind
    expression: str
    title: str = "{0}"
    place: Literal["trace", "lock", ""] = "trace"
    step: int = 0
    alone: str = ""
    no_report: str = ""


class Found(NamedTuple):
    """The row of the table that a line matches, and the match."""

    line: Line
    match: re.Match[str]


_GOES_ON = "the kernel goes on as before, and the judge reads of it in the log"
_SHORT = "a healthy kernel that is short of memory writes it"
# The task that was in the kernel is killed; perhaps it was one that must not end.
_DEADLY = (
    r".*Fatal exception|Oops failed to kill|Oopsed too often|Attempted to kill (?:init|the idle)"
    r"|Aiee, killing|.*stack (?:overflow|guard)|Machine halted|bad mode|Unhandled exception"
    r"|Asynchronous SError"
)

_PANIC = Kind("panic", "kernel panic", fatal=True)
_OOPS = Kind("oops", "kernel oops", registers=True, panics=_DEADLY)
_BUG = Kind("BUG", "kernel bug", registers=True, panics=_DEADLY)
# Work that is not done for half a minute.
_WORK = Kind("BUG", "kernel bug", registers=True, panics=_DEADLY, by_clock=True)
_KASAN = Kind("KASAN report", "kernel bug", row_after="", panics=r"kasan\.fault=")
_SANITIZER = Kind("sanitizer report", "kernel bug", row_after="")
_UBSAN = Kind("UBSAN report", goes_on=_GOES_ON, row_after="")
_ATOMIC = Kind("scheduling while atomic", "kernel bug")
_SLEEP = Kind("sleep in atomic context", "kernel bug")
# A CPU that no longer schedules, or no longer takes interrupts.
_SOFT = Kind(
    "soft lockup",
    "soft lockup",
    registers=True,
    all_cpus=True,
    panics=r"softlockup: ",
    by_clock=True,
)
_HARD = Kind(
    "hard lockup",
    "hard lockup",
    registers=True,
    all_cpus=True,
    panics=r"Hard LOCKUP",
    by_clock=True,
)
# A CPU that does not leave a read-side section, or spins with interrupts off.
_STALL = Kind(
    "RCU stall",
    "RCU stall",
    registers=True,
    all_cpus=True,
    panics=r"RCU Stall",
    by_clock=True,
)
# A task in an uninterruptible sleep that does not end: mostly a deadlock. If lockdep is built in,
# the report ends with all held locks.
_HUNG = Kind(
    "hung task",
    "hung task",
    row_after="Showing all locks held",
    panics=r"hung_task: ",
    by_clock=True,
)
_LOCKDEP = Kind("lockdep report", goes_on=_GOES_ON)
_OBJECT = Kind("object error", goes_on=_GOES_ON)
_WARNING = Kind("WARNING", goes_on=_GOES_ON, certain=False)
_CUT_HERE = Kind("BUG", goes_on="a WARNING begins with it, too", panics=_DEADLY)
_LEAK = Kind("memory leak", goes_on=_GOES_ON)
_OOM = Kind("stock OOM kill", goes_on=_SHORT, certain=False)
_NO_MEMORY = Kind("allocation failure", goes_on=_SHORT, certain=False)

# A process's name before the kernel's words; non-text bytes in it may be escaped.
_COMM = r".{0,60}"
# Kernels before 4.2 write lockups, and those before 4.19 stalls, without the first word.
_WATCHDOG = r"(?:(?:NMI )?watchdog: )?(?:CPU\d+: )?"
# Older kernels' lockdep writes in brackets.
_LOCK = r"(?:\[ ?)?(?P<sort>WARNING|INFO|BUG): "
_LOCKS = (
    r"held lock freed|bad unlock balance|bad contention|lock held when returning to user space"
    r"|Invalid wait context|Nested lock was not taken"
)
_DEADLOCK = r"possible (?:(?:circular|recursive|irq) lock|deadlock)"
_UNABLE = r"(?:BUG: )?[Uu]nable to handle (?:kernel |(?=page fault))"
_UNABLE_TITLE = "unable to handle kernel {what}"
_CUT_OFF = "report cut off behind its first line"
# The words of a BUG that are the same in every run.
_STEADY = (
    r"workqueue leaked [^:]+|Bad page (?:state|map)|Bad rss-counter state"
    r"|non-zero \w+ on freeing mm|(?:spin|rw)lock .*?(?= on CPU)"
)
_IN = rf"(?: in (?P<func>{FUNCTION})(?:(?:\+0x| / ).*)?)?$"
_AT = rf"(?:CPU: \d+ PID: \d+ )?(?:\S+:\d+ )?at (?:\S+:\d+ )?(?P<func>{FUNCTION})\+0x"

# Tried in this order: the first match decides. What begins with a process's name comes first,
# because the process's user chooses the name.
LINES = (
    Line(_OOM, rf"{_COMM} invoked oom-killer: ", no_report=_SHORT),
    Line(_OOM, r"Out of memory(?: \(|: )|Memory cgroup out of", no_report=_SHORT),
    # Android's own low-memory killer, which knows no per-user limits.
    Line(_OOM, r"lowmemorykiller: |send sigkill to \d+ \(", no_report=_SHORT),
    Line(_OOM, r"Killing '.*' \(\d+\), adj ", no_report=_SHORT),
    Line(_NO_MEMORY, rf"(?:{_COMM}: )?page allocation failure", no_report=_SHORT),
    Line(_NO_MEMORY, r"SLUB: Unable to allocate memory", no_report=_SHORT),
    # The kernel stopped itself, for example because init ended.
    Line(_PANIC, r"Kernel panic - not syncing(?:: ?(?P<what>.*))?", "kernel panic: {what}", ""),
    Line(_PANIC, r"---\[ end Kernel panic - not syncing", no_report="a panic's report ends here"),
    Line(_KASAN, rf"BUG: KASAN: (?P<what>.*?){_IN}", "KASAN: {what} {access}"),
    Line(_SANITIZER, rf"BUG: (?P<what>(?:K[CM]SAN|KFENCE): .*?){_IN}", "{what}"),
    Line(_UBSAN, r"UBSAN: [\w -]+?(?= in \S*$|$)"),
    Line(_SOFT, rf"{_WATCHDOG}BUG: soft lockup", "BUG: soft lockup"),
    Line(_HARD, rf"{_WATCHDOG}(?:Watchdog detected|BUG:) hard (?i:lockup)", "BUG: hard lockup"),
    Line(_ATOMIC, r"BUG: scheduling while atomic"),
    Line(_SLEEP, r"BUG: sleeping function called from invalid context"),
    # What may come before an oops: why the CPU or the kernel gave up.
    Line(_OOPS, r"Alignment trap: not handling instruction", "alignment trap", step=1),
    Line(_OOPS, r"Insufficient stack space to handle exc", "kernel stack overflow", step=1),
    Line(_OOPS, r"(?:traps: )?PANIC: double fault", "PANIC: double fault", step=1),
    Line(_OOPS, r"BUG: .*(?P<what>stack guard page was hit)", "BUG: {what}", step=1),
    Line(_OOPS, r"Bad mode in .* detected on|SError Interrupt on", "unhandled exception", step=1),
    Line(_OOPS, r"Unhandled \d\d-bit .* exception on", "unhandled exception", step=1),
    Line(_OOPS, r"Unhandled (?:fault|prefetch abort)(?:: [^(]*|(?= at ))", step=2),
    # A bad access in the kernel, as ARM, arm64 and x86 word it.
    Line(_OOPS, rf"(?:{_UNABLE}|BUG: kernel )NULL p", "kernel NULL pointer dereference", step=4),
    Line(_OOPS, rf"{_UNABLE}(?P<what>.*?)(?: (?:at|for) .*)?$", _UNABLE_TITLE, step=4),
    Line(_OOPS, r"Internal error: Oops - BUG: ", "kernel BUG", step=5),
    Line(_OOPS, r"Internal error: (?P<what>.+?): [0-9a-f]+ \[#\d+\]", "{what}", step=5),
    Line(_OOPS, r"Internal error: ", "internal error", step=5),
    Line(_OOPS, r"(?:Oops: )?(?P<what>[a-z][\w -]*)(?:, .*)?: [0-9a-f]{4} \[#", "{what}", step=5),
    Line(_OOPS, r"Oops(?: - |: | ?\[)", "oops", step=5),
    Line(_HUNG, r"INFO: task .* (?:blocked|can't die) .*for more than \d+ s", "INFO: task hung"),
    Line(_STALL, r"(?:rcu: )?INFO: rcu.*detected (?:expedited )?stall", "INFO: rcu detected stall"),
    Line(_LOCKDEP, rf"(?:{_LOCK})?{_DEADLOCK}", "possible deadlock", "lock"),
    Line(_LOCKDEP, rf"{_LOCK}\S+-safe -> \S+-unsafe lock order", "possible deadlock", "lock"),
    Line(_LOCKDEP, rf"(?:{_LOCK})?inconsistent lock state", "inconsistent lock state", "lock"),
    Line(_LOCKDEP, rf"(?:{_LOCK})?suspicious RCU usage", "WARNING: suspicious RCU usage"),
    Line(_LOCKDEP, rf"(?:{_LOCK})?(?P<what>{_LOCKS})", "{sort}: {what}", "lock"),
    Line(_LOCKDEP, rf"{_LOCK}.*/\d+ still has locks held", "WARNING: locks still held", "lock"),
    Line(_LOCKDEP, r"INFO: trying to register non-static key"),
    Line(_BUG, r"usercopy: Kernel memory (?:exposure|overwrite)", "BUG: bad usercopy", step=1),
    Line(_BUG, r"[Kk]ernel BUG(?: at \S+:\d+|(?= at ))", "kernel BUG", step=3, alone="{0}"),
    Line(_BUG, r"BUG: using (?P<what>\S+) in preemptible", "BUG: using {what} in preemptible code"),
    Line(_WORK, r"BUG: workqueue lockup"),
    Line(_BUG, rf"BUG: (?:{_STEADY})"),
    Line(_BUG, r"BUG: [^,]*"),
    # SLUB's debugging finds late, in an unrelated call trace, that memory was overwritten.
    Line(
        _BUG, r"BUG (?P<cache>\S+) \((?:.*?\): (?P<what>.*))?", "BUG: {what} in cache {cache}", ""
    ),
    Line(_CUT_HERE, r"-{12}\[ cut here \]", _CUT_OFF, "", 2, no_report="a later line says of what"),
    Line(_OBJECT, r"refcount_t: ", "WARNING: refcount bug", step=1),
    Line(
        _OBJECT, r"WARNING: .*\b(?:lib/refcount\.c|refcount_warn)", "WARNING: refcount bug", step=1
    ),
    Line(_OBJECT, r"ODEBUG: (?:object \S+ is |.*\(active state)", "WARNING: ODEBUG bug", step=1),
    Line(_OBJECT, r"WARNING: .*\b(?:lib/debugobj|debug_print_obj)", "WARNING: ODEBUG bug", step=1),
    Line(_WARNING, rf"WARNING: {_AT}", "WARNING"),
    Line(_WARNING, r"WARNING: (?:CPU: |at )", "WARNING"),
    # A driver's own message, without a call trace.
    Line(_WARNING, r"WARNING: .*", place=""),
    Line(_LEAK, r"kmemleak: (?:unreferenced object|\d+ new suspected m)", "memory leak", step=1),
)

# Lines of a healthy kernel that begin with a process's name, which may be any of the words above.
_NAME_FIRST = re.compile(
    rf"{_COMM}(?:\[\d+\]: (?:segfault at|unhandled|bad frame)|: unhandled page fault"
    r"|/\d+: potentially unexpected| \(\d+\):? (?:drop_caches|used greatest|undefined|/proc/))"
)
# The names of the kinds all of whose lines a healthy kernel writes, too, when its clock jumps.
BY_CLOCK = frozenset(line.kind.name for line in LINES if line.kind.by_clock) - frozenset(
    line.kind.name for line in LINES if not line.kind.by_clock
)
_ROWS = tuple((line, re.compile(line.expression)) for line in LINES)
# A quick check: most lines tell of no trouble.
_ANY = re.compile("|".join(re.sub(r"\(\?P<\w+>", "(?:", line.expression) for line in LINES))


def trouble_in(text: str) -> Found | None:
    """Return the trouble that a message of the kernel, without its prefix, announces; or None."""
    if not _ANY.match(text) or _NAME_FIRST.match(text):
        return None
    fits = ((line, expression.match(text)) for line, expression in _ROWS)
    return next((Found(line, match) for line, match in fits if match is not None), None)
