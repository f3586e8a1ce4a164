# SPDX-License-Identifier: MIT
"""The folder of a sweep: `results/<time>-sweep-<name>/`. A sweep that ended early goes on from it.

Each attempt is a line of ATTEMPTS as soon as it has ended. matrix.json, which may be large, is
replaced now and then, with the page, and at the end. To read a sweep takes both.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import re
import secrets
import shutil
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from backports import tarfile

from harness.core import typed_json
from harness.core.cache import disk_full_named
from harness.core.errors import NO_PLACE, InfrastructureError, UsageError
from harness.core.typed_json import Count
from harness.results.folder import ResultFolder
from harness.results.run_result import Status
from harness.sweep import page, result
from harness.sweep.cell import Build, Cell
from harness.sweep.junit import sweep_junit
from harness.sweep.kcidb import sweep_kcidb
from harness.sweep.matrix import Matrix
from harness.sweep.result import MATRIX, Attempt, CellResult, SweepResult

FILE = "sweep.toml"
ATTEMPTS = "attempts.jsonl"
CELLS = "cells"
_BUNDLES = ".bundles"
_LOCK = ".lock"
# matrix.json is replaced so often, in seconds.
_EVERY_SECONDS = 20.0
# What an attempt's result folder may hold when it is unpacked, in bytes: more than any sends.
_MOST_BYTES = 256 << 20
# What wrong data raise. An OSError is of their names or of gzip, unless there is no space.
_DAMAGED = (
    *(tarfile.TarError, zlib.error, OSError),
    *(EOFError, ValueError, OverflowError, RecursionError),
)


@dataclass(frozen=True)
class _Line:
    """A line of ATTEMPTS; cells are counted from 0."""

    cell: Count
    attempt: Attempt


@dataclass
class Store:
    """A sweep and its folder. Only one process has it; see created() and resumed().

    `previous` is the sweep of the same file before this one, if there is one.
    """

    folder: Path
    sweep: SweepResult
    previous: SweepResult | None = field(init=False)
    _clock: Callable[[], float] = time.monotonic
    _begun: float = field(init=False)
    _before: float = field(init=False)
    _written: float = field(init=False, default=float("-inf"))
    _cells: list[CellResult] = field(init=False)

    def __post_init__(self) -> None:
        self._begun, self._before = self._clock(), self.sweep.seconds
        self._cells = list(self.sweep.cells)
        self.previous = page.find_before(self.folder.parent, self.sweep)

    @property
    def todo(self) -> dict[int, Cell]:
        """The cells without a verdict, by their number."""
        return {
            number: one.cell
            for number, one in enumerate(self._cells)
            if one.status not in (Status.PASSED, Status.FAILED)
        }

    @property
    def has_failed(self) -> bool:
        """Whether a kernel did something wrong in one of the cells."""
        return any(one.status is Status.FAILED for one in self._cells)

    def cell(self, number: int) -> CellResult:
        """Return a cell with its attempts."""
        return self._cells[number]

    def kernel(self, build: Build) -> str:
        """Return the release of the kernel that a build's verdicts are of; empty if unknown."""
        judged = (Status.PASSED, Status.FAILED)
        last = (one.last for one in self._cells if one.cell.build == build and one.status in judged)
        return next((one.kernel for one in last if one is not None and one.kernel), "")

    @property
    def count(self) -> int:
        """How many cells there are."""
        return len(self._cells)

    def add(self, number: int, attempt: Attempt, packed: bytes = b"") -> Attempt:
        """Add an attempt at a cell, with its packed result folder; return it with its folder.

        If the folder cannot be unpacked, the attempt says so in its line. Raise DiskFullError.
        """
        known = self._cells[number]
        if packed:
            name = f"{CELLS}/{number + 1}/{len(known.attempts) + 1}"
            damage = self._unpack(packed, self.folder / name)
            if damage:
                line = f"{attempt.line} (its result folder is damaged: {damage})"
                attempt = replace(attempt, line=line)
            attempt = replace(attempt, folder=name)
        line = typed_json.to_text(_Line(number, attempt), indent=None, exact=True)
        _append(self.folder / ATTEMPTS, f"{line}\n".encode())
        self._cells[number] = replace(known, attempts=(*known.attempts, attempt))
        if self._clock() - self._written >= _EVERY_SECONDS:
            self.write()
        return attempt

    def _unpack(self, packed: bytes, folder: Path) -> str:
        """Unpack a result folder; return what is wrong with it."""
        with disk_full_named(self.folder):
            # What a killed sweep has left.
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            try:
                _extract(packed, folder)
            except _DAMAGED as error:
                if isinstance(error, OSError) and error.errno in NO_PLACE:
                    raise
                return str(error) or type(error).__name__
        return ""

    def workers(self, names: Sequence[str]) -> None:
        """Add the names of workers that take part."""
        known = self.sweep.workers
        more = tuple(name for name in names if name not in known)
        if more:
            self.sweep = replace(self.sweep, workers=(*known, *more))

    def write(self) -> None:
        """Replace matrix.json and the page. Raise DiskFullError."""
        seconds = self._before + self._clock() - self._begun
        self.sweep = replace(self.sweep, cells=tuple(self._cells), seconds=seconds)
        _put(self.folder, MATRIX, result.to_text(self.sweep))
        page.write(self.folder, self.sweep, self.previous)
        self._written = self._clock()

    def finish(self, problem: str = "") -> SweepResult:
        """Write the sweep in all forms at its end; `problem` is what ended it early. Return it."""
        finished = not problem and all(one.attempts for one in self._cells)
        self.sweep = replace(self.sweep, problem=problem, finished=finished)
        self.write()
        _put(self.folder, "junit.xml", sweep_junit(self.sweep))
        _put(self.folder, "kcidb.json", typed_json.to_text(sweep_kcidb(self.sweep)))
        shutil.rmtree(self.folder / _BUNDLES, ignore_errors=True)
        return self.sweep

    def keep_bundle(self, sha256: str, data: bytes) -> None:
        """Store a bundle until the end of the sweep. Raise DiskFullError."""
        with disk_full_named(self.folder):
            (self.folder / _BUNDLES).mkdir(exist_ok=True)
            (self.folder / _BUNDLES / sha256).write_bytes(data)

    def bundle(self, sha256: str) -> bytes:
        """Return a bundle that was stored."""
        return (self.folder / _BUNDLES / sha256).read_bytes()


