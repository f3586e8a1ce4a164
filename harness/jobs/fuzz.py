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
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import count

from harness.build import equipment
from harness.build.bootable import Bootable
from harness.bundle import built as built_files
from harness.bundle.manifest import PROGRAMS_FOLDER, Kernel, Manifest, Original, Rounds
from harness.core import typed_json
from harness.core.errors import (
    EXIT_FAILED,
    EXIT_PASSED,
    BootError,
    InfrastructureError,
    UsageError,
)
from harness.core.patience import AFTERWARDS, NOTICEABLE
from harness.jobs.bundled import unknown
from harness.jobs.guests import stood_still
from harness.jobs.options import FuzzOptions
from harness.jobs.pool import MOST_GUESTS, Pool, Setup, boot_of, count_of, label_of
from harness.kernel_output.klog import marker, section
from harness.machine.adb import Device
from harness.machine.session import ATTEMPTS, Boot, Session, check_machine
from harness.results.folder import ResultFolder
from harness.results.fuzz_result import FUZZ, FuzzResult
from harness.scenarios.fuzz_round import (
    MOST_SEED,
    PROGRAM,
    Problem,
    judge_round,
    parse_round,
)
from harness.scenarios.run import DEVICE_FOLDER, load_modules
from harness.scenarios.verdict import is_by_clock
from harness.ui.workspace import Workspace

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
    """A run in progress, of `guests` guests."""

    ws: Workspace
    options: FuzzOptions
    guests: int
    folder: ResultFolder
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
        return f"{self.rounds} rounds from seed {self.options.seed}: {done or 'nothing yet'}"


def run(
    ws: Workspace,
    options: FuzzOptions,
    last_words: Callable[[ResultFolder, Original], str] = lambda _folder, _now: "",
) -> int:
    """Fuzz for the minutes or rounds of the options; return the exit status.

    As soon as an invariant is broken, the run ends with status 1, and with the seed that
    repeats the round. What `last_words` returns is printed before the verdict. Raise
    UsageError for bad numbers. Errors of building and booting pass through.
    """
    if not 0 <= options.seed <= MOST_SEED:
        raise UsageError(f"not a seed: {options.seed}", hint=f"0 to {MOST_SEED}")
    if options.rounds < 0 or options.minutes <= 0:
        raise UsageError("there is nothing to do", hint="--minutes N, or --rounds N")
    target = options.target
    check_machine(target)
    guests = count_of(options.jobs, target, options.rounds or MOST_GUESTS)
    fuzz = begin(ws, replace(options, jobs=str(guests) if guests > 1 else ""), guests)
    if options.bundle is not None:
        for line in options.bundle.notes:
            ws.reporter.say(line)
        kernel, files = options.bundle.manifest.kernel, options.bundle.files
    else:
        equipped = equipment.build(ws, target, options.source, options.patches)
        kernel, files = built_files.kernel_of(equipped.kernel), equipped.bootable
    note_built(fuzz, kernel, files)
    perform_built(fuzz, files)
    return finish(fuzz, last_words)


def check_bundle(manifest: Manifest) -> None:
    """Raise InfrastructureError if the bundle lacks the program that does the rounds."""
    program = f"{PROGRAMS_FOLDER}/{PROGRAM}"
    if program not in {member.name for member in manifest.members}:
        raise unknown(manifest, f"it has no {program}")


def begin(ws: Workspace, options: FuzzOptions, guests: int = 1) -> Fuzz:
    """Return a run that has not started yet, with its folder."""
    kernel, command = options.target.name, options.command()
    folder = ResultFolder.create(options.results, kernel, "fuzz", datetime.now())
    folder.put("command.txt", f"{shlex.join(command)}\n")
    ws.reporter.run_begin(command, kernel=kernel)
    return Fuzz(ws, options, guests, folder)


def note_built(fuzz: Fuzz, kernel_found: Kernel, files: Bootable) -> None:
    """Record what will be booted; from now on the run can be bundled."""
    options = fuzz.options
    what = Rounds(options.seed, options.rounds)
    bundle = options.bundle_file
    found = built_files.record(fuzz.ws.cache, options.target, kernel_found, files, what, bundle)
    fuzz.hand_on = built_files.leave(found, fuzz.folder)


def perform_built(fuzz: Fuzz, files: Bootable) -> None:
    """Boot what was built, and fuzz; see `open_session`."""
    _Rounds(fuzz, boot_of(fuzz.options.target, files)).run()


# A round's seed, its counts, and its problems.
_Done = tuple[int, Mapping[str, int], tuple[str, ...]]


@dataclass
class _Guest:
    """A guest: what ends its machine, and its session, which is another one once it is anew."""

    number: int
    machine: ExitStack
    session: Session
    restarts: int = 0


