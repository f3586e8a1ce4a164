# SPDX-License-Identifier: MIT
"""The `fuzz` task: rounds of random work on a booted kernel, each from a seed of its own.

Round n of seed S is what round 0 of seed S + n is, so that a round that fails
can be repeated alone.
"""

from __future__ import annotations

import json
import secrets
import shlex
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from pathlib import Path

from harness import equipment
from harness.errors import EXIT_FAILED, EXIT_PASSED, BootError, UsageError
from harness.fuzz_round import PROGRAM, judge_round, parse_round
from harness.klog import marker, section
from harness.paths import RESULTS
from harness.results import ResultFolder
from harness.scenario_run import DEVICE_FOLDER, load_modules
from harness.session import Session, check_machine, open_session
from harness.targets import Target
from harness.workspace import Workspace

MOST_SEED = 2**32 - 1
_ROUND_SECONDS = 2
# It waits for what dies and for what ends, each for 15 s; a kernel with KASAN is slow.
_PATIENCE_SECONDS = 120.0
# How often a line says how far it has come.
_TELL_SECONDS = 30.0
# Percent of slab allocations, of the processes that ask for it.
_FAILING = 10
_DEBUGFS = "/sys/kernel/debug"
_KMEMLEAK = f"{_DEBUGFS}/kmemleak"


@dataclass
class _Fuzz:
    """A run on its way."""

    seed: int
    # Behind the series, for a kernel with a fault.
    patches: tuple[Path, ...] = ()
    rounds: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    # Of the round that failed.
    failed_seed: int | None = None
    problems: tuple[str, ...] = ()

    @property
    def counted(self) -> str:
        """How much was done so far."""
        done = ", ".join(f"{name}={number}" for name, number in self.counts.items())
        return f"{self.rounds} rounds from seed {self.seed}: {done or 'nothing yet'}"


def run(
    ws: Workspace,
    target: Target,
    *,
    seed: int,
    minutes: float,
    rounds: int = 0,
    source: str | None = None,
    extra_patches: Sequence[Path] = (),
    results: Path | None = None,
) -> int:
    """Fuzzes for so many minutes, or so many rounds if those are given; the exit status.

    That is 1, with the seed that repeats it, as soon as an invariant is broken.
    Raises UsageError for numbers that make no sense, and what building and
    booting raise.
    """
    _check_numbers(seed, minutes, rounds)
    check_machine(target)
    folder = ResultFolder.create(results or RESULTS, target.name, "fuzz", datetime.now())
    command = _command(target, seed, rounds, minutes, extra_patches)
    folder.put("command.txt", f"{shlex.join(command)}\n")
    ws.reporter.run_begin(command, kernel=target.name)
    equipped = equipment.build(ws, target, source, extra_patches)
    fuzz = _Fuzz(seed, tuple(extra_patches))
    with open_session(
        ws,
        equipped.kernel.image,
        equipped.initramfs,
        target,
        folder=folder.path,
        expect_release=equipped.kernel.release,
        tools=equipped.rootfs.tools,
    ) as session:
        equipment.bring(session.device, equipped, target)
        session.device.shell(f"mount -t debugfs debugfs {_DEBUGFS}", check=False)
        load_modules(session.device)
        with ws.reporter.phase("fuzz"):
            _fuzz(ws, session, fuzz, folder, minutes, rounds)
    return _finish(ws, target, fuzz, folder)


def seed_of(text: str) -> int:
    """The seed that a person gave, or a new one; UsageError if it is no number."""
    if not text:
        return secrets.randbelow(MOST_SEED + 1)
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"not a seed: {text}", hint=f"0 to {MOST_SEED}")
    return int(text)


def minutes_of(text: str) -> float:
    """The minutes that a person gave; UsageError if they are no number."""
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"not a number of minutes: {text}", hint="--minutes 0.5") from None


def _check_numbers(seed: int, minutes: float, rounds: int) -> None:
    if not 0 <= seed <= MOST_SEED:
        raise UsageError(f"not a seed: {seed}", hint=f"0 to {MOST_SEED}")
    if rounds < 0 or minutes <= 0:
        raise UsageError("there is nothing to do", hint="--minutes N, or --rounds N")


