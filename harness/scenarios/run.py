# SPDX-License-Identifier: MIT
"""Runs a scenario on a device, and returns the observations.

Nothing is judged here: output that does not come is missing from the observations, and wrong
output is in them as it came.
"""

from __future__ import annotations

import math
import re
import secrets
import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

from harness.core.errors import BootError, DeviceError, HarnessError
from harness.core.text import last_lines
from harness.kernel_output.klog import section
from harness.kernel_output.proc_mm_limits import LimitEntry, parse_mm_limits
from harness.kernel_output.programs_output import parse_output
from harness.machine.adb import Device
from harness.machine.session import Session
from harness.scenarios.catalogue import NO_LIMIT, Modules, Run, Scenario, SetLimit, uid_of
from harness.scenarios.evidence import LimitChange, Meanwhile
from harness.scenarios.observations import Observations, ProgramRun
from harness.scenarios.oracle import parse_decisions
from harness.scenarios.script import (
    BEGIN,
    CHANGE,
    DAEMON,
    DECISIONS,
    LIMITS,
    LOG,
    PROC,
    PROGRAM_SECONDS,
    SETTINGS,
    Part,
    Script,
    modules_command,
    parts_of,
)
from harness.targets.model import DEVICE_FOLDER

__all__ = ["DEVICE_FOLDER", "load_modules", "observe", "parse_limits"]

# Time for a command, and for each step, without the runs: more than a process needs on a
# busy host.
_SHELL_SECONDS = 20.0
_STEP_SECONDS = 5.0


def load_modules(device: Device) -> None:
    """Load the modules that supply the syscalls."""
    device.shell(modules_command(Modules(loaded=True)), timeout=_SHELL_SECONDS)


def parse_limits(device: Device) -> tuple[LimitEntry, ...]:
    """Read and parse the device's /proc/mm_limits; DeviceError if it is malformed."""
    return _limits_in(device.read_file(PROC))


def _limits_in(text: str) -> tuple[LimitEntry, ...]:
    try:
        return parse_mm_limits(text)
    except ValueError as error:
        raise DeviceError(str(error)) from error


def observe(
    session: Session, scenario: Scenario, policy: str, trigger: str, *, stock: bool = False
) -> Observations:
    """Run `scenario` on the session's device; return the observations.

    With `stock` the kernel has no limits: no daemon runs, /proc/mm_limits is not read, and
    their observations get values that pass.

    Never raises a HarnessError. A BootError means that the kernel failed (a panic, an oops, a
    hang) and becomes `died`; other errors become `problem`.
    """
    nonce, token = secrets.token_hex(8), secrets.token_hex(16)
    script = Script(scenario, policy, trigger, nonce, token, stock)
    seen = Observations(nonce, limits=(), daemon_calls=1) if stock else Observations(nonce)
    try:
        _perform(session.device, script, seen)
    except HarnessError as error:
        try:
            session.check()
        except BootError as cause:
            seen.died = _one_line(cause)
        except HarnessError as cause:
            seen.problem = _one_line(cause)
        else:
            seen.problem = _one_line(error)
            _clear(session.device, script, seen)
    return seen


def _clear(device: Device, script: Script, seen: Observations) -> None:
    """End the processes of a script that did not run to its end, and read the log.

    Otherwise these processes would disturb the next scenario.
    """
    if seen.log:
        return
    end = shlex.quote(script.end_mark)
    mark = f"print -r -- {end} > /dev/kmsg; busybox dmesg -r"
    commands = f": > {script.until}; busybox sleep 1; {mark}"
    with suppress(HarnessError):
        seen.log = device.shell(commands, check=False, timeout=_SHELL_SECONDS).output
        seen.section = section(seen.log, script.nonce)


def _one_line(error: HarnessError) -> str:
    """Return the error's message and the last line of its output, if that is not in a log file."""
    last = [] if error.log is not None else error.tail.strip().splitlines()[-1:]
    return ": ".join([error.message, *(line.strip() for line in last)])


