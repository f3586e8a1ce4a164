# SPDX-License-Identifier: MIT
"""Reports in the kernel log: cut out whole, each with a title that says what broke and where.

A report is what the kernel writes when it notices a bug of its own: a first line that names the
bug, then registers, locks, call traces, perhaps an end marker. A panic that only follows from a
report belongs to it. Titles are worded like syzkaller's, so that the same bug has the same title
in every run.

With CONFIG_PRINTK_CALLER each line says which context wrote it, so interleaved reports are told
apart. Without it, the first line of the next report ends a report, and lines that others write
into the middle of a report stay in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from harness.kernel_output.records import (
    ParsedRecords,
    kernels_part,
    lines_of,
    parse_log,
    split_prefix,
)

# After so many lines in a row that cannot be part of a report, the report is over. The longest
# prose within one (the message of a WARN, lockdep's explanations) is shorter.
_MOST_FOREIGN = 8
# After so many seconds without a line, a report is over. A CPU that is asked for its call trace
# has 10 s to answer.
_SILENCE_SECONDS = 30.0
_LONGEST_TITLE = 120


@dataclass(frozen=True)
class KernelReport:
    """A report that was cut out of a log.

    `kind` is one of the kinds in `klog.PATTERNS`. `begin` is the index of the report's first
    line in the log, where only line feeds end a line. `text` has the report's lines as they are
    in the log, each ended by a line feed. Lines that others wrote in between are left out if the
    log tells them apart.
    """

    kind: str
    title: str
    begin: int
    text: str


@dataclass(frozen=True)
class GuestReport:
    """A report that a guest's kernel wrote about its own bug; `kind` is as in KernelReport."""

    guest: int
    kind: str
    title: str
    text: str


@dataclass(frozen=True)
class _Header:
    """A line that begins a report, or is a further step of one.

    `title` and `alone` are filled in with the expression's groups. `place` says where to look
    for the function that the title ends with; `alone` is the title if no function is found.
    """

    kind: str
    expression: str
    title: str
    place: str = "trace"
    alone: str = ""
    # An oops announces itself in up to three lines, in this order. 0 means no such line.
    step: int = 0


@dataclass(frozen=True)
class _Machinery:
    """Functions that are never the subject of a report, and why they are in its trace."""

    expression: str
    reason: str


@dataclass(frozen=True)
class _Line:
    """A line of the kernel: its index in the log, all of it, its text, its writer and its time."""

    number: int
    line: str
    text: str
    caller: str
    time: float | None


@dataclass
class _Cutting:
    """A report that is being collected; `held` are lines that may or may not belong to it."""

    header: _Header
    match: re.Match[str]
    lines: list[_Line]
    held: list[_Line] = field(default_factory=list)
    step: int = 0
    is_open: bool = True
    panicked: bool = False

    @property
    def spans_cpus(self) -> bool:
        """Whether call traces of other CPUs are a part of the report."""
        return self.panicked or self.header.kind in _OF_ALL_CPUS

    def add(self, line: _Line) -> None:
        """Add a line, after the held lines."""
        self.lines += [*self.held, line]
        self.held.clear()

    def takes(self, line: _Line) -> bool:
        """Return whether the report is still open when the line is written."""
        self.is_open = self.is_open and self.is_near(line)
        # Lines that only looked like a beginning are given back late: they may precede the
        # report.
        return self.is_open and self.lines[0].number < line.number

    def is_near(self, line: _Line) -> bool:
        """Return whether the line was written soon enough after the report's last one."""
        last = self.lines[-1].time
        return last is None or line.time is None or line.time - last <= _SILENCE_SECONDS


_NAME = r"[A-Za-z_$][\w.$]*"
_OFFSET = r"\+0x[0-9a-f]+/0x[0-9a-f]+"
_ADDRESS = r"\[<[^>]{1,16}>\] ?"
_MODULE = r"(?: \[[\w-]+\])?"

