# SPDX-License-Identifier: MIT
"""Kill records: the kernel's log lines that say which process it killed, and why.

One line per kill, at level KERN_ERR, tabs after the commas:

    uid=10070, uRSS=…, mm_max=…, pid=…, pRSS=… [, total_run_time=… | , badness=… | , NAME=…]
    [, policy=…, trigger=… [, dry_run=1] [, sharer_of=…], comm=…]

Lines in the older form, that of the 2020 report, end after pRSS and have tabs, spaces or nothing
after the commas. All sizes are in bytes, total_run_time is in nanoseconds.

A log can be cut off anywhere, and on a console several writers mix. So a line is a record only
if it is one from its beginning to its line end. A line that looks like a part of a record, but
is not a whole one, is returned as torn: a caller that counts kills must know that it may have
missed one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated

from msgspec import Meta

# TASK_COMM_LEN without its NUL. A longer name is two lines that ran together. No name is long
# enough to hold a whole record.
COMM_BYTES = 15
_MAX_UID = 2**32 - 1
_MAX_PID = 2**31 - 1
_MAX_LONG = 2**64 - 1
# Levels are 0 to 7. What a user writes to /dev/kmsg gets a facility of 1 or above, which adds a
# multiple of 8.
_KERNEL_LEVELS = 8

# The policies that scenarios run under, and the name of each one's figure in a record.
FIGURE_OF_POLICY: Mapping[str, str | None] = MappingProxyType(
    {"rss": None, "runtime": "total_run_time", "badness": "badness"}
)
_POLICY_OF_FIGURE = {figure: policy for policy, figure in FIGURE_OF_POLICY.items() if figure}


# What a file or a stream has of a record is checked, too.
Size = Annotated[int, Meta(ge=0)]


@dataclass(frozen=True)
class KernelLine:
    """A log line without its prefix.

    `priority` is the number in `<…>` (level plus 8 times the facility), `time` is in seconds
    since boot. Each is None if the line lacks it. `caller` is the task or the CPU that wrote the
    line, empty unless the kernel says so (CONFIG_PRINTK_CALLER).
    """

    priority: int | None
    time: float | None
    text: str
    caller: str = ""

    @property
    def from_kernel(self) -> bool:
        """Whether the line may be the kernel's: False if its facility shows a user's program."""
        return self.priority is None or self.priority < _KERNEL_LEVELS


@dataclass(frozen=True)
class KillRecord:
    """One kill. Sizes are in bytes; `comm` has its bytes as Latin-1 characters.

    `figure` is the value that the policy compared: CPU time in nanoseconds for runtime, points
    for badness, None for rss, and any value for a loaded policy. In the older form `trigger` and
    `comm` are empty, and so is `policy` unless the figure reveals it. With `dry_run` no process
    died.
    """

    time: float | None
    uid: Size
    user_rss: Size
    mm_max: Size
    pid: Size
    rss: Size
    figure: int | None
    policy: str
    trigger: str
    sharer_of: Size | None
    comm: str
    dry_run: bool = False


@dataclass(frozen=True)
class ParsedRecords:
    """The records of a log, and the lines that look like parts of one."""

    records: tuple[KillRecord, ...]
    torn: tuple[str, ...]


_PREFIX = re.compile(
    r"(?:<(?P<priority>[0-9]{1,4})>)?"
    r"(?:\[ *(?P<time>[0-9]{1,9}\.[0-9]{1,9})\](?:\[ *(?P<caller>[TC][0-9]+)\])? ?)?"
)
# What the kernel writes before a line on a console.
_TIME = re.compile(r"(?:<[0-9]{1,4}>)?\[ *[0-9]{1,9}\.[0-9]{6}\](?:\[ *[TC][0-9]+\])?(?: |$)")
_NUMBER = r"(?:0|[1-9][0-9]{0,19})"
_COMMA = r",[ \t]*"
_RECORD = re.compile(
    rf"uid=(?P<uid>{_NUMBER}){_COMMA}uRSS=(?P<user_rss>{_NUMBER}){_COMMA}"
    rf"mm_max=(?P<mm_max>{_NUMBER}){_COMMA}pid=(?P<pid>{_NUMBER}){_COMMA}pRSS=(?P<rss>{_NUMBER})"
    rf"(?:{_COMMA}(?P<figure_name>[A-Za-z0-9_]+)=(?P<figure>-?{_NUMBER}))?"
    rf"(?:{_COMMA}policy=(?P<policy>[A-Za-z0-9_.-]+){_COMMA}trigger=(?P<trigger>[a-z_]+)"
    rf"(?:{_COMMA}dry_run=(?P<dry_run>1))?"
    rf"(?:{_COMMA}sharer_of=(?P<sharer_of>{_NUMBER}))?"
    rf"{_COMMA}comm=(?P<comm>(?:[\x20-\x5b\x5d-\x7e]|\\x[0-9a-fA-F]{{2}})*))?"
)
_PIECE = re.compile(r"uRSS=|pRSS=|(?:^|[\]>] ?)uid=[0-9]+,(?![ \t]*mm_max=)|trigger=[a-z_]*,")
# The only other kernel line that contains these words.
_NOBODY_LEFT = re.compile(
    rf"mm_limits: uid={_NUMBER} is over its limit and has nobody left to kill: "
    rf"uRSS={_NUMBER}, mm_max={_NUMBER}"
)
_ESCAPE = re.compile(r"\\x([0-9a-fA-F]{2})")


def split_prefix(line: str) -> KernelLine:
    """Return a log line (without its line end) split into prefix and text."""
    match = _PREFIX.match(line)
    assert match is not None  # every part of the prefix is optional
    priority, time = match["priority"], match["time"]
    return KernelLine(
        priority=None if priority is None else int(priority),
        time=None if time is None else float(time),
        text=line[match.end() :],
        caller=match["caller"] or "",
    )


def kernel_line(line: str) -> KernelLine | None:
    """Return what the kernel wrote in a line of its log or of a console; None if nothing.

    On a console, a prompt or a program's output without a line end may come before it.
    """
    parts = split_prefix(line)
    if parts.priority is None:
        found = _TIME.search(line)
        if found is None:
            return None
        parts = split_prefix(line[found.start() :])
    return parts if parts.from_kernel else None


def unescape(text: str) -> str:
    r"""Return `text` with each `\xHH` of the kernel as one Latin-1 character."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text)


