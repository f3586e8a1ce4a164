# SPDX-License-Identifier: MIT
"""The kernel log: the section of each scenario, and what is wrong in it.

A scenario's section lies between two marker lines with a fresh nonce. Trouble is what a broken
kernel writes (an oops, a wrongly held lock, a hung task), and every line at KERN_WARNING or
worse that is not explained here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from harness.kernel_output.records import (
    KernelLine,
    ParsedRecords,
    kernels_part,
    lines_of,
    parse_log,
    split_prefix,
)

# KERN_WARNING is 4; a lower number is worse.
_WARNING = 4
# A section that lacks one of these lines is incomplete.
_MARKER = "goldfish-oom: {edge} {nonce}"
# The beginning of a line that states the value of /proc/uptime at the time of writing.
UPTIME = "goldfish-oom: uptime "
_UPTIME = re.compile(re.escape(UPTIME) + r"([0-9]+\.[0-9]+)")


@dataclass(frozen=True)
class Section:
    """The lines between two markers; `text` keeps their line ends.

    Without `has_begin` the log has already lost the section's beginning. Without `has_end` its
    end was never written: the kernel or the device went away before.
    """

    text: str
    has_begin: bool
    has_end: bool

    @property
    def whole(self) -> bool:
        """Whether the section is complete."""
        return self.has_begin and self.has_end


@dataclass(frozen=True)
class Trouble:
    """One line of a log that a healthy kernel does not write.

    `fatal` means that the kernel does not go on after it.
    """

    kind: str
    line: str
    fatal: bool = False


@dataclass(frozen=True)
class Pattern:
    """What a kind of trouble looks like in the log, at any level.

    The expression has to match at the beginning of the text, where the kernel writes its words:
    anywhere else they come from a driver, a process's name or a program.
    """

    kind: str
    expression: str
    fatal: bool = False
    # The console reader's name for it, if nothing can be trusted that the kernel does after it.
    console: str = ""
    # Whether only a broken kernel writes it. A process may write into the log, too, and a
    # healthy kernel that is short of memory kills processes and refuses allocations.
    certain: bool = True


@dataclass(frozen=True)
class Allowed:
    """A harmless line at KERN_WARNING or worse, and why it is harmless."""

    expression: str
    reason: str


_WATCHDOG = r"(?:(?:NMI )?watchdog: )?"
_LOCKDEP = r"(?:\[ ?)?(?:WARNING|INFO|BUG): "
# A process's name before the kernel's words; non-text bytes in it may be escaped.
_NAME = r".{0,60}"

# Tried in this order: the first match decides the kind.
PATTERNS: tuple[Pattern, ...] = (
    # The kernel stopped itself, for example because init ended.
    Pattern(
        "panic",
        r"(?:---\[ end )?Kernel panic - not syncing",
        fatal=True,
        console="kernel panic",
    ),
    Pattern("KASAN report", r"BUG: KASAN: ", console="kernel bug"),
    # A CPU that no longer schedules. Kernels before 4.2 write it without the first word.
    Pattern("soft lockup", rf"{_WATCHDOG}BUG: soft lockup", console="soft lockup"),
    Pattern(
        "hard lockup",
        rf"{_WATCHDOG}(?:Watchdog detected hard LOCKUP|BUG: hard lockup)",
        console="hard lockup",
    ),
    Pattern("scheduling while atomic", r"BUG: scheduling while atomic", console="kernel bug"),
    Pattern(
        "sleep in atomic context",
        r"BUG: sleeping function called from invalid context",
        console="kernel bug",
    ),
    # A bad access in the kernel: the lines before the call trace, and the oops itself.
    Pattern(
        "oops",
        r"Unable to handle kernel |Internal error: |Unhandled (?:fault|prefetch abort): "
        r"|Oops(?: - |: |\[)",
        console="kernel oops",
    ),
    # A task in an uninterruptible sleep that does not end: mostly a deadlock.
    Pattern("hung task", r"INFO: task .* blocked for more than \d+ seconds", console="hung task"),
    # A CPU that does not leave a read-side section, or spins with interrupts off. Kernels before
    # 4.19 write it without the first word.
    Pattern(
        "RCU stall",
        r"(?:rcu: )?INFO: rcu.*detected (?:expedited )?stall",
        console="RCU stall",
    ),
    Pattern(
        "lockdep report",
        rf"(?:{_LOCKDEP})?(?:possible (?:circular locking|recursive locking|irq lock inversion)"
        r"|inconsistent lock state|suspicious RCU usage|held lock freed|possible deadlock"
        r"|lock held when returning to user space|bad (?:unlock balance|contention)"
        r"|Invalid wait context)"
        rf"|{_LOCKDEP}(?:\S+-safe -> \S+-unsafe lock order|trying to register non-static key"
        r"|.*/\d+ still has locks held)",
    ),
    Pattern("BUG", r"[Kk]ernel BUG at |BUG: |BUG \S+ \(", console="kernel bug"),
    Pattern("BUG", r"usercopy: Kernel memory (?:exposure|overwrite)", console="kernel bug"),
    # A WARNING begins with this line, too.
    Pattern("BUG", r"-{12}\[ cut here \]"),
    Pattern("WARNING", r"WARNING: ", certain=False),
    Pattern("memory leak", r"kmemleak: \d+ new suspected memory leaks"),
    Pattern("object error", r"ODEBUG: (?!\d+ of \d+ active objects replaced)|refcount_t: "),
    Pattern(
        "stock OOM kill",
        rf"Out of memory(?: \(|: )|Memory cgroup out of|{_NAME} invoked oom-killer: ",
        certain=False,
    ),
    # Android's own low-memory killer, which knows no per-user limits.
    Pattern(
        "stock OOM kill",
        r"lowmemorykiller: |send sigkill to \d+ \(|Killing '.*' \(\d+\), adj ",
        certain=False,
    ),
    Pattern(
        "allocation failure",
        rf"(?:{_NAME}: )?page allocation failure|SLUB: Unable to allocate memory",
        certain=False,
    ),
)

_UNEXPLAINED = "warning"

# Written by our own code. The judge of a scenario decides whether the line belongs there.
OWN_LINES: tuple[Allowed, ...] = (
    Allowed(
        r"mm_limits: table full: dropped uid=\d+, mm_max=\d+",
        "an entry was evicted; a scenario that fills the table expects it",
    ),
    Allowed(
        r"mm_limits: uid=\d+ is over its limit and has nobody left to kill: uRSS=\d+, mm_max=\d+",
        "all that is left is protected; a scenario that protects all expects it",
    ),
)

# Written by a healthy kernel on this machine.
BOOT_LINES: tuple[Allowed, ...] = (
    Allowed(
        r"CPU\d+: Spectre v2: firmware did not set auxiliary control register IBE bit,"
        r" system vulnerable",
        "there is no firmware below QEMU's -kernel that would set the bit",
    ),
    Allowed(
        r"hrtimer: interrupt took \d+ ns",
        "the host did not run the emulated CPU meanwhile; said once, about the host's load",
    ),
    Allowed(
        r"\w+: loading out-of-tree module taints kernel\.",
        "our modules are built out of tree, on purpose",
    ),
    Allowed(
        r"\*\*(?:\*{20,}| .* )\*\*",
        "the box that says that addresses are shown, which SLUB's debugging does",
    ),
    Allowed(
        r"(?:Lock dependency validator: Copyright .*"
        r"|\.\.\. (?:MAX_LOCK\w+|C\w+HASH_SIZE): +\d+"
        r"| memory used (?:by lock dependency info|for stack traces): \d+ kB"
        r"| per task-struct memory footprint: \d+ bytes)",
        "lockdep, presenting itself",
    ),
)

_CERTAIN = {pattern.kind for pattern in PATTERNS if pattern.certain}
_COMPILED = tuple((pattern, re.compile(pattern.expression)) for pattern in PATTERNS)
_ALLOWED = tuple(re.compile(allowed.expression) for allowed in (*OWN_LINES, *BOOT_LINES))


def marker(edge: str, nonce: str) -> str:
    """Return the text of a marker line; `edge` is "begin" or "end"."""
    return _MARKER.format(edge=edge, nonce=nonce)


def section(log: str, nonce: str) -> Section:
    """Return the part of `log` between the markers with `nonce`, without the markers.

    If the begin marker is missing, the section starts with the log. If the end marker is
    missing, it reaches to the log's end.
    """
    begin, end = marker("begin", nonce), marker("end", nonce)
    kept: list[str] = []
    has_begin = has_end = False
    for line, whole in lines_of(log):
        text = split_prefix(line).text.rstrip()
        if text == begin:
            has_begin = True
            kept.clear()
        elif text == end:
            has_end = True
            break
        else:
            kept.append(line + ("\n" if whole else ""))
    return Section("".join(kept), has_begin, has_end)


def ahead_of_uptime(log: str) -> float:
    """Return by how many seconds the log's times are ahead of /proc/uptime.

    The log's clock starts at another moment of the boot. Returns 0.0 if no line states both
    times. Of several lines the smallest difference counts, because a line that was written late
    gives too large a difference.
    """
    found = []
    for line in (split_prefix(line) for line, _ in lines_of(log) if UPTIME in line):
        uptime = _UPTIME.fullmatch(line.text.rstrip())
        if uptime and line.time is not None:
            found.append(line.time - float(uptime[1]))
    return min(found, default=0.0)


def pattern_of(text: str) -> Pattern | None:
    """Return the pattern that matches the text of a line, which comes without the line's prefix."""
    fits = (pattern for pattern, expression in _COMPILED if expression.match(text))
    return next(fits, None)