# The first match decides. Each has to match at the beginning of the text: in what a program
# writes to the log, the program's name is there, or a facility before it.
_HEADERS: tuple[_Header, ...] = (
    _Header("panic", r"Kernel panic - not syncing(?:: ?(?P<what>.*))?", "kernel panic: {what}", ""),
    _Header(
        "KASAN report",
        rf"BUG: KASAN: (?P<what>[^+]*?)(?: in (?P<func>{_NAME})(?:\+0x.*)?)?",
        "KASAN: {what}",
        "named",
    ),
    _Header("soft lockup", r"(?:watchdog: )?BUG: soft lockup.*", "BUG: soft lockup", "stopped"),
    _Header(
        "hard lockup",
        r"(?:NMI watchdog: |watchdog: )?(?:Watchdog detected hard LOCKUP|BUG: hard lockup).*",
        "BUG: hard lockup",
        "stopped",
    ),
    _Header(
        "scheduling while atomic", r"BUG: scheduling while atomic.*", "BUG: scheduling while atomic"
    ),
    _Header(
        "sleep in atomic context",
        r"BUG: sleeping function called from invalid context.*",
        "BUG: sleeping function called from invalid context",
    ),
    _Header(
        "oops",
        r"Unable to handle kernel NULL pointer dereference.*",
        "kernel NULL pointer dereference",
        "registers",
        step=2,
    ),
    _Header(
        "oops",
        r"Unable to handle kernel (?P<what>.*?)(?: at virtual address.*)?",
        "unable to handle kernel {what}",
        "registers",
        step=2,
    ),
    _Header("BUG", r"Internal error: Oops - BUG: .*", "kernel BUG", "registers", step=3),
    _Header(
        "oops",
        r"Internal error: (?P<what>[^:]+): [0-9a-f]+ \[#\d+\].*",
        "{what}",
        "registers",
        step=3,
    ),
    _Header("oops", r"Internal error: .*", "internal error", "registers", step=3),
    _Header("oops", r"Oops(?: - |: |\[).*", "oops", "registers", step=3),
    _Header(
        "hung task", r"INFO: task .*:\d+ blocked for more than \d+ seconds.*", "INFO: task hung"
    ),
    _Header(
        "RCU stall",
        r"(?:rcu: )?INFO: rcu.*(?:detected (?:expedited )?stalls?|self-detected stall).*",
        "INFO: rcu detected stall",
        "stopped",
    ),
    _Header(
        "lockdep report",
        r"(?:WARNING: |\[ ?INFO: |INFO: )(?:possible (?:circular locking|recursive locking"
        r"|irq lock inversion)|\S+-safe -> \S+-unsafe lock order).*",
        "possible deadlock",
        "lock",
    ),
    _Header(
        "lockdep report",
        r"(?:WARNING: |\[ ?INFO: |INFO: )inconsistent lock state.*",
        "inconsistent lock state",
        "lock",
    ),
    _Header(
        "lockdep report",
        r"(?:WARNING: |\[ ?INFO: |INFO: )suspicious RCU usage.*",
        "WARNING: suspicious RCU usage",
    ),
    _Header(
        "lockdep report",
        r"INFO: trying to register non-static key.*",
        "INFO: trying to register non-static key",
    ),
    _Header(
        "lockdep report",
        r"(?:\[ ?)?(?P<sort>WARNING|BUG): (?P<what>held lock freed|bad unlock balance"
        r"|bad contention|lock held when returning to user space|Invalid wait context).*",
        "{sort}: {what}",
        "lock",
    ),
    _Header(
        "lockdep report",
        r"WARNING: .*/\d+ still has locks held.*",
        "WARNING: locks still held",
        "lock",
    ),
    _Header(
        "BUG",
        r"[Kk]ernel BUG at (?P<what>\S+:\d+).*",
        "kernel BUG",
        "registers",
        alone="kernel BUG at {what}",
        step=1,
    ),
    _Header("BUG", r"[Kk]ernel BUG at .*", "kernel BUG", "registers", step=1),
    _Header("BUG", r"BUG: Bad page (?P<what>state|map) in process .*", "BUG: Bad page {what}"),
    _Header(
        "BUG",
        r"BUG: using (?P<what>\S+) in preemptible.*",
        "BUG: using {what} in preemptible code",
    ),
    _Header("BUG", r"BUG: (?P<what>[^,]*).*", "BUG: {what}"),
    # SLUB's debugging, which finds memory that was written to when it must not be.
    _Header(
        "BUG",
        r"BUG (?P<cache>\S+) \((?:Not tainted|Tainted: .*?)\s*\): (?P<what>.*)",
        "BUG: {what} in cache {cache}",
        # SLUB finds the bug late, in an unrelated call trace.
        place="",
    ),
    _Header("object error", r"WARNING: .*\brefcount_warn_saturate\+0x.*", "WARNING: refcount bug"),
    _Header("object error", r"WARNING: .*\bdebug_print_object\+0x.*", "WARNING: ODEBUG bug"),
    _Header(
        "WARNING",
        rf"WARNING: (?:CPU: \d+ PID: \d+ )?at (?:\S+:\d+ )?(?P<func>{_NAME})\+0x.*",
        "WARNING",
        "named",
    ),
    _Header("WARNING", r"WARNING: (?:CPU: |at ).*", "WARNING"),
    # A driver's own message, without a call trace.
    _Header("WARNING", r"WARNING: (?P<what>.*)", "WARNING: {what}", ""),
    _Header("memory leak", r"kmemleak: unreferenced object .*", "memory leak", "leak"),
    _Header("memory leak", r"kmemleak: \d+ new suspected memory leaks.*", "memory leak", "leak"),
)