class _Rounds:
    """The rounds of a run, which its guests share."""

    def __init__(self, fuzz: Fuzz, boot: Boot) -> None:
        self._fuzz = fuzz
        self._lacks = boot.target.lacks
        self._leaks: list[str] = []
        self._failed = threading.Event()
        self._told = time.monotonic()
        setup = Setup(fuzz.ws, boot, fuzz.folder, fuzz.guests)
        self._pool = Pool(setup, self._open, self._do)

    def run(self) -> None:
        """Do rounds until the time is over, or one has failed."""
        with self._fuzz.ws.reporter.phase("fuzz"):
            self._pool.run(_seeds(self._fuzz.options), self._take)
        self._fuzz.problems += tuple(self._leaks)

    def _take(self, done: _Done) -> None:
        """Add a round to the results."""
        fuzz, (seed, counts, problems) = self._fuzz, done
        fuzz.rounds += 1
        fuzz.counts.update(counts)
        # A round that another guest is still doing may fail, too.
        if problems and fuzz.failed_seed is None:
            fuzz.failed_seed, fuzz.problems = seed, problems
        if time.monotonic() - self._told > _TELL_SECONDS:
            self._told = time.monotonic()
            fuzz.ws.reporter.say(fuzz.counted)

    @contextmanager
    def _open(self, number: int) -> Iterator[_Guest]:
        """Open a guest that is ready; at its end, unless a round has failed, look for leaks."""
        with ExitStack() as machine:
            guest = _Guest(number, machine, self._ready(machine, number))
            yield guest
            if not self._failed.is_set():
                self._leaks += _leaks(guest.session)

    def _ready(self, machine: ExitStack, number: int) -> Session:
        session = machine.enter_context(self._pool.session(number))
        session.device.shell(f"mount -t debugfs debugfs {_DEBUGFS}", check=False)
        if _NO_LEAKS in self._lacks and _scan_for_leaks(session.device):
            session.device.shell(f"echo clear > {_KMEMLEAK}", timeout=_PATIENCE_SECONDS)
        load_modules(session.device)
        return session

    def _do(self, guest: _Guest, seed: int) -> _Done:
        """Do a round; do it again on a new guest if it failed because the host stood still."""
        failing = 0 if _MAY_FAIL in self._lacks else _FAILING
        for attempt in range(1, ATTEMPTS + 1):
            begun = time.monotonic()
            counts, problems = _round(guest.session, self._fuzz.folder, seed, failing)
            still = guest.session.stood_still_since(begun - AFTERWARDS)
            doubtful = problems and all(problem.by_clock for problem in problems)
            if not doubtful or still < NOTICEABLE:
                break
            why = f"the round of seed {seed}: {stood_still(still)}: {problems[0].text}"
            if attempt == ATTEMPTS:
                again = shlex.join(self._fuzz.options.of_round(seed).command())
                raise InfrastructureError(f"no verdict on {why}", hint=again)
            self._fuzz.ws.reporter.say(f"{why}; done again{label_of(guest.number)}")
            self._restart(guest)
        if problems:
            self._failed.set()
            self._pool.stop()
        return seed, counts, tuple(problem.text for problem in problems)

    def _restart(self, guest: _Guest) -> None:
        """Start the guest anew; log and console of the old one are kept."""
        guest.machine.close()
        guest.restarts += 1
        self._fuzz.folder.set_logs_aside(guest.number, f"stood-still-{guest.restarts}")
        guest.session = self._ready(guest.machine, guest.number)


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


def _seeds(options: FuzzOptions) -> Iterator[int]:
    """Yield the seed of each round, until all rounds are done or the time is over."""
    end = time.monotonic() + 60 * options.minutes
    for number in count():
        over = number >= options.rounds if options.rounds else time.monotonic() >= end
        if over:
            return
        yield (options.seed + number) % (MOST_SEED + 1)


def _round(
    session: Session, results: ResultFolder, seed: int, failing: int
) -> tuple[Mapping[str, int], tuple[Problem, ...]]:
    """Do a round; return its counts and problems. Log and output go to the session's folder."""
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
        return {}, (Problem(f"the kernel died: {died.message}", is_by_clock(died.message)),)
    results.put("kernel.log", log, session.folder)
    results.put("output.txt", done.output, session.folder)
    output = parse_round(done.output, nonce)
    return output.counts, tuple(judge_round(output, section(log, nonce)))


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


def finish(
    fuzz: Fuzz,
    last_words: Callable[[ResultFolder, Original], str] = lambda _folder, _now: "",
) -> int:
    """Report the result, with `last_words` before the verdict; return the exit status."""
    reporter = fuzz.ws.reporter
    found = FuzzResult(fuzz.options.seed, fuzz.rounds, fuzz.counts, fuzz.problems, fuzz.failed_seed)
    fuzz.folder.put(FUZZ, typed_json.to_text(found))
    reporter.say(fuzz.counted)
    reporter.say(f"results: {fuzz.folder.path}")
    for problem in fuzz.problems:
        reporter.say(f"  {problem}")
    hand_on = fuzz.hand_on if fuzz.problems else ""
    for line in filter(None, (hand_on, last_words(fuzz.folder, fuzz.told))):
        reporter.say(line)
    if not fuzz.problems:
        reporter.result(f"PASS: {fuzz.rounds} rounds", fuzz.folder.path)
        return EXIT_PASSED
    text = "FAIL: behind all rounds"
    if fuzz.failed_seed is not None:
        again = shlex.join(fuzz.options.of_round(fuzz.failed_seed).command())
        text = f"FAIL: the round of seed {fuzz.failed_seed}; again: {again}"
    reporter.result(text, fuzz.folder.path)
    return EXIT_FAILED