def escape(name: str) -> str:
    r"""Return a name as the kernel writes it: `\xHH` for unprintable bytes, space and backslash."""
    return "".join(
        character if "!" <= character <= "~" and character != "\\" else f"\\x{ord(character):02x}"
        for character in name
    )


def format_record(record: KillRecord) -> str:
    """Return the line that the kernel prints for `record`, without a prefix."""
    fields = [
        f"uid={record.uid}",
        f"uRSS={record.user_rss}",
        f"mm_max={record.mm_max}",
        f"pid={record.pid}",
        f"pRSS={record.rss}",
    ]
    figure_name = FIGURE_OF_POLICY.get(record.policy)
    if figure_name is not None and record.figure is not None:
        fields.append(f"{figure_name}={record.figure}")
    if record.trigger:
        fields += [f"policy={record.policy}", f"trigger={record.trigger}"]
        fields += ["dry_run=1"] if record.dry_run else []
        if record.sharer_of is not None:
            fields.append(f"sharer_of={record.sharer_of}")
        fields.append(f"comm={escape(record.comm)}")
    return ",\t".join(fields)


def lines_of(text: str) -> list[tuple[str, bool]]:
    """Return the lines of a log without their ends, and for each whether it has its line end.

    Only line feeds end a line: `splitlines` would also split at characters that may occur inside
    a log line.
    """
    *whole, rest = text.split("\n")
    lines = [(line.rstrip("\r"), True) for line in whole]
    return [*lines, (rest, False)] if rest else lines


def parse_log(text: str, *, raw: bool = False) -> ParsedRecords:
    """Return the records in a log, in its order, and the torn lines. Never raises.

    `raw` means that the text is the kernel's own log, each line with its level in front. Then a
    line without a level is no record, whatever it looks like. Without `raw` (a console, a saved
    report) a level counts if there is one.
    """
    records: list[KillRecord] = []
    torn: list[str] = []
    for line, whole in lines_of(text):
        parts = split_prefix(line)
        if not parts.from_kernel:
            continue
        record = _record(parts) if whole and not (raw and parts.priority is None) else None
        if record is not None:
            records.append(record)
        elif _PIECE.search(line) and not _NOBODY_LEFT.fullmatch(parts.text):
            torn.append(line)
    return ParsedRecords(tuple(records), tuple(torn))


def _record(line: KernelLine) -> KillRecord | None:
    """Return the record if the whole line is one, else None."""
    match = _RECORD.fullmatch(line.text.lstrip(" \t"))
    if match is None:
        return None
    figure_name, policy = match["figure_name"], match["policy"]
    # A loaded policy may have any figure, or none.
    if policy in FIGURE_OF_POLICY and FIGURE_OF_POLICY[policy] != figure_name:
        return None
    if not policy and figure_name is not None and figure_name not in _POLICY_OF_FIGURE:
        return None
    numbers = {name: int(match[name]) for name in ("uid", "user_rss", "mm_max", "pid", "rss")}
    record = KillRecord(
        **numbers,
        time=line.time,
        figure=None if match["figure"] is None else int(match["figure"]),
        policy=policy or _POLICY_OF_FIGURE.get(figure_name or "", ""),
        trigger=match["trigger"] or "",
        sharer_of=None if match["sharer_of"] is None else int(match["sharer_of"]),
        comm=unescape(match["comm"] or ""),
        dry_run=match["dry_run"] is not None,
    )
    return record if _possible(record) else None


def _possible(record: KillRecord) -> bool:
    """Return whether the kernel's types can hold the record's numbers and name."""
    return (
        record.uid <= _MAX_UID
        and 0 < record.pid <= _MAX_PID
        and (record.sharer_of is None or 0 < record.sharer_of <= _MAX_PID)
        and max(record.user_rss, record.mm_max, record.rss, abs(record.figure or 0)) <= _MAX_LONG
        and len(record.comm) <= COMM_BYTES
    )