def _extract(packed: bytes, folder: Path) -> None:
    """Unpack plain files into `folder`, and nowhere else."""
    left = _MOST_BYTES
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as tar:
        for header in tar:
            left -= header.size
            if not header.isfile() or header.issparse() or left < 0:
                raise ValueError(f"{header.name!a} is no plain file, or too large")
            tar.extract(header, folder, filter="data")


def _append(path: Path, line: bytes) -> None:
    """Add a line, or nothing of it: what a full disk cut off would damage the line behind it."""
    with disk_full_named(path), path.open("ab", buffering=0) as stream:
        end = stream.seek(0, os.SEEK_END)
        try:
            while line:
                line = line[stream.write(line) :]
        except BaseException:
            stream.truncate(end)
            raise


def _put(folder: Path, name: str, text: str) -> None:
    """Replace a file atomically."""
    ResultFolder(folder).put(name, text)


@contextmanager
def created(
    root: Path, file: str, matrix: Matrix, command: Sequence[str], code: str
) -> Iterator[Store]:
    """Make the folder of a new sweep below `root`, and hold it.

    `file` is the name of the matrix's file, and `code` the key of what runs the sweep: see
    announced.this_code(). Raise DiskFullError.
    """
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", matrix.name).strip("-.") or "sweep"
    folder = ResultFolder.create(root, "sweep", plain, datetime.now()).path
    with _held(folder):
        with disk_full_named(folder):
            (folder / FILE).write_bytes(matrix.content)
            (folder / ATTEMPTS).touch()
        sweep = SweepResult(
            run=f"{folder.name}-{secrets.token_hex(4)}",
            file=file,
            sha256=hashlib.sha256(matrix.content).hexdigest(),
            command=tuple(command),
            code=code,
            started=datetime.now(UTC),
            cells=tuple(CellResult(one) for one in matrix.cells),
        )
        store = Store(folder, sweep)
        store.write()
        yield store


@contextmanager
def resumed(folder: Path, code: str) -> Iterator[Store]:
    """Read a sweep that has ended early, and hold its folder.

    Raise UsageError if that is no folder of a sweep, or another version than that with the key
    `code` has begun it, and InfrastructureError if it is damaged or another process has it.
    """
    known = False
    # A name that is too long for a file.
    with suppress(OSError):
        known = (folder / MATRIX).is_file()
    if not known:
        raise UsageError(f"{folder} is no sweep: it has no {MATRIX}", hint="./inv sweep FILE")
    with _held(folder):
        sweep = load(folder)
        # Otherwise all cells could pass, and no single version has passed them.
        if sweep.code != code:
            raise UsageError(
                f"the sweep in {folder} was begun by another version of this project or of Python",
                hint="go back to that version, or begin a new sweep",
            )
        yield Store(folder, replace(sweep, problem="", finished=False))


def load(folder: Path) -> SweepResult:
    """Return the sweep of a folder; of an attempt that was cut off while it was written, nothing.

    Raise InfrastructureError if it is damaged.
    """
    try:
        sweep = result.read((folder / MATRIX).read_bytes())
        lines = list(_lines(folder / ATTEMPTS))
        found: list[list[Attempt]] = [[] for _ in sweep.cells]
        for line in lines:
            if line.cell >= len(found):
                raise ValueError(f"{ATTEMPTS}: there is no cell {line.cell}")
            found[line.cell].append(line.attempt)
    except (OSError, ValueError) as error:
        raise InfrastructureError(f"the sweep in {folder} is damaged: {error}") from error
    cells = (
        replace(one, attempts=max(one.attempts, tuple(attempts), key=len))
        for one, attempts in zip(sweep.cells, found, strict=True)
    )
    return replace(sweep, cells=tuple(cells))


def _lines(path: Path) -> Iterator[_Line]:
    if not path.exists():
        return
    *whole, _cut = path.read_text(encoding="utf-8").split("\n")
    for text in whole:
        yield typed_json.read(_Line, text, ATTEMPTS)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold the lock of a sweep's folder; it ends with this process, however that ends."""
    try:
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise InfrastructureError(f"cannot write to {folder}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"another process is at the sweep in {folder}", hint="wait for it, or end it"
            ) from None
        _drop_cut_line(folder / ATTEMPTS)
        yield
    finally:
        os.close(descriptor)


def _drop_cut_line(path: Path) -> None:
    """Remove a last line that a full disk or a power loss has cut off."""
    with suppress(FileNotFoundError), path.open("r+b") as stream:
        data = stream.read()
        stream.truncate(data.rfind(b"\n") + 1)
