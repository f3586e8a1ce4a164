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

from harness.kernel_output.records import kernel_line, lines_of
from harness.kernel_output.troubles import FUNCTION, OFFSET, Found, Kind, trouble_in

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

    `kind` is the name of one of the kinds in `troubles`. `begin` is the index of the report's
    first line in the log, where only line feeds end a line. `text` has the report's lines as they
    are in the log, each ended by a line feed. Lines that others wrote in between are left out if
    the log tells them apart.
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


# What may come before a report's first line and belongs to it.
_LEAD = re.compile(r"-{12}\[ cut here \]|8<--- cut here ---|={20,}$")
_ROW = re.compile(r"={20,}$")

# Lines from the inside of a report.
_INSIDE = re.compile(
    # A function with its offset, or an address: call traces, locks, registers.
    rf".*{OFFSET}|.*\[<[0-9a-f]{{8,16}}>\]| ?{FUNCTION} from {FUNCTION}|Call [Tt]race:|Backtrace:"
    r"|Exception stack|stack backtrace:| </?(?:TASK|IRQ|NMI|#DF)>"
    # Registers, the stack, the page tables, and what the registers point to.
    r"|(?:PC|LR) is at |(?:pc|lr|sp|pstate) ?: |[rx]\d+ ?: [0-9a-f]|[A-Z]{2}[XIP]: [0-9a-f]|Code: "
    r"|(?:R\d\d|[CDR]\w\d?|[FG]S|PKRU): +[0-9a-f]|Flags: [nN]|Control: [0-9a-f]|xPSR: |Stack: \("
    r"|Register r\d+ information:|Process .*\(pid: \d+|[0-9a-f]{4}: +[0-9a-f?]{8}|pgd = |PGD |#PF: "
    r"|\[[0-9a-f]{8,16}\] \*?pgd=|(?:user|swapper) pgtable: |(?:Mem|Data) abort|  [A-Z]{2,3} = "
    # Which task, on which CPU and machine, with which modules.
    r"|CPU: \d+ |Hardware name: |Modules linked in:|Workqueue: |task:|\d+\.\d+\.\S+ #\d+ "
    r'| *(?:Not tainted|Tainted: )|"echo 0 > /proc/sys/kernel/hung|Sending NMI |NMI backtrace '
    r"|Task dump for CPU |(?:CPU\d+|SMP): stopping"
    # Locks.
    r"|(?:\d+|no) locks? held by | #\d+: |irq event stamp: |(?:hard|soft)irqs last |-> #\d+ |-{20,}"
    r"| +(?:r?lock|sync)\(| \*\*\* DEADLOCK \*\*\*|Chain exists of:| Possible .*scenario:| +CPU0\b"
    r"|other info that might help us|.* is trying to (?:acquire|lock|release)|inconsistent \{"
    r"|but task is already holding|which lock already depends on|the existing dependency chain"
    r"|\{.*\} state was registered at:|.*\btakes:$|rcu_scheduler_active = |Showing all locks held"
    r"|.* suspicious rcu_\w+\(\) usage"
    # Sleeping in atomic context.
    r"|in_atomic\(\): |preempt_count: |RCU nest depth: |Preemption disabled at:"
    # KASAN and SLUB: the access, the object, the bytes around it.
    r"|(?:Read|Write) (?:of size|at addr) |Free of addr |(?:Allocated|Freed) (?:by|in) |Slab 0x"
    r"|The buggy address | which belongs to the cache |Memory state around | +\^$|page:|flags: 0x"
    r"|[ >][0-9a-f]{8,16}: (?:[0-9a-f]{2} ?)+|raw: [0-9a-f]{8}|page dumped because: |KASAN: |FIX "
    r"| +\d+-byte region|Last potentially related work creation:|Object |Redzone |Padding "
    # The CPUs that hold up RCU's grace period; kmemleak's objects without a pointer to them.
    r"|rcu: |INFO: Stall ended|\t\d+-\S+: \(|\t ?\(t=|\t ?\(detected by |kmemleak:  "
    # The end, and what comes after it.
    r"|---\[ end |Rebooting in |Disabling lock debugging due to kernel taint"
)

