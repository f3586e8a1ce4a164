# SPDX-License-Identifier: MIT
"""The `fuzz` task: rounds of random work on a booted kernel, each with its own seed.

Round n of seed S is the same as round 0 of seed S + n, so that a failed round can be repeated
alone.
"""

from __future__ import annotations

import secrets
import shlex
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from pathlib import Path

from harness.build import equipment
from harness.build.bootable import Bootable
from harness.bundle import built as built_files
from harness.bundle.manifest import Kernel, Original, Rounds
from harness.core import typed_json
from harness.core.cache import disk_full_named
from harness.core.errors import EXIT_FAILED, EXIT_PASSED, BootError, UsageError
from harness.core.lifetime import Healths
from harness.core.paths import RESULTS
from harness.core.side_by_side import SideBySide
from harness.jobs.guests import MOST_GUESTS, count_of
from harness.kernel_output.klog import marker, section
from harness.machine import qemu
from harness.machine.adb import Device
from harness.machine.session import Session, bring, check_machine, open_session
from harness.results.folder import ResultFolder
from harness.scenarios.catalogue import UIDS
from harness.scenarios.fuzz_round import PROGRAM, judge_round, parse_round
from harness.scenarios.run import DEVICE_FOLDER, load_modules
from harness.targets.model import QemuMachine, Target
from harness.ui.workspace import Workspace

MOST_SEED = 2**32 - 1
JSON = "fuzz.json"
_ROUND_SECONDS = 2
# The timeout of a round. The program waits up to 15 s until dying processes are gone, and up to
# 15 s until all others have ended; a kernel with KASAN is slow.
_PATIENCE_SECONDS = 120.0
# The interval between progress lines.
_TELL_SECONDS = 30.0
# The percentage of slab allocations that fail, in the processes that ask for it.
_FAILING = 10
# If the kernel lacks this (`Target.lacks`), none fail.
_MAY_FAIL = "slab allocations that fail in a fault"
# If the kernel lacks this, what kmemleak finds before the first round does not count.
_NO_LEAKS = "a boot without leaks"
_DEBUGFS = "/sys/kernel/debug"
_KMEMLEAK = f"{_DEBUGFS}/kmemleak"


@dataclass
class Fuzz:
    """A run in progress: of `most` rounds, or, if that is 0, for `minutes`."""

    ws: Workspace
    target: Target
    folder: ResultFolder
    seed: int
    most: int
    minutes: float
    guests: int
    # Returns the command that repeats a round alone, from its seed.
    again: Callable[[int], list[str]]
    hand_on: str = ""
    rounds: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    # The seed of the round that failed, and the problems of that round or of the end.
    failed_seed: int | None = None
    problems: tuple[str, ...] = ()

    @property
    def told(self) -> Original:
        """How the run ended, in the form that a bundle has."""
        return Original.of_rounds(self.problems, self.rounds)

    @property
    def counted(self) -> str:
        """How much was done so far, as text."""
        done = ", ".join(f"{name}={number}" for name, number in self.counts.items())
        return f"{self.rounds} rounds from seed {self.seed}: {done or 'nothing yet'}"


def run(
    ws: Workspace,
    target: Target,
    *,
    seed: int,
    minutes: float,
    rounds: int = 0,
    jobs: str = "",
    source: str | None = None,
    extra_patches: Sequence[Path] = (),
    results: Path | None = None,
) -> int:
    """Fuzz for `minutes`, or for `rounds` rounds if they are given; return the exit status.

    As soon as an invariant is broken, the run ends with status 1, and with the seed that
    repeats the round. `jobs` is the number of guests that share the rounds, as in
    guests.count_of(). Raise UsageError for bad numbers. Errors of building and booting pass
    through.
    """
    _check_numbers(seed, minutes, rounds)
    check_machine(target)
    guests = count_of(jobs, target, rounds or MOST_GUESTS)
    patches = tuple(extra_patches)
    fuzz = begin(
        ws,
        target,
        seed=seed,
        rounds=rounds,
        minutes=minutes,
        guests=guests,
        command=[*_command(target, source, patches), *_rounds(seed, rounds, minutes, guests)],
        again=lambda failed: [*_command(target, source, patches), *_rounds(failed, 1)],
        results=results,
    )
    equipped = equipment.build(ws, target, source, extra_patches)
    note_built(fuzz, built_files.kernel_of(equipped.kernel), equipped.bootable)
    perform_built(fuzz, equipped.bootable)
    return finish(fuzz)