def _command(
    target: Target, seed: int, rounds: int, minutes: float, patches: Sequence[Path]
) -> list[str]:
    words = ["./inv", "fuzz", "--seed", str(seed)]
    words += ["--rounds", str(rounds)] if rounds else ["--minutes", f"{minutes:g}"]
    words += ["--kernel", target.name, "--emulator", target.emulator]
    words += [word for path in patches for word in ("--patch", str(path))]
    return words + (["--debug"] if target.debug else [])


def _seeds(fuzz: _Fuzz, minutes: float, rounds: int) -> Iterator[int]:
    """The seed of each round, while there is time."""
    end = time.monotonic() + 60 * minutes
    for number in count():
        over = number >= rounds if rounds else time.monotonic() >= end
        if over:
            return
        yield (fuzz.seed + number) % (MOST_SEED + 1)


def _fuzz(
    ws: Workspace,
    session: Session,
    fuzz: _Fuzz,
    folder: ResultFolder,
    minutes: float,
    rounds: int,
) -> None:
    told = time.monotonic()
    for seed in _seeds(fuzz, minutes, rounds):
        problems = _round(session, fuzz, folder, seed)
        fuzz.rounds += 1
        if problems:
            fuzz.failed_seed, fuzz.problems = seed, problems
            return
        if time.monotonic() - told > _TELL_SECONDS:
            told = time.monotonic()
            ws.reporter.say(fuzz.counted)
    fuzz.problems = _leaks(session)


def _round(session: Session, fuzz: _Fuzz, folder: ResultFolder, seed: int) -> tuple[str, ...]:
    """One round; its problems. What was seen of it is in the folder."""
    device, nonce = session.device, secrets.token_hex(8)
    words = [f"./{PROGRAM}", "-t", str(_ROUND_SECONDS), "-f", str(_FAILING)]
    words += ["-k", str(DEVICE_FOLDER), "-m", nonce, str(seed)]
    # The log of earlier rounds has been judged.
    device.shell("busybox dmesg -c >/dev/null")
    device.mark_kernel_log(marker("begin", nonce))
    try:
        done = device.shell(
            f"cd {DEVICE_FOLDER} && {shlex.join(words)}", check=False, timeout=_PATIENCE_SECONDS
        )
        device.mark_kernel_log(marker("end", nonce))
        log = device.kernel_log()
    except BootError as died:
        return (f"the kernel died: {died.message}",)
    folder.put("kernel.log", log)
    folder.put("output.txt", done.output)
    output = parse_round(done.output, nonce)
    fuzz.counts.update(output.counts)
    return judge_round(output, section(log, nonce))


def _leaks(session: Session) -> tuple[str, ...]:
    """What kmemleak has found, where the kernel has it. Twice: a scan can be too early."""
    device = session.device
    if device.shell(f"test -e {_KMEMLEAK}", check=False).status != 0:
        return ()
    for _ in range(2):
        device.shell(f"echo scan > {_KMEMLEAK}", timeout=_PATIENCE_SECONDS)
    found = device.shell(f"cat {_KMEMLEAK}", timeout=_PATIENCE_SECONDS).output
    return tuple(line for line in found.splitlines() if line.startswith("unreferenced object"))


def _finish(ws: Workspace, target: Target, fuzz: _Fuzz, folder: ResultFolder) -> int:
    summary = {
        "seed": fuzz.seed,
        "rounds": fuzz.rounds,
        "counts": dict(fuzz.counts),
        "failed seed": fuzz.failed_seed,
        "problems": list(fuzz.problems),
    }
    folder.put("fuzz.json", json.dumps(summary, indent=2) + "\n")
    ws.reporter.say(fuzz.counted)
    ws.reporter.say(f"results: {folder.path}")
    for problem in fuzz.problems:
        ws.reporter.say(f"  {problem}")
    if not fuzz.problems:
        ws.reporter.result(f"PASS: {fuzz.rounds} rounds", folder.path)
        return EXIT_PASSED
    if fuzz.failed_seed is None:
        ws.reporter.result("FAIL: behind all rounds", folder.path)
    else:
        again = shlex.join(_command(target, fuzz.failed_seed, 1, 0, fuzz.patches))
        failed = f"FAIL: the round of seed {fuzz.failed_seed}; again: {again}"
        ws.reporter.result(failed, folder.path)
    return EXIT_FAILED