# What comes before a header and belongs to the report.
_LEAD = re.compile(
    r"-{12}\[ cut here \]|8<--- cut here ---|={20,}$|Unhandled (?:fault|prefetch abort): "
)
_CUT_HERE = "------------[ cut here ]"
# The report of a log that ends after the line above.
_CUT_OFF = _Header("BUG", r".*", "", "", alone="report cut off behind its first line")
_ROW = re.compile(r"={20,}$")

# The last part of a hung task's report, if lockdep is built in.
_ALL_LOCKS = "Showing all locks held"

# Reports to which other CPUs contribute.
_OF_ALL_CPUS = frozenset({"panic", "RCU stall", "soft lockup", "hard lockup"})

# Panics that only follow from a report, and the kinds of such reports; an empty set is any kind.
_CONSEQUENCES: tuple[tuple[str, frozenset[str]], ...] = (
    (r"Fatal exception|Oops failed to kill|Oopsed too often", frozenset({"oops", "BUG"})),
    # The task that caused the oops is killed, and it was one that must not end.
    (r"Attempted to kill (?:init|the idle task)!|Aiee, killing", frozenset({"oops", "BUG"})),
    (r".*panic_on_warn set", frozenset()),
    (r"kasan\.fault=", frozenset({"KASAN report"})),
    (r"hung_task: ", frozenset({"hung task"})),
    (r"softlockup: ", frozenset({"soft lockup"})),
    (r"Hard LOCKUP", frozenset({"hard lockup"})),
    (r"RCU Stall", frozenset({"RCU stall"})),
)