# Functions that are never the subject of a report.
_MACHINERY = re.compile(
    # They write the report,
    r"_{0,3}(?:(?:dump_stack|print_|end_report|warn|die|nmi_)\w*|show_(?:stack|regs)|panic|report_bug"
    r"|(?:dump|unwind|c)_backtrace|sched_show_task|(?:rcu_)?dump_cpu_(?:task|stacks)|arm_notify_die"
    # found the mistake, which is another's,
    r"|(?:k?asan|lockdep|might|refcount|ubsan|usercopy|sanitizer)_\w+|check_memory_region|schedule_bug"
    r"|debug_(?:print_object|check_|object|timer|hrtimer|work|rcu|smp_processor_id)\w*"
    r"|list_(?:add|del_entry)_valid|check_(?:preemption_disabled|object_size|heap_object)"
    r"|this_cpu_preempt_check|spin_(?:dump|bug)"
    # are on the way from the fault to the report,
    r"|do_(?:DataAbort|PrefetchAbort|page_fault|translation_fault|bad_area|undefinstr|kernel_fault)"
    r"|do_(?:mem_abort|debug_exception|error_trap|invalid_op)|(?:dabt|pabt|und|irq)_svc|el1h?_\w+"
    r"|(?:asm_)?(?:exc|sysvec)_\w+|invalid_op|(?:fixup|handle)_bug|page_fault_oops|(?:bug|brk)_handler"
    r"|call_break_hook"
    # take a lock for somebody,
    r"|lock_(?:acquire\w*|release|is_held\w*)|validate_chain|check_\w*(?:chain|usage)\w*|mark_lock\w*"
    r"|check_(?:noncircular|prevs?_add|deadlock|wait_context)|register_lock_class|rwsem_\w+"
    r"|(?:do_)?raw_(?:spin|read|write)_\w+|(?:arch_)?_?(?:spin|read|write)_(?:un|try)?lock\w*"
    r"|(?:ww_|rt_)?mutex_\w+|(?:down|up)(?:_\w+)?"
    # wait for somebody,
    r"|(?:preempt_|io_)?schedule\w*|switch_to|cond_resched|wait_(?:for_|on_bit|rcu_gp)\w*|msleep\w*"
    r"|do_wait_for_common|out_of_line_wait_on_bit\w*|(?:synchronize|rcu_barrier|flush_work)\w*"
    r"|cancel_\w*work\w*"
    # are given the wrong address,
    r"|mem(?:cpy|set\w*|move|chr|cmp|zero)|mmio(?:cpy|set)|(?:arm_|arch_)?copy_(?:from|to)_user\w*"
    r"|(?:get|put)_user_\w+|str(?:n?cpy|n?len|n?cmp|chr)"
    # or allocate and free for somebody.
    r"|(?:k[mzv]alloc|kmem_cache_(?:alloc|free)|k[vz]?free|v[mz]alloc|alloc_pages|kmemdup|kstrdup)\w*"
    r"|get_free_pages|slab_\w+|cache_free|kmemleak_\w+|create_object)"
)

_ADDRESS = r"\[<[^>]{1,16}>\] ?"
_MODULE = r"(?: \[[\w -]+\])?"
_PC = re.compile(rf"(?:PC is at |pc : |[ER]?IP: (?:\w{{4}}:)?(?:{_ADDRESS} *)*)({FUNCTION})\+0x")
_LR = re.compile(rf"(?:LR is at |lr : )({FUNCTION})\+0x")
_LOCK_AT = re.compile(rf"(?:.*, at: |(?=\[<))(?:{_ADDRESS})?({FUNCTION}){OFFSET}")
# A step of a call trace: "callee from caller+…"; 3.4 adds addresses.
_STEP = re.compile(
    rf"\s*(?:{_ADDRESS})?\(?({FUNCTION})(?:{OFFSET})?{_MODULE}\)?"
    rf" from (?:{_ADDRESS})?\(?({FUNCTION})\+0x"
)
# A step of a saved call trace, and of any on arm64 and x86, without what is only on the stack (?).
_PLAIN_STEP = re.compile(rf"(?:kmemleak: )?\s+(?:{_ADDRESS})?({FUNCTION}){OFFSET}(?![^ ])")
_ACCESS = re.compile(r"(Read|Write) (?:of size|at addr) ")
_CLONE = re.compile(r"\.(?:constprop|isra|part|cold|llvm)\b.*")
# The interrupt's frame. The functions after it in the trace were interrupted.
_INTERRUPT = re.compile(r"__irq_(?:svc|usr)|el1h?_(?:64_)?irq\w*|(?:asm_sysvec_)?apic_timer_int\w*")

