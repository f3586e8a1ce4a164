# SPDX-License-Identifier: MIT
"""What a worker does for a sweep: it runs one command, and returns what came of it.

The command runs under a keeper (see keeper.py), so that no guest outlives it, whatever happens to
the command, to the worker or to the sweep. An order and its end go over the network as plain data.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from backports import tarfile

from harness.bundle import archive
from harness.core import typed_json
from harness.core.cache import Cache, file_sha256
from harness.core.environment import environment_of
from harness.core.errors import (
    EXIT_FAILED,
    EXIT_INFRASTRUCTURE,
    EXIT_PASSED,
    NO_PLACE,
    DiskFullError,
    HarnessError,
)
from harness.core.lifetime import bound_to_us
from harness.core.paths import CACHE_HINT, REPO
from harness.core.scratch import scratch
from harness.core.text import visible
from harness.sweep import keeper
from harness.targets.model import DEFAULT_EMULATOR, DEFAULT_TOOLCHAIN

# The name of a build's order in place of a task.
BUILD = "bundle"
# Tasks whose guests share the work: a slot of a worker is one guest.
_WITH_JOBS = ("emulator-test", "fuzz", "boot-test")
# Where the results of a run are made (configuration `results`), and how it tells of itself.
_CONFIGURED = "INVOKE_GOLDFISH_OOM_"
_RESULTS, _OUTPUT = f"{_CONFIGURED}RESULTS", f"{_CONFIGURED}OUTPUT"
# What is built is told by the matrix alone: what it leaves out has these values on every worker.
_BUILT = {
    f"{_CONFIGURED}SOURCE": "",
    f"{_CONFIGURED}EMULATOR": DEFAULT_EMULATOR,
    f"{_CONFIGURED}CROSS_COMPILE": "",
    f"{_CONFIGURED}TOOLCHAIN": DEFAULT_TOOLCHAIN,
    f"{_CONFIGURED}DEBUG": "0",
}
# Of the rest of a machine's configuration only this holds for commands.
_OWN = tuple(f"{_CONFIGURED}{name}" for name in ("CACHE_GIB", "JOBS", "KCIDB_ORIGIN"))
# What a cell's run finds is no finding of the CI job that the sweep is.
_CI = ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY")
# A command ends its guests when it gets SIGTERM; the boot tests take 30 s for that at most.
GRACE_SECONDS = 45.0
# How often, in seconds, a command and the wish to stop it are looked at.
_POLL_SECONDS = 0.1
# A keeper that has not ended so long after the grace is killed, too.
_KEEPER_SECONDS = 30.0
# The kind of the cache entries of bundles that were sent here.
_KIND = "sent-bundles"
_BUNDLE = "bundle.tar.gz"
# How long a bundle is waited for, and how often it is asked for.
_SENT_SECONDS = 600.0
_ASK_SECONDS = 10.0
# With less free space, in bytes, no command is begun: a run needs tens of MB.
_LEAST_SPACE = 100 << 20
# The most bytes of a result folder that are sent back, before they are compressed; and of what
# the command printed.
MOST_BYTES = 64 << 20
_MOST_PRINTED = 1 << 20
_MOST_FILES = 5000
PRINTED = "output.txt"
LEFT_OUT = "left_out.txt"
_NO_SPACE = "no space left"


@dataclass(frozen=True)
class Order:
    """A command that a worker is to run: that of a cell, or the build of a bundle.

    `key` is unique in a sweep. `task` is a task of `./inv`; `build` and `words` are its options.
    `bundle` is the SHA-256 of the bundle that it boots; if that is empty, it builds for itself.
    `title` is for people.
    """

    key: str
    title: str
    task: str
    build: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    bundle: str = ""

    @property
    def is_build(self) -> bool:
        """Whether this makes a bundle."""
        return self.task == BUILD


@dataclass(frozen=True)
class Ended:
    """What came of an order.

    `status` is the exit status of the command; None if it was stopped or got lost before it had
    one. `line` is its last line, or why there is none. `left_out` are the names of files that were
    too large to be sent. `full` says that the worker's disk is, or that its cache cannot be written
    to; `changed` that its code is not the announced one any more. `packed` is the result folder as
    a tar.gz or the bundle, empty if there is none; `sha256` is the bundle's, and `kernel` the
    release of the kernel in it.
    """

    status: int | None
    line: str
    started: datetime | None = None
    seconds: float = 0.0
    left_out: tuple[str, ...] = ()
    full: bool = False
    changed: bool = False
    kernel: str = ""
    sha256: str = ""
    packed: bytes = b""


@dataclass(frozen=True)
class Here:
    """What a worker is.

    `program` is the command that runs a task. `ask` asks the sweep to send a bundle, by its
    digest, with receive(); `refused` says by digest which of them could not be kept. `changed`
    says whether the code, which each command reads anew, is not the announced one any more.
    """

    cache: Cache
    ask: Callable[[str], None] = lambda _: None
    program: tuple[str, ...] = (sys.executable, str(REPO / "inv_program.py"))
    grace: float = GRACE_SECONDS
    changed: Callable[[], bool] = lambda: False
    refused: dict[str, DiskFullError] = field(default_factory=dict)


class _StoppedError(Exception):
    """The order is to be stopped."""


class _ChangedError(Exception):
    """It is not known which code the command has run, or would run."""


class _Keepers:
    """The keepers of this process, by pid."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pids: set[int] = set()

    def start(self, words: list[str], scratch: Path) -> subprocess.Popen[bytes]:
        """Start a keeper; orphans() will spare it until remove()."""
        with self._lock:
            started = subprocess.Popen(
                [sys.executable, "-I", keeper.__file__, *words],
                # Not a folder that could vanish.
                cwd=REPO,
                env=_environment(scratch),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            self._pids.add(started.pid)
        return started

    def remove(self, one: subprocess.Popen[bytes]) -> None:
        """Forget a keeper. If something killed it, end what it has left."""
        with self._lock:
            self._pids.discard(one.pid)
            if one.returncode != 0:
                # They are children of a worker, which is a subreaper: see cluster.serving.
                keeper.kill_descendants(frozenset(self._pids))


_KEEPERS = _Keepers()


def perform(order: Order, here: Here, should_stop: Callable[[], bool]) -> Ended:
    """Run an order's command to its end, or until `should_stop` returns true.

    Whatever goes wrong is told in the result.
    """
    started, clock = datetime.now(UTC), time.monotonic()
    try:
        ended = _perform(order, here, should_stop)
    except _StoppedError:
        ended = Ended(None, "stopped before it had ended")
    except _ChangedError:
        line = "the files of this project were changed on the worker"
        ended = Ended(None, line, changed=True)
    except DiskFullError as error:
        ended = Ended(EXIT_INFRASTRUCTURE, error.message, full=True)
    except HarnessError as error:
        ended = Ended(EXIT_INFRASTRUCTURE, error.message)
    except OSError as error:
        full = error.errno in NO_PLACE
        where = os.fsdecode(error.filename) if error.filename else tempfile.gettempdir()
        line = f"{_NO_SPACE} on the worker's disk ({where})" if full else f"the worker: {error}"
        ended = Ended(EXIT_INFRASTRUCTURE, line, full=full)
    seconds = time.monotonic() - clock
    return replace(ended, started=started, seconds=seconds)


def _perform(order: Order, here: Here, should_stop: Callable[[], bool]) -> Ended:
    here = replace(here, cache=_for_now(here.cache))
    for place in (tempfile.gettempdir(), here.cache.root):
        if Path(place).is_dir() and shutil.disk_usage(place).free < _LEAST_SPACE:
            line = f"{_NO_SPACE} on the worker's disk ({place})"
            return Ended(EXIT_INFRASTRUCTURE, line, full=True)
    bundle = _bundle(order.bundle, here, should_stop) if order.bundle else None
    _check_code(here)
    with _scratch() as folder:
        output = folder / _BUNDLE
        words = _words(order, bundle, output)
        status = _run([*here.program, *words], folder, here.grace, should_stop)
        _check_code(here)
        line = last_line(status, folder / "stdout", folder / "stderr")
        no_place = _NO_SPACE in line.lower() or CACHE_HINT in _tail(folder / "stderr")
        full = no_place and status not in (EXIT_PASSED, EXIT_FAILED)
        if order.is_build and status == EXIT_PASSED and output.is_file():
            made = Ended(status, line, kernel=_kernel_in(output), sha256=file_sha256(output))
            return replace(made, packed=output.read_bytes())
        if order.is_build:
            # A build has no verdict on a kernel.
            return Ended(EXIT_INFRASTRUCTURE, line, full=full)
        packed, left_out = pack(folder)
        return Ended(status, line, left_out=left_out, full=full, packed=packed)


def _check_code(here: Here) -> None:
    if here.changed():
        raise _ChangedError


def _words(order: Order, bundle: Path | None, output: Path) -> tuple[str, ...]:
    if order.is_build:
        return (order.task, "--build", *order.build, "--output", str(output))
    one = any(word.partition("=")[0] == "--jobs" for word in order.words)
    jobs = ("--jobs", "1") if order.task in _WITH_JOBS and not one else ()
    boots = order.build if bundle is None else ("--bundle", str(bundle))
    return (order.task, *boots, *order.words, *jobs)


def _environment(scratch: Path) -> dict[str, str]:
    added = {_RESULTS: str(scratch / "results"), _OUTPUT: "plain", "TMPDIR": str(scratch / "tmp")}
    found = {
        name: value
        for name, value in environment_of(sys.executable).items()
        if name not in _CI and (name in _OWN or not name.startswith("INVOKE_"))
    }
    return {**found, **_BUILT, **added}


@contextmanager
def _scratch() -> Iterator[Path]:
    """Yield a new folder for a command, which is removed afterwards."""
    with scratch("cell") as folder:
        (folder / "results").mkdir()
        (folder / "tmp").mkdir()
        yield folder


def _run(argv: list[str], folder: Path, grace: float, should_stop: Callable[[], bool]) -> int:
    """Run a command under a keeper; return its status, negative for a signal.

    Raise _StoppedError if it was stopped, also if it then ended by itself; and HarnessError if its
    keeper was killed.
    """
    words = [str(grace), str(folder), *bound_to_us(argv)]
    process = _KEEPERS.start(words, folder)
    stopped = False
    try:
        while process.poll() is None and not stopped:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_POLL_SECONDS)
            stopped = process.poll() is None and should_stop()
        said = _end(process, grace)
    finally:
        # Also if this thread gets an exception of another kind: the keeper sees a closed stdin.
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
        _KEEPERS.remove(process)
    if stopped:
        raise _StoppedError
    if process.returncode != 0 or not said.strip().lstrip(b"-").isdigit():
        raise HarnessError("what watches over the command was killed")
    return int(said)