# Lines from the inside of a report.
_BODY = (
    # A function with its offset, or an address: call traces, locks, registers.
    *(rf".*{_OFFSET}", r".*\[<[0-9a-f]{8,16}>\]", rf" ?{_NAME} from {_NAME}"),
    *(r"Call trace:", r"Backtrace:", r"Exception stack", r"stack backtrace:"),
    # Registers, the stack, the page tables, and what the registers point to.
    *(r"(?:PC|LR) is at ", r"pc : ", r"sp : [0-9a-f]", r"r\d+ ?: [0-9a-f]", r"Flags: [nN]"),
    *(r"Control: [0-9a-f]", r"xPSR: ", r"Register r\d+ information:", r"Process .*\(pid: \d+"),
    *(r"Stack: \(", r"[0-9a-f]{4}: +[0-9a-f?]{8}", r"Code: ", r"\[[0-9a-f]{8}\] \*pgd=", r"pgd = "),
    # Which task, on which CPU and machine, with which modules.
    *(r"CPU: \d+ ", r"Hardware name: ", r"Modules linked in:", r"Workqueue: ", r"task:"),
    *(r"\d+\.\d+\.\S+ #\d+ ", r" +(?:Not tainted|Tainted: )", r'"echo 0 > /proc/sys/kernel/hung'),
    *(r"Sending NMI ", r"NMI backtrace for cpu ", r"Task dump for CPU ", r"CPU\d+: stopping"),
    # Locks.
    *(r"\d+ locks? held by ", r"no locks held by ", r" #\d+: ", r"irq event stamp: "),
    *(r"(?:hard|soft)irqs last ", r"-> #\d+ ", r" +(?:r?lock|sync)\(", r" \*\*\* DEADLOCK \*\*\*"),
    *(r"Chain exists of:", r" Possible .*scenario:", r"other info that might help us", r"-{20,}"),
    *(r".* is trying to (?:acquire|lock|release)", r"but task is already holding", r" +CPU0\b"),
    *(r"which lock already depends on", r"the existing dependency chain", r"inconsistent \{"),
    *(r"\{.*\} state was registered at:", r".*\btakes:$", r"rcu_scheduler_active = "),
    *(r".* suspicious rcu_\w+\(\) usage", _ALL_LOCKS),
    # Sleeping in atomic context.
    *(r"in_atomic\(\): ", r"preempt_count: ", r"RCU nest depth: ", r"Preemption disabled at:"),
    # KASAN and SLUB: the access, the object, the bytes around it.
    *(r"(?:Read|Write) (?:of size|at addr) ", r"Free of addr ", r"(?:Allocated|Freed) by task "),
    *(r"The buggy address ", r" which belongs to the cache ", r"Memory state around ", r" +\^$"),
    *(r"[ >][0-9a-f]{8,16}: (?:[0-9a-f]{2} ?)+", r"page:", r"flags: 0x", r"raw: [0-9a-f]{8}"),
    *(r"page dumped because: ", r"Last potentially related work creation:", r" +\d+-byte region"),
    *(r"(?:Allocated|Freed) in ", r"Slab 0x", r"Object ", r"Redzone ", r"Padding ", r"FIX "),
    # The CPUs that hold up RCU's grace period; kmemleak's objects without a pointer to them.
    *(
        r"(?:rcu: |INFO: Stall ended)",
        r"\t\d+-\S+: \(",
        r"\t ?\(t=",
        r"\t ?\(detected by ",
        r"kmemleak:  ",
    ),
    # The end, and what comes after it.
    *(r"---\[ end ", r"Rebooting in ", r"Disabling lock debugging due to kernel taint"),
)

_MACHINERY: tuple[_Machinery, ...] = (
    _Machinery(
        r"dump_stack\w*|__dump_stack|show_stack|dump_backtrace|unwind_backtrace|c_backtrace"
        r"|(?:__)?show_regs|print_\w+|(?:kasan|end)_report\w*|(?:__)?report_bug|sched_show_task"
        r"|dump_cpu_task|__warn\w*|warn_slowpath_\w+|(?:__)?die\w*|arm_notify_die|(?:__)?panic|nmi_\w+",
        "write the report",
    ),
    _Machinery(
        r"(?:__)?k?asan_\w+|check_memory_region|lockdep_\w+|(?:__)?debug_(?:print_object|check_\w+)"
        r"|(?:__)?debug_(?:object|timer|hrtimer|work|rcu)\w*|__might_\w+|___might_sleep"
        r"|__schedule_bug|__list_(?:add|del_entry)_valid|refcount_\w+|check_preemption_disabled"
        r"|debug_smp_processor_id|__this_cpu_preempt_check",
        "found the mistake, which is another's",
    ),
    _Machinery(
        r"do_(?:DataAbort|PrefetchAbort|page_fault|translation_fault|bad_area|undefinstr)"
        r"|__do_kernel_fault|__(?:dabt|pabt|und)_svc",
        "the way from the fault to the report",
    ),
    _Machinery(
        r"__?lock_acquire\w*|lock_release|lock_is_held\w*|validate_chain|check_\w*chain\w*"
        r"|check_(?:noncircular|prevs?_add|deadlock|\w*usage\w*|wait_context)"
        r"|mark_lock\w*|register_lock_class|_?(?:do_)?raw_(?:spin|read|write)_\w+"
        r"|(?:arch_)?_?(?:spin|read|write)_(?:un|try)?lock\w*|(?:__)?mutex_\w+|(?:__)?ww_mutex_\w+"
        r"|(?:__)?rwsem_\w+|(?:__)?down(?:_\w+)?|up(?:_\w+)?|(?:__)?rt_mutex_\w+",
        "take a lock for somebody",
    ),
    _Machinery(
        r"(?:__)?schedule\w*|preempt_schedule\w*|io_schedule\w*|__switch_to|(?:__)?_?cond_resched"
        r"|(?:__)?wait_(?:for_|on_bit|rcu_gp)\w*|do_wait_for_common|out_of_line_wait_on_bit\w*"
        r"|msleep\w*|synchronize_\w+|rcu_barrier\w*|(?:__)?flush_work\w*|(?:__)?cancel_\w*work\w*",
        "wait for somebody",
    ),
    _Machinery(
        r"(?:__)?(?:memcpy|memset\w*|memmove|memchr|memcmp|memzero)|mmio(?:cpy|set)"
        r"|(?:arm_|_{1,2})?copy_(?:from|to)_user\w*|__(?:get|put)_user_\w+"
        r"|str(?:n?cpy|n?len|n?cmp|chr)",
        "are given the wrong address",
    ),
    _Machinery(
        r"(?:__)?k[mzv]alloc\w*|(?:__)?kmem_cache_(?:alloc|free)\w*|(?:__)?k[vz]?free\w*"
        r"|(?:__)?v[mz]alloc\w*|(?:__)?alloc_pages\w*|__get_free_pages|_{0,3}slab_\w+"
        r"|___?cache_free|kmemleak_\w+|create_object|kmemdup\w*|kstrdup\w*",
        "allocate and free for somebody",
    ),
)