# What differs from run to run in the kernel's own words, and what replaces it.
_VARYING = (
    (re.compile(OFFSET), ""),
    (re.compile(r" exitcode=.*"), ""),
    (re.compile(r"\b(?:0x)?[0-9a-f]{8,16}\b"), "ADDR"),
    (re.compile(r"(?<![\w-])[0-9]{3,}\b"), "N"),
)


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

    found: Found
    lines: list[_Line] = field(default_factory=list)
    held: list[_Line] = field(default_factory=list)
    is_open: bool = True
    # The step of the last line that announced it, and whether one was a panic.
    step: int = 0
    panicked: bool = False

    @property
    def kind(self) -> Kind:
        """The kind of the trouble that it reports."""
        return self.found.line.kind

    def add(self, *lines: _Line) -> None:
        """Add lines, after the held lines."""
        self.lines += [*self.held, *lines]
        self.held.clear()

    def announce(self, found: Found, *lines: _Line) -> None:
        """Add lines, the last of which begins the report or is a further step of it."""
        self.add(*lines)
        self.is_open = True
        self.step = found.line.step
        self.panicked = self.panicked or found.line.kind.fatal

    def offer(self, line: _Line) -> None:
        """Add a line if it looks like a report's, else hold it. Too many in a row are the end."""
        if _INSIDE.match(line.text):
            self.add(line)
        else:
            self.held.append(line)
            self.is_open = len(self.held) <= _MOST_FOREIGN

    def give_back(self, lines: list[_Line]) -> None:
        """Remove lines that belong to the next report."""
        self.lines = [line for line in self.lines if line not in lines]
        self.held = [line for line in self.held if line not in lines]

    def is_near(self, line: _Line) -> bool:
        """Return whether the line was written soon enough after the report's last one."""
        last = self.lines[-1].time
        return last is None or line.time is None or line.time - last <= _SILENCE_SECONDS

    def ends_with(self, line: _Line) -> bool:
        """Return whether the line is the report's last."""
        if self.panicked:
            return line.text.startswith("---[ end Kernel panic")
        after = self.kind.row_after
        if after is not None and _ROW.match(line.text):
            return any(one.text.startswith(after) for one in self.lines)
        return line.text.startswith("---[ end trace")

    def goes_on_with(self, found: Found) -> bool:
        """Return whether what could begin a report is a further step of this one."""
        kind, step = found.line.kind, found.line.step
        if kind.fatal:
            why = "|".join(filter(None, (self.kind.panics, ".*panic_on_warn set")))
            return re.match(why, found.match["what"] or "") is not None
        is_related = kind is self.kind or kind.panics == self.kind.panics != ""
        is_next = 0 < self.step < step or self.step == step == 1
        return self.is_open and is_related and is_next


def find_reports(log: str) -> tuple[KernelReport, ...]:
    """Return the reports in a kernel log or a console, in the order of their first lines.

    Never raises. A line counts as the kernel's if it has a level or a time, unless its facility
    shows that a user's program wrote it. A report whose first line is missing from the log is
    not found.
    """
    cutter = _Cutter()
    for number, (line, _) in enumerate(lines_of(log)):
        told = kernel_line(line)
        if told is not None:
            cutter.take(_Line(number, line, told.text, told.caller, told.time))
    return tuple(sorted(map(_finished, cutter.finish()), key=lambda report: report.begin))