def find_trouble(
    log: str, allowed: Sequence[Allowed] = (), *, levels_tell: bool = True
) -> tuple[Trouble, ...]:
    """Return what a healthy kernel would not have written, in the log's order.

    Lines with a level are judged by pattern and, with `levels_tell`, by level. Lines with only a
    time (a console) are judged by pattern. Lines with neither, or with a facility, come from a
    user's program and do not count. `allowed` adds to the lines that are explained here.
    """
    explained = (*_ALLOWED, *(re.compile(line.expression) for line in allowed))
    found: list[Trouble] = []
    for line, _ in lines_of(log):
        trouble = _trouble(line, explained)
        if trouble is not None and (levels_tell or trouble.kind != _UNEXPLAINED):
            found.append(trouble)
    return tuple(found)


def certain_lines(log: str) -> str:
    """Return the lines of `log` that only a broken kernel writes."""
    found = find_trouble(log, levels_tell=False)
    return "".join(f"{trouble.line}\n" for trouble in found if trouble.kind in _CERTAIN)


def _trouble(line: str, explained: Sequence[re.Pattern[str]]) -> Trouble | None:
    """Return what is wrong with one line, or None."""
    told = kernels_part(line)
    parts = split_prefix(told)
    if (
        not told
        or not parts.from_kernel
        or any(pattern.fullmatch(parts.text) for pattern in explained)
    ):
        return None
    # The victim's user chooses its name, which must not count as trouble of the kernel. Torn
    # records are left to the judge of records.
    if parse_log(told + "\n") != ParsedRecords((), ()):
        return None
    if (pattern := pattern_of(parts.text)) is not None:
        return Trouble(pattern.kind, line, pattern.fatal)
    return Trouble(_UNEXPLAINED, line) if _is_warning(parts) else None


def _is_warning(line: KernelLine) -> bool:
    """Return whether the kernel itself wrote the line at KERN_WARNING or worse."""
    return line.priority is not None and line.priority <= _WARNING and bool(line.text.strip())