_COMPILED = tuple((header, re.compile(header.expression)) for header in _HEADERS)
# A quick check: most lines begin no report.
_MAY_BEGIN = re.compile(
    r"Kernel |[Kk]ernel BUG|BUG|\[ ?(?:BUG|INFO)|INFO: |WARNING: |Unable to handle kernel "
    r"|Internal error: |Oops|(?:NMI )?watchdog: |Watchdog |rcu: INFO: |kmemleak: "
)
_INSIDE = re.compile("|".join(_BODY))
_IS_MACHINERY = re.compile("|".join(row.expression for row in _MACHINERY))
_CONSEQUENCE = tuple((re.compile(reason), kinds) for reason, kinds in _CONSEQUENCES)

_CALLER = re.compile(r"(?:<[0-9]+>)?\[ *[0-9.]+\]\[ *(?P<caller>[TC][0-9]+)\]")

_PC = re.compile(rf"PC is at (?P<func>{_NAME})\+0x")
_LR = re.compile(rf"LR is at (?P<func>{_NAME})\+0x")
_LOCK_AT = re.compile(rf"(?:.*, at: |(?=\[<))(?:{_ADDRESS})?(?P<func>{_NAME}){_OFFSET}")
# A step of a call trace: "callee from caller+…"; 3.4 adds addresses.
_STEP = re.compile(
    rf"\s*(?:{_ADDRESS})?\(?(?P<callee>{_NAME})(?:{_OFFSET})?{_MODULE}\)?"
    rf" from (?:{_ADDRESS})?\(?(?P<caller>{_NAME})\+0x"
)
_SAVED_STEP = re.compile(
    rf"(?:kmemleak: )?\s+(?:{_ADDRESS})?(?:\? )?(?P<func>{_NAME}){_OFFSET}{_MODULE}$"
)
_ACCESS = re.compile(r"(?P<access>Read|Write) (?:of size|at addr) ")
_CLONE = re.compile(r"\.(?:constprop|isra|part|cold|llvm)\b.*")
# The interrupt's frame. The functions after it in the trace were interrupted.
_INTERRUPT = re.compile(r"__irq_(?:svc|usr)|el1h?_(?:64_)?irq\w*")

# What differs from run to run in the kernel's own words, and what replaces it.
_VARYING = (
    (re.compile(_OFFSET), ""),
    (re.compile(r" exitcode=.*"), ""),
    (re.compile(r"\b(?:0x)?[0-9a-f]{8,16}\b"), "ADDR"),
    (re.compile(r"(?<![\w-])[0-9]{3,}\b"), "N"),
)


def find_reports(log: str) -> tuple[KernelReport, ...]:
    """Return the reports in a kernel log or a console, in the order of their first lines.

    Never raises. A line counts as the kernel's if it has a level or a time, unless its facility
    shows that a user's program wrote it. A report whose first line is missing from the log is
    not found.
    """
    cutter = _Cutter()
    for line in _lines(log):
        cutter.take(line)
    reports = (_finished(cutting) for cutting in cutter.finish())
    return tuple(sorted(reports, key=lambda report: report.begin))