class _Cutter:
    """A collector that takes the kernel's lines one by one and adds each to its report."""

    def __init__(self) -> None:
        self._found: list[_Cutting] = []
        # By writer: the last report, and lines that may be the beginning of the next one.
        self._last: dict[str, _Cutting] = {}
        self._leads: dict[str, list[_Line]] = {}
        # The last report to which other CPUs contribute.
        self._spanning: _Cutting | None = None

    def take(self, line: _Line) -> None:
        """Take the next line."""
        last, spanning = self._near(line)
        found = trouble_in(line.text.rstrip())
        if found is not None and not found.line.no_report:
            self._begin(found, line)
        elif last is not None and last.is_open and last.ends_with(line):
            last.add(line)
            last.is_open = False
        else:
            self._note_lead(line)
            if last is not None and last.is_open:
                last.offer(line)
            elif spanning is not None and spanning.is_open and _INSIDE.match(line.text):
                spanning.add(line)

    def finish(self) -> list[_Cutting]:
        """Return all reports; call it at the end of the log."""
        for caller, lead in list(self._leads.items()):
            found = trouble_in(lead[0].text.rstrip())
            if found is not None:
                self._begin(found, self._leads[caller].pop())
        return self._found

    def _near(self, line: _Line) -> tuple[_Cutting | None, _Cutting | None]:
        """Return the writer's last report, and the one of all CPUs, unless silence ended them."""
        last, spanning = (
            report if report is not None and report.is_near(line) else None
            for report in (self._last.get(line.caller), self._spanning)
        )
        return last, spanning

    def _begin(self, found: Found, line: _Line) -> None:
        """Begin a report with the lines so far, or continue one with its next step."""
        lead = self._leads.pop(line.caller, [])
        last, spanning = self._near(line)
        for report in filter(None, (last, spanning)):
            report.give_back([*lead, line])
        if last is None or not last.goes_on_with(found):
            if last is not None:
                last.is_open = False
            last = self._last[line.caller] = _Cutting(found)
            self._found.append(last)
        last.announce(found, *lead, line)
        if last.panicked or last.kind.all_cpus:
            self._spanning = last

    def _note_lead(self, line: _Line) -> None:
        """Note the line if the next report may begin with it."""
        lead = self._leads.get(line.caller, [])
        if _LEAD.match(line.text):
            self._leads[line.caller] = [line]
        elif len(lead) == _MOST_FOREIGN:
            del self._leads[line.caller]
        elif lead:
            lead.append(line)


def _finished(cutting: _Cutting) -> KernelReport:
    # Lines that were taken back from another report come after newer lines of other CPUs.
    lines = sorted(cutting.lines, key=lambda line: line.number)
    return KernelReport(
        kind=cutting.kind.name,
        title=_title(cutting),
        begin=lines[0].number,
        text="".join(f"{line.line}\n" for line in lines),
    )


def _title(cutting: _Cutting) -> str:
    """Return what happened, and in which function."""
    (line, match), texts = cutting.found, [line.text for line in cutting.lines]
    groups = {name: _steady(text or "") for name, text in match.groupdict().items()}
    groups["access"] = next(_all(_ACCESS, texts), "")
    functions = (_CLONE.sub("", function) for function in _places(cutting, texts))
    place = next((name for name in functions if not _MACHINERY.fullmatch(name)), "")
    title = (line.alone if line.alone and not place else line.title).format(
        _steady(match[0]), **groups
    )
    words = " ".join((f"{title} in {place}" if place else title).split()).strip(" :.")
    shown = "".join(character if character.isprintable() else "?" for character in words)
    return shown[:_LONGEST_TITLE] or cutting.kind.name


def _steady(text: str) -> str:
    """Return the kernel's words without what differs from run to run."""
    for expression, instead in _VARYING:
        text = expression.sub(instead, text)
    return text


def _places(cutting: _Cutting, texts: list[str]) -> Iterator[str]:
    """Yield the functions that the report may be about, the most likely first."""
    kind, place = cutting.kind, cutting.found.line.place
    if place == "":
        return
    named = cutting.found.match.groupdict().get("func")
    if named:
        yield named
    if kind.registers:
        yield from _all(_PC, texts)
    if place == "lock":
        yield from _all(_LOCK_AT, texts)
    steps = (step.groups() for text in texts if (step := _STEP.match(text)))
    trace = [name for step in steps for name in step] or list(_all(_PLAIN_STEP, texts))
    if kind.all_cpus:
        # What an interrupt stopped.
        interrupts = (at for at, name in enumerate(trace) if _INTERRUPT.fullmatch(name))
        yield from trace[next(interrupts, len(trace)) + 1 :]
    yield from trace
    if kind.registers:
        yield from _all(_LR, texts)


def _all(expression: re.Pattern[str], texts: Iterable[str]) -> Iterator[str]:
    """Yield the group of each text that the expression matches."""
    return (match[1] for text in texts if (match := expression.match(text)))