def _end(process: subprocess.Popen[bytes], grace: float) -> bytes:
    """End a keeper, if it has not ended yet; return what it printed."""
    assert process.stdin is not None
    assert process.stdout is not None
    if process.poll() is None:
        with suppress(OSError):
            process.stdin.write(b"s")
            process.stdin.flush()
        try:
            process.wait(grace + _KEEPER_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    return process.stdout.read()


def last_line(status: int, out: Path, err: Path) -> str:
    """Return the line that says how a command ended, from the files of what it printed.

    That is its result if it had one, else its error.
    """
    printed = [line.strip() for line in _tail(out).splitlines() if line.strip()]
    errors = [line.strip() for line in _tail(err).splitlines() if line.strip()]
    if status in (EXIT_PASSED, EXIT_FAILED) and printed:
        return visible(printed[-1])
    # Behind its error the harness prints the end of a log, and a hint.
    named = [line for line in errors if line.startswith(("error: ", "internal error: "))]
    ended = f"ended by signal {-status}" if status < 0 else f"ended with status {status}"
    return visible([ended, *printed[-1:], *errors[-1:], *named[-1:]][-1])


def _tail(path: Path) -> str:
    with suppress(OSError), path.open("rb") as stream:
        stream.seek(max(path.stat().st_size - _MOST_PRINTED, 0))
        return stream.read().decode(errors="replace")
    return ""


# --- result folders -------------------------------------------------------------------


def pack(folder: Path) -> tuple[bytes, tuple[str, ...]]:
    """Pack the result folder that a command made below `folder`/results, as tar.gz.

    If there are several, each has its name. What the command printed is in PRINTED. Return the
    names of the files that were left out, too, because together they are too large: the largest.
    LEFT_OUT names them. What may not be read is not packed, either.
    """
    made = [one for one in (folder / "results").iterdir() if one.is_dir() and not one.is_symlink()]
    root = made[0] if len(made) == 1 else folder / "results"
    files = sorted(
        (one for one in root.rglob("*") if one.is_file() and not one.is_symlink()),
        key=lambda one: (one.stat().st_size, one),
    )
    raw, left, left_out = io.BytesIO(), MOST_BYTES, []
    with tarfile.open(fileobj=raw, mode="w:gz", compresslevel=6) as tar:
        for number, file in enumerate(files):
            name, size = str(file.relative_to(root)), file.stat().st_size
            if size > left or number >= _MOST_FILES:
                left_out.append(name)
                continue
            with suppress(PermissionError):
                _add(tar, name, file.read_bytes())
                left -= size
        printed = "".join(_tail(folder / name) for name in ("stdout", "stderr"))
        _add(tar, PRINTED, printed.encode(errors="replace"))
        if left_out:
            _add(tar, LEFT_OUT, "".join(f"{name}\n" for name in left_out).encode(errors="replace"))
    return raw.getvalue(), tuple(left_out)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    header = tarfile.TarInfo(name)
    header.size, header.mtime = len(data), int(time.time())
    tar.addfile(header, io.BytesIO(data))


# --- bundles --------------------------------------------------------------------------


def _for_now(cache: Cache) -> Cache:
    """Return the same cache with leases of its own: they end with it, the worker's with the worker.

    A worker may live for months, and no bundle of all that time could be removed.
    """
    return Cache(cache.root, cache.say)


def put_bundle(cache: Cache, sha256: str, data: bytes) -> None:
    """Keep a bundle that was sent here; see get_bundle(). Raise DiskFullError."""
    if get_bundle(cache, sha256) is None:
        cache.ensure(_KIND, sha256, lambda folder: _write(folder / _BUNDLE, data), seal=False)


def receive(here: Here, sha256: str, data: bytes) -> None:
    """Keep a bundle that was asked for, or tell the orders that wait for it why it cannot be."""
    try:
        put_bundle(_for_now(here.cache), sha256, data)
    except DiskFullError as error:
        here.refused[sha256] = error
    except (HarnessError, OSError) as error:
        # As good as a full disk: a worker that goes on fails at one cell after the other.
        here.refused[sha256] = DiskFullError(f"the worker cannot keep the bundle: {error}")


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def get_bundle(cache: Cache, sha256: str) -> Path | None:
    """Return the bundle with this digest; None if it is not here, or damaged: then it is removed.

    A run has a lease on it from then on.
    """
    if not cache.has(_KIND, sha256, seal=False):
        return None
    path = cache.path(_KIND, sha256) / _BUNDLE
    with suppress(OSError):
        if file_sha256(path) == sha256:
            cache.used(path.parent)
            return path
    cache.remove(_KIND, sha256)
    return None


def _kernel_in(bundle: Path) -> str:
    """Return the release of the kernel in a bundle; empty if it is none: then nothing boots it."""
    with suppress(HarnessError):
        return visible(archive.read_manifest(bundle).kernel.release)
    return ""


def _bundle(sha256: str, here: Here, should_stop: Callable[[], bool]) -> Path:
    """Return the bundle; if it is not here, ask for it and wait. Raise HarnessError in vain."""
    deadline, asked = time.monotonic() + _SENT_SECONDS, float("-inf")
    while (path := get_bundle(here.cache, sha256)) is None:
        if should_stop():
            raise _StoppedError
        now = time.monotonic()
        if now >= deadline:
            raise HarnessError("the bundle of the kernel did not come from the sweep")
        if now - asked >= _ASK_SECONDS:
            asked = now
            here.refused.pop(sha256, None)
            here.ask(sha256)
        if (error := here.refused.get(sha256)) is not None:
            raise error
        time.sleep(_POLL_SECONDS)
    return path


# --- the wire -------------------------------------------------------------------------


def order_text(order: Order) -> str:
    """Return an order as text for the network, which read_order() reads."""
    return typed_json.to_text(order, indent=None, exact=True)


def read_order(text: str) -> Order:
    """Parse an order; ValueError if it is none."""
    return typed_json.read(Order, text, "order")


def ended_parts(ended: Ended) -> tuple[str, bytes]:
    """Return what came of an order as plain values for the network, which read_ended() reads."""
    return typed_json.to_text(replace(ended, packed=b""), indent=None, exact=True), ended.packed


def read_ended(parts: tuple[str, bytes]) -> Ended:
    """Parse what came of an order; ValueError if it is malformed, or its bundle another one."""
    text, packed = parts
    ended = replace(typed_json.read(Ended, text, "the end of an order"), packed=packed)
    # The digest becomes the name of a file, and no worker takes a bundle that differs from it.
    if ended.sha256 and hashlib.sha256(packed).hexdigest() != ended.sha256:
        raise ValueError("the bundle is damaged: its SHA-256 is another one")
    return ended