class _Cutter:
    """A collector that takes the kernel's lines one by one and adds each to its report."""

    def __init__(self) -> None:
        self._found: list[_Cutting] = []
        # By writer: the last report, and lines that may be the beginning of the next one.
        self._last: dict[str, _Cutting] = {}
        self._leads: dict[str, list[_Line]] = {}
        self._spanning: _Cutting | None = None

    def take(self, line: _Line) -> None:
        """Take the next line."""
        header = _header(line)
        lead = self._leads.get(line.caller)
        if header is not None:
            self._begin(line, *header)
        elif self._is_last_row(line):
            self._end(self._last[line.caller], line)
        elif _LEAD.match(line.text):
            self._give_back(line.caller)
            self._leads[line.caller] = [line]
        elif lead is not None:
            lead.append(line)
            if len(lead) > _MOST_FOREIGN:
                self._give_back(line.caller)
        else:
            self._offer(line)

    def finish(self) -> list[_Cutting]:
        """Return all reports; call it at the end of the log."""
        for caller, lead in list(self._leads.items()):
            if lead[0].text.startswith(_CUT_HERE):
                match = re.match(_CUT_OFF.expression, lead[0].text)
                assert match is not None
                self._found.append(_Cutting(_CUT_OFF, match, lead))
            else:
                self._give_back(caller)
        return self._found

    def _begin(self, line: _Line, header: _Header, match: re.Match[str]) -> None:
        """Begin a report, or continue one with its next step."""
        lead = self._leads.pop(line.caller, [])
        last = self._last.get(line.caller)
        if last is not None and _goes_on(last, line, header, match):
            last.lines += [*last.held, *lead, line]
            last.held.clear()
            last.is_open = True
            last.panicked = last.panicked or header.kind == "panic"
        else:
            if last is not None:
                last.is_open = False
            last = _Cutting(header, match, [*lead, line])
            self._found.append(last)
            self._last[line.caller] = last
        last.step = header.step
        if last.spans_cpus:
            self._spanning = last

    def _is_last_row(self, line: _Line) -> bool:
        """Return whether the line is the row of = that ends a report."""
        last = self._last.get(line.caller)
        if last is None or not last.is_open or last.panicked or not _ROW.match(line.text):
            return False
        if last.header.kind == "hung task":
            return any(one.text.startswith(_ALL_LOCKS) for one in last.lines)
        return last.header.kind == "KASAN report"

    def _give_back(self, caller: str) -> None:
        """Treat lines that only looked like a report's beginning as ordinary lines."""
        for line in self._leads.pop(caller, []):
            self._offer(line)

    def _offer(self, line: _Line) -> None:
        """Add a line to the report that is being written, if it belongs to one."""
        last = self._last.get(line.caller)
        if last is None or not last.takes(line):
            if self._spanning is not None and self._spanning.takes(line) and _is_inside(line):
                self._spanning.add(line)
        elif not _is_inside(line):
            last.held.append(line)
            last.is_open = len(last.held) <= _MOST_FOREIGN
        elif _is_end(last, line):
            self._end(last, line)
        else:
            last.add(line)

    def _end(self, cutting: _Cutting, line: _Line) -> None:
        """Add the line, which is the report's last, and close the report."""
        cutting.add(line)
        cutting.is_open = False


def _lines(log: str) -> Iterator[_Line]:
    """Yield the lines that the kernel wrote itself."""
    for number, (line, _) in enumerate(lines_of(log)):
        told = kernels_part(line)
        parts = split_prefix(told)
        if told and parts.from_kernel:
            caller = _CALLER.match(told)
            yield _Line(
                number, line, parts.text, "" if caller is None else caller["caller"], parts.time
            )


def _header(line: _Line) -> tuple[_Header, re.Match[str]] | None:
    """Return the header that the line matches, and the match; None if there is none."""
    text = line.text.rstrip()
    # A kill record is no header: the victim's user chooses the name in it.
    if not _MAY_BEGIN.match(text) or parse_log(line.line + "\n") != ParsedRecords((), ()):
        return None
    for header, expression in _COMPILED:
        match = expression.fullmatch(text)
        if match is not None:
            return header, match
    return None