def begin(
    ws: Workspace,
    target: Target,
    *,
    seed: int,
    rounds: int,
    minutes: float,
    command: Sequence[str],
    again: Callable[[int], list[str]],
    guests: int = 1,
    results: Path | None = None,
) -> Fuzz:
    """Return a run that has not started yet, with its folder."""
    folder = ResultFolder.create(results or RESULTS, target.name, "fuzz", datetime.now())
    folder.put("command.txt", f"{shlex.join(command)}\n")
    ws.reporter.run_begin(command, kernel=target.name)
    return Fuzz(ws, target, folder, seed, rounds, minutes, guests, again)


def note_built(fuzz: Fuzz, kernel_found: Kernel, files: Bootable, replay_of: str = "") -> None:
    """Record what will be booted; from now on the run can be bundled."""
    machine = fuzz.target.machine
    text = built_files.record(
        fuzz.ws.cache,
        fuzz.target,
        kernel_found,
        files,
        Rounds(fuzz.seed, fuzz.most),
        **(qemu.facts(machine) if isinstance(machine, QemuMachine) else {}),
        replay_of=replay_of,
    )
    with disk_full_named(fuzz.folder.path):
        fuzz.folder.put(built_files.FILE, text)
    if isinstance(machine, QemuMachine) and not replay_of:
        fuzz.hand_on = built_files.how_to_hand_on(fuzz.folder.path)


def perform_built(fuzz: Fuzz, files: Bootable) -> None:
    """Boot what was built, and fuzz; see `open_session`."""
    _Guests(fuzz, files).run()


@dataclass(frozen=True)
class _Guest:
    """A guest, and the folder for its logs."""

    session: Session
    folder: Path


class _Guests:
    """The guests of a run, which share its rounds."""

    def __init__(self, fuzz: Fuzz, files: Bootable) -> None:
        self._fuzz = fuzz
        self._files = files
        self._healths = Healths()
        self._lock = threading.Lock()
        self._failed = threading.Event()
        self._side: SideBySide[_Guest, int, tuple[int, tuple[str, ...]]] = SideBySide(
            self._open, self._do, fuzz.guests
        )

    def run(self) -> None:
        """Do rounds until the time is over, or one has failed."""
        fuzz, told = self._fuzz, time.monotonic()
        with (
            fuzz.ws.reporter.phase("fuzz"),
            closing(self._side.run(_seeds(fuzz), self._healths.end)) as results,
        ):
            for _, (seed, problems) in results:
                fuzz.rounds += 1
                # A round that another guest is still doing may fail, too.
                if problems and fuzz.failed_seed is None:
                    fuzz.failed_seed, fuzz.problems = seed, problems
                if time.monotonic() - told > _TELL_SECONDS:
                    told = time.monotonic()
                    fuzz.ws.reporter.say(fuzz.counted)

    @contextmanager
    def _open(self, index: int) -> Iterator[_Guest]:
        """Open a guest that is ready; at its end, unless a round has failed, look for leaks."""
        fuzz, files, number = self._fuzz, self._files, index + 1
        folder = fuzz.folder.of_guest(number)
        with open_session(
            fuzz.ws,
            files.image,
            files.initramfs,
            fuzz.target,
            folder=folder,
            expect_release=files.release,
            tools=files.tools,
            started=self._healths.add,
            label="" if number == 1 else f", guest {number}",
            uids=UIDS,
        ) as session:
            bring(session.device, files.pushed, fuzz.target)
            session.device.shell(f"mount -t debugfs debugfs {_DEBUGFS}", check=False)
            if _NO_LEAKS in fuzz.target.lacks:
                _forget_leaks(session)
            load_modules(session.device)
            yield _Guest(session, folder)
            if not self._failed.is_set():
                leaks = _leaks(session)
                with self._lock:
                    fuzz.problems += leaks

    def _do(self, guest: _Guest, seed: int) -> tuple[int, tuple[str, ...]]:
        failing = 0 if _MAY_FAIL in self._fuzz.target.lacks else _FAILING
        output, problems = _round(guest.session, self._fuzz.folder, guest.folder, seed, failing)
        with self._lock:
            self._fuzz.counts.update(output)
        if problems:
            self._failed.set()
            self._side.stop()
        return seed, problems


def seed_of(text: str) -> int:
    """Return the seed in `text`, or a new one if empty; raise UsageError if it is no number."""
    if not text:
        return secrets.randbelow(MOST_SEED + 1)
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"not a seed: {text}", hint=f"0 to {MOST_SEED}")
    return int(text)


def minutes_of(text: str) -> float:
    """Return the minutes in `text`; raise UsageError if it is no number."""
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"not a number of minutes: {text}", hint="--minutes 0.5") from None


def _check_numbers(seed: int, minutes: float, rounds: int) -> None:
    if not 0 <= seed <= MOST_SEED:
        raise UsageError(f"not a seed: {seed}", hint=f"0 to {MOST_SEED}")
    if rounds < 0 or minutes <= 0:
        raise UsageError("there is nothing to do", hint="--minutes N, or --rounds N")