def _perform(device: Device, script: Script, seen: Observations) -> None:
    """Run the script, and record its output, also if it does not run to its end."""
    steps = len(script.scenario.steps)
    timeout = _SHELL_SECONDS + steps * _STEP_SECONDS
    timeout += 2 * PROGRAM_SECONDS * len(script.scenario.runs)
    running = device.start(script.text, name="the scenario's script", kept=True)
    try:
        running.wait(timeout)
    finally:
        running.close()
        parts = parts_of(running.output, script.token)
        _note(script, parts, seen)
        seen.meanwhile = _meanwhile(script, parts)
    _check(script, parts, running.output)
    limits = _last(parts, LIMITS)
    if limits is not None:
        seen.limits = _limits_in(limits.text)
        if seen.meanwhile is not None:
            seen.meanwhile = replace(seen.meanwhile, read_at=limits.time, read=seen.limits)


def _note(script: Script, parts: Sequence[Part], seen: Observations) -> None:
    """Record what the parts say, except /proc/mm_limits (the part LIMITS)."""
    seen.settings = tuple(
        ProgramRun(part.status, parse_output(part.text))
        for part in parts
        if part.name == SETTINGS and part.status is not None
    )
    seen.module_problems = tuple(
        part.text.strip() for part in parts if part.name == CHANGE and part.status
    )
    found = {run.name: _whole(parts, run.name) for run in script.scenario.runs}
    seen.runs = {name: whole for name, whole in found.items() if whole is not None}
    daemon = _last(parts, DAEMON)
    if daemon is not None and daemon.status is not None:
        calls = re.findall(r"^my_oom_killer: ret=\d+, errno=0$", _text(parts, DAEMON), re.MULTILINE)
        seen.daemon_calls = len(calls) if daemon.status == 0 else 0
    log = _last(parts, LOG)
    if log is not None:
        seen.log = log.text
        seen.section = section(log.text, script.nonce)
    decisions = _last(parts, DECISIONS)
    if decisions is not None and decisions.status == 0:
        seen.decisions = parse_decisions(decisions.text)
        seen.decisions_lost = seen.decisions is None


def _meanwhile(script: Script, parts: Sequence[Part]) -> Meanwhile | None:
    """Return when the script ran and when it set limits; None if it printed no time."""
    times = [part.time for part in parts if part.time is not None]
    if not times:
        return None
    # If the kernel died the end is unknown.
    end = times[-1] if parts[-1].name == LOG else math.inf
    return Meanwhile(times[0], end, tuple(_limit_changes(script, parts)))


def _limit_changes(script: Script, parts: Sequence[Part]) -> Iterator[LimitChange]:
    """Yield when which limit was set, as far as the script could print the time."""
    done = [part for part in parts if part.name == SETTINGS and part.status is not None]
    first = {part.name: part for part in reversed(parts)}
    setters: list[tuple[SetLimit | Run, Part]] = [
        *zip(script.scenario.settings, done, strict=False),
        *((run, first[run.name]) for run in script.scenario.runs if run.name in first),
    ]
    for step, part in setters:
        taken = any(answer.ret >= 0 for answer in parse_output(part.text).limits)
        if taken and part.time is not None:
            limit = None if step.limit == NO_LIMIT else int(step.limit)
            yield LimitChange(part.time, uid_of(step.user), limit)


def _check(script: Script, parts: Sequence[Part], output: str) -> None:
    """Raise DeviceError if the script failed to begin as it should, or to run to its end."""
    begin = _last(parts, BEGIN)
    answer = begin.text.splitlines() if begin is not None and begin.status == 0 else []
    if answer[-3:] != script.first_answer:
        wanted = " and ".join(script.first_answer[:-1]) or "nothing"
        raise DeviceError(
            f"the kernel did not take trigger and policy and forget all limits: not {wanted}",
            tail=last_lines(output, 3),
        )
    log = _last(parts, LOG)
    if log is None or log.status != 0:
        raise DeviceError("the scenario did not come to its end", tail=last_lines(output, 3))


def _last(parts: Sequence[Part], name: str) -> Part | None:
    return next((part for part in reversed(parts) if part.name == name), None)


def _text(parts: Sequence[Part], name: str) -> str:
    return "".join(part.text for part in parts if part.name == name)


def _whole(parts: Sequence[Part], name: str) -> ProgramRun | None:
    """Return a run's status and output, before and after it held; None if it has not ended."""
    last = _last(parts, name)
    if last is None or last.status is None:
        return None
    return ProgramRun(last.status, parse_output(_text(parts, name)))
