# SPDX-License-Identifier: MIT
"""A scenario as one script for the device's shell, and the parser of the script's output.

Each command over adb starts several processes in the guest, and each takes some ten
milliseconds on an emulated CPU. So a scenario is one command, whose script (for mksh, which is
also Android's shell) does all that it can itself: it starts the runs as coprocesses, and reads
their output until they hold their memory.

The output consists of parts. Each begins with a line with a fresh token, which no other
program on the device prints.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from harness.build.modules import MODULE_NAMES
from harness.kernel_output.klog import UPTIME, marker
from harness.kernel_output.proc_mm_limits import COLUMNS
from harness.kernel_output.programs_output import holding_prefix
from harness.scenarios.catalogue import (
    PROGRAMS,
    SHIELD_ADJ,
    Child,
    Enough,
    Modules,
    Run,
    Scenario,
    SetLimit,
    uid_of,
)
from harness.targets.model import DEVICE_FOLDER

PROC = "/proc/mm_limits"
# The interval at which each user's memory is sampled.
_WATCH_SECONDS = 0.05
# How many times the uptime is written to the kernel log.
_UPTIMES = 3
# Where the kernel reports its decisions, if it can: before Linux 4.1 in debugfs.
_TRACEFS, _DEBUGFS = "/sys/kernel/tracing", "/sys/kernel/debug"
TRACING = (_TRACEFS, f"{_DEBUGFS}/tracing")
_POLICY = "/proc/sys/vm/mm_limits_policy"
_TRIGGER = "/proc/sys/vm/mm_limits_trigger"
_DAEMON_POLICY = "/sys/module/my_oom_killer/parameters/policy"

# The level of the harness's lines in the kernel log. Without a level an old kernel would log
# them as its own warnings.
_NOTICE = "<5>"
# The names of the parts that are not runs. No run has such a name.
BEGIN, SETTINGS, CHANGE, LIMITS, DAEMON, DECISIONS, LOG = (
    *("(begin)", "(settings)", "(modules)", "(limits)", "(daemon)", "(decisions)", "(log)"),
)
# The length of a round of the daemon, and its time to act on the last step: some rounds.
_DAEMON_SECONDS = 0.1
_DAEMON_ROUNDS_SECONDS = 0.6
# How long the children must be quiet before they count as settled: with the daemon for some
# of its rounds, because it may kill only after all have allocated.
_SETTLE_MS = {"alloc": 50, "daemon": 300}
# How long to wait for the daemon's first kill: long if one must come, short if none may.
_KILL_WAIT_SECONDS = 30.0
_NO_KILL_WAIT_SECONDS = 0.4
# A program gives up by itself before the harness does: its output then says how far it got.
PROGRAM_SECONDS = 90
_SECONDS = re.compile(r"[0-9]+\.[0-9]+")
# The interval, and the largest number, of checks whether a victim is gone.
_LOOK_SECONDS, _LOOKS = 0.05, 400
# The first file descriptor of a coprocess. A shell script can name ten descriptors, 0 to 9.
_FIRST_FD = 3
# The last descriptor is needed to close a coprocess's input.
_SPARE_FD = 9

# `part` begins a part and prints the time, `status` ends it. `spawn FD COMMAND` starts a
# coprocess, `await FD TEXT` prints its output up to a line that begins with TEXT, and
# `rest NAME FD` prints the remaining output as the part NAME.
# A coprocess waits in `read` until `spawn` has moved its output to FD and closed its input: if
# it ended before that, the shell might lose its output.
_PRELUDE = r"""
part() { read -r up line </proc/uptime; print -r -- "$token part $up $1"; }
status() { print -r -- "$token status $1"; }
spawn() {
	{ (eval "$2") </dev/null 2>&1; status $?; read -r; } |&
	eval "exec $1<&p"
	exec 9>&p
	exec 9>&-
}
await() {
	while IFS= read -r -u$1 line; do
		print -r -- "$line"
		case $line in
		"$token status "*) over="$over $1 "; return ;;
		"$token pid "*) pid=${line##* } ;;
		"$2"*) return ;;
		esac
	done
}
rest() {
	[[ $over == *" $2 "* ]] && return
	part "$1"
	await $2 "$token"
}
"""

# Waits, for a limited time, until no user is above its limit. It skips numbers that are too
# long for the shell's 32-bit arithmetic.
_GONE = rf"""
within() {{
	while read -r user max rss others; do
		[[ $user == {COLUMNS[0]} || ${{#max}} -gt 9 || ${{#rss}} -gt 9 ]] && continue
		[[ $rss -le $max ]] || return 1
	done <{PROC}
}}
looks=0
until within || [[ $looks -ge {_LOOKS} ]]; do
	looks=$((looks + 1))
	busybox sleep {_LOOK_SECONDS:g}
done
""".strip()


@dataclass(frozen=True)
class Part:
    """One part of a script's output; `status` is None if the part has not ended.

    `time` is when it began, in seconds since boot, to some 10 ms; None if the script could
    not read it.
    """

    name: str
    text: str
    status: int | None
    time: float | None = None


@dataclass(frozen=True)
class Script:
    """A scenario under a policy and a trigger; `nonce` and `token` are fresh.

    The programs print the nonce, and the kernel log contains it. They do not know the token.
    With `stock` the script is for a kernel without our patches, and `scenario` is one that
    catalogue.on_stock() made.
    """

    scenario: Scenario
    policy: str
    trigger: str
    nonce: str
    token: str
    stock: bool = False

    @property
    def text(self) -> str:
        """The script, which root must run."""
        return "\n".join((f"token={self.token}", _PRELUDE.strip(), *self._lines()))

    def _lines(self) -> Iterator[str]:
        yield from self._begin()
        fds: dict[str, int] = {}
        if self.trigger == "daemon" and not self.stock:
            fds[DAEMON] = _FIRST_FD
            # The daemon's pid comes before its own output.
            told = f'print -r -- "$0 pid $$"; exec ./oom_daemon -v {_DAEMON_SECONDS:g}'
            command = f"exec sh -c {shlex.quote(told)} $token"
            yield from self._start(DAEMON, command, fds[DAEMON], "my_oom_killer: ")
        longest = max((child.size for child in _readers(self.scenario)), default=0)
        if longest:
            # Nothing is in it, so it takes no memory.
            yield f"busybox truncate -s {longest} {self.zeros} || exit"
        for step in self.scenario.steps:
            if isinstance(step, SetLimit):
                yield from _in_part(SETTINGS, setting_command(step, self.nonce))
            elif isinstance(step, Modules):
                yield from _in_part(CHANGE, modules_command(step))
            else:
                fd = fds[step.name] = _FIRST_FD + len(fds)
                assert fd < _SPARE_FD
                holding = holding_prefix(self.nonce)
                yield from self._start(step.name, run_command(step, self), fd, holding)
        yield from self._end(fds)

    def _begin(self) -> Iterator[str]:
        """Remove all limits, set policy and trigger, and write the log's begin marker."""
        begin = shlex.quote(_NOTICE + marker("begin", self.nonce))
        yield "part '(begin)'"
        yield f"cd {DEVICE_FOLDER} || exit"
        if not self.stock:
            yield from self._set_up()
        yield f"print -r -- {begin} > /dev/kmsg || exit"
        if not self.stock:
            files = (_TRIGGER, _POLICY, PROC)
            yield "; ".join(f'print -r -- "$(<{file})"' for file in files)
        yield "status 0"

    def _set_up(self) -> Iterator[str]:
        # Read all names first: to remove entries while reading would miss some.
        yield "users="
        yield f'while read -r user others; do users="$users $user"; done < {PROC}'
        # Twice: what root set, and what the user set itself.
        once = f'print -r -- "uid=$user max=none" > {PROC} || exit'
        remove = f"{{ {once}; {once}; }}"
        yield f"for user in $users; do [[ $user == {COLUMNS[0]} ]] || {remove}; done"
        by_daemon = self.policy if self.trigger == "daemon" else ""
        for word, file in (
            (self._on_alloc, _TRIGGER),
            (self.policy, _POLICY),
            (by_daemon, _DAEMON_POLICY),
        ):
            yield f"print -r -- '{word}' > {file} || exit"
        yield f"trace={TRACING[0]}/trace; [[ -e $trace ]] || trace={TRACING[1]}/trace"
        yield "[[ ! -e $trace ]] || : > $trace"

    @property
    def _on_alloc(self) -> str:
        return "alloc" if self.trigger == "alloc" else "none"

    @property
    def first_answer(self) -> list[str]:
        """The lines with which the part BEGIN must end; with `stock` it must be empty."""
        if self.stock:
            return []
        return [self._on_alloc, self.policy, " ".join(COLUMNS)]

    @property
    def end_mark(self) -> str:
        """The marker that is written to the kernel log at the end."""
        return _NOTICE + marker("end", self.nonce)

    @property
    def zeros(self) -> str:
        """The file that children read in place of touching memory."""
        return f"{DEVICE_FOLDER}/zeros-{self.nonce}"

    @property
    def until(self) -> str:
        """The file that tells the programs to end."""
        return f"{DEVICE_FOLDER}/end-{self.nonce}"

    def _start(self, name: str, command: str, fd: int, until: str) -> Iterator[str]:
        yield f"part {shlex.quote(name)}"
        yield f"spawn {fd} {shlex.quote(command)}"
        yield f"await {fd} {shlex.quote(until)}"

    @property
    def _may_still_kill(self) -> bool:
        """Whether an expected kill may still come after the last step, or its victim still exist.

        True if the last step sets a limit, and with the daemon: a run waits for the daemon's
        first kill, but on a busy host the daemon's rounds may be longer than the run's wait
        for a further kill.
        """
        if self.scenario.expected[self.policy] is None or self.scenario.nobody_left:
            return False
        return self.trigger == "daemon" or isinstance(self.scenario.steps[-1], SetLimit)

    def _end(self, fds: dict[str, int]) -> Iterator[str]:
        """Read /proc/mm_limits while the survivors live, then end them and read the log."""
        if DAEMON in fds and not isinstance(self.scenario.steps[-1], Run):
            # Give the daemon time to act on the last step, rightly or wrongly.
            yield f"busybox sleep {_DAEMON_ROUNDS_SECONDS:g}"
        if not self.stock:
            if self._may_still_kill:
                yield _GONE
            yield from _in_part(LIMITS, f'print -r -- "$(<{PROC})"')
        yield f": > {self.until}"
        for name, fd in fds.items():
            if name != DAEMON:
                yield f"rest {shlex.quote(name)} {fd}"
        if DAEMON in fds:
            yield f"kill $pid; rest '{DAEMON}' {fds[DAEMON]}"
        end = shlex.quote(self.end_mark)
        # The log is read by busybox: see Device.kernel_log().
        if not self.stock:
            # Use busybox, which is static and so starts soon; not the shell: it only warns if the
            # file is missing, and it reads in small pieces, for each of which Linux 3.4 scans the
            # trace from its beginning.
            yield from _in_part(DECISIONS, "busybox cat $trace")
        files = f"{self.until} {self.zeros}" if any(_readers(self.scenario)) else self.until
        mark = f"print -r -- {end} > /dev/kmsg"
        yield from _in_part(LOG, f"busybox rm {files}; {mark} && busybox dmesg -r")


def _readers(scenario: Scenario) -> Iterator[Child]:
    """Yield the children that take their memory in a read()."""
    return (child for run in scenario.runs for child in run.children if child.reads)


def _in_part(name: str, command: str) -> Iterator[str]:
    yield f"part '{name}'; {{ {command}; }} 2>&1; status $?"


def parts_of(output: str, token: str) -> tuple[Part, ...]:
    """Split the output of a script with this token into its parts, as far as it got."""
    found: list[Part] = []
    for piece in re.split(rf"^{token} part ", output, flags=re.MULTILINE)[1:]:
        first, _, text = piece.partition("\n")
        time, _, name = first.partition(" ")
        body, ended, status = text.partition(f"{token} status ")
        number = status.partition("\n")[0]
        whole = int(number) if ended and number.isdigit() else None
        found.append(Part(name, body, whole, float(time) if _SECONDS.fullmatch(time) else None))
    return tuple(found)


def run_command(run: Run, script: Script) -> str:
    """Build the device's shell command, for root, that runs an oom test program as the user."""
    policy, trigger, scenario = script.policy, script.trigger, script.scenario
    words = [
        f"./{PROGRAMS[trigger]}",
        *("-m", script.nonce),
        *("-e", _letters(scenario, run, policy)),
        *("-s", str(_SETTLE_MS[trigger])),
        *("-t", str(PROGRAM_SECONDS)),
        *("-u", script.until),
    ]
    if trigger == "daemon":
        must_kill = scenario.expected_of(run, policy) is not None and run is scenario.steps[-1]
        words += ["-w", f"{_KILL_WAIT_SECONDS if must_kill else _NO_KILL_WAIT_SECONDS:g}"]
    if run.together:
        words.append("-a")
    if any(child.reads for child in run.children):
        words += ["-f", script.zeros]
    words += [run.user, str(run.limit)]
    words += [child_argument(run, child, policy) for child in run.children]
    program = shlex.join(words)
    if run.by_root:
        return f"print -r -- 0 > /proc/self/oom_score_adj && exec {program}"
    if not run.shielded:
        return f"exec su {uid_of(run.user)} {program}"
    return (
        f"print -r -- {SHIELD_ADJ} > /proc/self/oom_score_adj"
        f" && exec su --keep-oom-score {uid_of(run.user)} {program}"
    )


def _letters(scenario: Scenario, run: Run, policy: str) -> str:
    """Return how each child of `run` must end, in the form of the programs' option -e."""
    expected = scenario.expected_of(run, policy)
    if isinstance(expected, Enough):
        return "?" * len(run.children)
    dead = () if expected is None else expected.indexes
    return "".join("K" if index in dead else "L" for index in range(len(run.children)))


def child_argument(run: Run, child: Child, policy: str) -> str:
    """Build the argument of an oom test program that describes a child of `run`."""
    words = [str(child.size)]
    cpu_time = child.cpu_time(policy)
    if cpu_time:
        words.append(f"cpu={cpu_time}")
    if child.adj is not None:
        words.append(f"adj={child.adj}")
    if child.name is not None:
        words.append("name=" + "".join(f"\\x{ord(character):02x}" for character in child.name))
    if run.by_root:
        words.append(f"{'then' if child.is_late else 'user'}={uid_of(run.user_of(child))}")
    if child.leader is not None:
        words.append(f"leader={child.leader}")
    words += ["reads"] * child.reads + ["sharer"] * child.is_sharer
    return ",".join(words)


def setting_command(step: SetLimit, nonce: str) -> str:
    """Build the device's shell command, for root, that calls set_mm_limits() as its caller."""
    words = ["./test_set_mm_limits", "-m", nonce, "-e", step.expect]
    words += [str(uid_of(step.user)), str(step.limit)]
    return f"su {uid_of(step.caller)} {shlex.join(words)}"


def modules_command(step: Modules) -> str:
    """Build the device's shell command, for root, that loads or unloads the modules."""
    if step.loaded:
        return " && ".join(f"insmod {DEVICE_FOLDER}/{name}.ko" for name in MODULE_NAMES)
    return " && ".join(f"busybox rmmod {name}" for name in reversed(MODULE_NAMES))


def events_command() -> str:
    """Build the device's shell command, for root, that enables the events of decisions.

    It succeeds also on a kernel that has no such events.
    """
    switches = " ".join(f"{folder}/events/mm_limits/enable" for folder in TRACING)
    return (
        f"busybox mount -t tracefs tracefs {_TRACEFS} 2>/dev/null"
        f" || busybox mount -t debugfs debugfs {_DEBUGFS} 2>/dev/null;"
        f" for switch in {switches}; do"
        " if [ -e $switch ]; then echo 1 > $switch; break; fi; done"
    )


def uptime_command() -> str:
    """Build the device's shell command, for root, that writes the uptime to the kernel log.

    It writes right after the uptime changes, which has a resolution of 0.01 s. It does so
    several times, because a busy host may stop the guest between reading and writing.
    """
    read = "read -r up others </proc/uptime"
    line = shlex.quote(_NOTICE + UPTIME)
    return (
        f"for time in {' '.join(map(str, range(_UPTIMES)))}; do"
        f" {read}; first=$up; while [[ $up == $first ]]; do {read}; done;"
        f" print -r -- {line}$up >/dev/kmsg; done"
    )


def watch_command() -> str:
    """Build the device's shell command, for root, that prints each user's memory for ever."""
    return f"cd {DEVICE_FOLDER} && exec ./watch_memory {_WATCH_SECONDS:g}"