def _command(target: Target, source: str | None, patches: Sequence[Path]) -> list[str]:
    """Return the command, without its options for the rounds."""
    words = ["./inv", "fuzz", "--kernel", target.name, "--emulator", target.emulator]
    words += ["--source", source] if source else []
    words += ["--cross-compile", target.cross_compile] if target.is_cross_compile_changed else []
    words += [word for path in patches for word in ("--patch", str(path))]
    return words + (["--debug"] if target.debug else [])


def _rounds(seed: int, rounds: int, minutes: float = 0, guests: int = 1) -> list[str]:
    """Return the command's options for the rounds."""
    words = ["--seed", str(seed)]
    words += ["--rounds", str(rounds)] if rounds else ["--minutes", f"{minutes:g}"]
    return words + (["--jobs", str(guests)] if guests > 1 else [])


def _seeds(fuzz: Fuzz) -> Iterator[int]:
    """Yield the seed of each round, until all rounds are done or the time is over."""
    end = time.monotonic() + 60 * fuzz.minutes
    for number in count():
        over = number >= fuzz.most if fuzz.most else time.monotonic() >= end
        if over:
            return
        yield (fuzz.seed + number) % (MOST_SEED + 1)


def _round(
    session: Session, results: ResultFolder, folder: Path, seed: int, failing: int
) -> tuple[Mapping[str, int], tuple[str, ...]]:
    """Do a round; return its counts and its problems. Its log and output go into `folder`."""
    device, nonce = session.device, secrets.token_hex(8)
    words = [f"./{PROGRAM}", "-t", str(_ROUND_SECONDS), "-f", str(failing)]
    words += ["-k", DEVICE_FOLDER, "-m", nonce, str(seed)]
    # Empty the log: that of earlier rounds has been judged.
    device.shell("busybox dmesg -c >/dev/null")
    device.mark_kernel_log(marker("begin", nonce))
    try:
        done = device.shell(
            f"cd {DEVICE_FOLDER} && {shlex.join(words)}", check=False, timeout=_PATIENCE_SECONDS
        )
        device.mark_kernel_log(marker("end", nonce))
        log = device.kernel_log()
    except BootError as died:
        return {}, (f"the kernel died: {died.message}",)
    results.put("kernel.log", log, folder)
    results.put("output.txt", done.output, folder)
    output = parse_round(done.output, nonce)
    return output.counts, judge_round(output, section(log, nonce))


def _forget_leaks(session: Session) -> None:
    """Have kmemleak forget what it found in the kernel's own boot."""
    if _scan_for_leaks(session.device):
        session.device.shell(f"echo clear > {_KMEMLEAK}", timeout=_PATIENCE_SECONDS)


def _leaks(session: Session) -> tuple[str, ...]:
    """Return what kmemleak finds, if the kernel has it."""
    if not _scan_for_leaks(session.device):
        return ()
    found = session.device.shell(f"cat {_KMEMLEAK}", timeout=_PATIENCE_SECONDS).output
    return tuple(line for line in found.splitlines() if line.startswith("unreferenced object"))


def _scan_for_leaks(device: Device) -> bool:
    """Have kmemleak scan twice, as once can be too early; return whether the kernel has it."""
    if device.shell(f"test -e {_KMEMLEAK}", check=False).status != 0:
        return False
    for _ in range(2):
        device.shell(f"echo scan > {_KMEMLEAK}", timeout=_PATIENCE_SECONDS)
    return True


def finish(fuzz: Fuzz, last_words: Callable[[Fuzz], str] = lambda fuzz: "") -> int:
    """Report the result, with `last_words` before the verdict; return the exit status."""
    reporter = fuzz.ws.reporter
    summary = {
        "seed": fuzz.seed,
        "rounds": fuzz.rounds,
        "counts": dict(fuzz.counts),
        "failed seed": fuzz.failed_seed,
        "problems": list(fuzz.problems),
    }
    fuzz.folder.put(JSON, typed_json.to_text(summary))
    reporter.say(fuzz.counted)
    reporter.say(f"results: {fuzz.folder.path}")
    for problem in fuzz.problems:
        reporter.say(f"  {problem}")
    for line in filter(None, (fuzz.hand_on if fuzz.problems else "", last_words(fuzz))):
        reporter.say(line)
    if not fuzz.problems:
        reporter.result(f"PASS: {fuzz.rounds} rounds", fuzz.folder.path)
        return EXIT_PASSED
    if fuzz.failed_seed is None:
        reporter.result("FAIL: behind all rounds", fuzz.folder.path)
    else:
        again = shlex.join(fuzz.again(fuzz.failed_seed))
        text = f"FAIL: the round of seed {fuzz.failed_seed}; again: {again}"
        reporter.result(text, fuzz.folder.path)
    return EXIT_FAILED