def _goes_on(last: _Cutting, line: _Line, header: _Header, match: re.Match[str]) -> bool:
    """Return whether the header's line belongs to the report before it."""
    if not last.is_near(line):
        return False
    if header.kind == "panic":
        return _is_consequence(last.header.kind, match["what"] or "")
    if not last.is_open:
        return False
    if header.kind == "memory leak":
        return last.header.kind == header.kind
    return 0 < last.step < header.step


def _is_consequence(kind: str, reason: str) -> bool:
    """Return whether a panic for `reason` only follows from a report of this kind."""
    return any(
        expression.match(reason) and (not kinds or kind in kinds)
        for expression, kinds in _CONSEQUENCE
    )


def _is_inside(line: _Line) -> bool:
    """Return whether the line looks like the inside of a report."""
    return _INSIDE.match(line.text) is not None


def _is_end(cutting: _Cutting, line: _Line) -> bool:
    """Return whether the line ends the report."""
    if cutting.panicked or cutting.header.kind == "panic":
        return line.text.startswith("---[ end Kernel panic")
    return line.text.startswith("---[ end trace")


def _finished(cutting: _Cutting) -> KernelReport:
    # Lines that were given back late come after newer lines of other CPUs.
    lines = sorted(cutting.lines, key=lambda line: line.number)
    return KernelReport(
        kind=cutting.header.kind,
        title=_title(cutting),
        begin=lines[0].number,
        text="".join(f"{line.line}\n" for line in lines),
    )


def _title(cutting: _Cutting) -> str:
    """Return what happened, and in which function."""
    header = cutting.header
    texts = [line.text for line in cutting.lines]
    groups = {name: _steady(text or "") for name, text in cutting.match.groupdict().items()}
    title = header.title.format(**groups)
    if header.kind == "KASAN report":
        access = next((match["access"] for text in texts if (match := _ACCESS.match(text))), "")
        title = f"{title} {access}"
    place = next(
        (
            name
            for function in _places(cutting, texts)
            if not _IS_MACHINERY.fullmatch(name := _CLONE.sub("", function))
        ),
        "",
    )
    if place:
        title = f"{title} in {place}"
    elif header.alone:
        title = header.alone.format(**groups)
    words = " ".join(title.split()).rstrip(" :.")
    shown = "".join(character if character.isprintable() else "?" for character in words)
    return shown[:_LONGEST_TITLE] or header.kind


def _steady(text: str) -> str:
    """Return the kernel's words without what differs from run to run."""
    for expression, instead in _VARYING:
        text = expression.sub(instead, text)
    return text


def _places(cutting: _Cutting, texts: list[str]) -> Iterator[str]:
    """Yield the functions that the report may be about, the most likely first."""
    place = cutting.header.place
    if place == "":
        return
    if place == "named" and cutting.match["func"]:
        yield cutting.match["func"]
    if place in ("registers", "stopped"):
        yield from _all(_PC, texts)
    if place == "lock":
        yield from _all(_LOCK_AT, texts)
    trace = list(_trace(texts))
    if place == "stopped":
        yield from _interrupted(trace)
    yield from trace
    if place == "leak" or not trace:
        yield from _all(_SAVED_STEP, texts)
    if place in ("registers", "stopped"):
        yield from _all(_LR, texts)


def _all(expression: re.Pattern[str], texts: Iterable[str]) -> Iterator[str]:
    return (match["func"] for text in texts if (match := expression.match(text)))


def _trace(texts: Iterable[str]) -> Iterator[str]:
    """Yield the functions of the call traces, innermost first."""
    steps = [match for text in texts if (match := _STEP.match(text))]
    for step, following in pairwise([*steps, None]):
        assert step is not None
        yield step["callee"]
        if following is None or following["callee"] != step["caller"]:
            yield step["caller"]


def _interrupted(trace: list[str]) -> list[str]:
    """Return the part of a call trace that an interrupt stopped; empty if there was none."""
    return next(
        (trace[at + 1 :] for at, function in enumerate(trace) if _INTERRUPT.fullmatch(function)), []
    )
