# SPDX-License-Identifier: MIT
"""The folder of a sweep: what is kept, and what a resumed sweep reads."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import os
import resource
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from backports import tarfile

from harness.core.errors import DiskFullError, InfrastructureError, UsageError
from harness.results.run_result import Status
from harness.sweep import result, store
from harness.sweep.cell import Build, Cell
from harness.sweep.matrix import Matrix, read_matrix
from harness.sweep.result import Attempt
from harness.sweep.store import ATTEMPTS, FILE, Store

CODE = "0123456789abcdef"
BUILD = Build("linux-6.1")
CELLS = tuple(Cell(BUILD, "emulator-test", ("--seed", str(n)), trigger=str(n)) for n in range(4))
PASSED = Attempt("one", datetime(2026, 1, 1, tzinfo=UTC), 1.5, 0, "PASS: 1 scenario")
FAILED = Attempt("one", None, 1.0, 1, "FAIL")
LOST = Attempt("two", None, 1.0, None, "the worker was lost")


@contextmanager
def new(folder: Path) -> Iterator[Store]:
    matrix = Matrix("a/b c", CELLS, b"[cells]\n")
    with store.created(folder / "r", "m.toml", matrix, ("./inv", "x"), CODE) as made:
        yield made


def test_a_matrix_that_can_be_read_only_once(tmp_path: Path) -> None:
    """As that of `./inv sweep <(program)`."""
    content = b'kernels = ["linux-6.1"]\n[[run]]\ntask = "fuzz"\nseeds = [1]\n'
    read, write = os.pipe()
    os.write(write, content)
    os.close(write)
    matrix = read_matrix(Path(f"/dev/fd/{read}"))
    os.close(read)
    with store.created(tmp_path, "63", matrix, ("./inv", "sweep", "/dev/fd/63"), CODE) as made:
        assert (made.folder / FILE).read_bytes() == content
        assert made.sweep.sha256 == hashlib.sha256(content).hexdigest()


def packed(*names: str, data: bytes = b"x", kind: bytes = tarfile.REGTYPE) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as tar:
        for name in names or ("a/report.html",):
            header = tarfile.TarInfo(name)
            header.size, header.type, header.linkname = len(data), kind, "/etc"
            tar.addfile(header, io.BytesIO(data))
    return raw.getvalue()


def no_deflate(packed: bytes) -> bytes:
    """Return the same, but the second half of it is what no deflate makes."""
    whole, made = gzip.decompress(packed), zlib.compressobj(wbits=31)
    return made.compress(whole[: len(whole) // 2]) + made.flush(zlib.Z_FULL_FLUSH) + b"\xff" * 9


def test_what_is_kept(tmp_path: Path) -> None:
    with new(tmp_path) as made:
        assert made.folder.name.endswith("-sweep-a-b-c")
        assert made.add(0, PASSED, packed()).folder == "cells/1/1"
        made.add(1, LOST)
        assert made.add(1, FAILED, packed()).folder == "cells/2/2"
        made.workers(["one"])
        made.workers(["two", "one"])
        sweep = made.finish("stopped")
    assert (made.folder / "cells/1/1/a/report.html").read_text() == "x"
    assert (made.folder / "sweep.toml").read_text() == "[cells]\n"
    assert (
        result.read((made.folder / "matrix.json").read_text()) == sweep == store.load(made.folder)
    )
    assert (sweep.workers, sweep.problem, sweep.finished) == (("one", "two"), "stopped", False)
    assert sweep.counts == {Status.FAILED: 1, Status.MISSING: 2, Status.PASSED: 1}


def test_a_killed_sweep_goes_on(tmp_path: Path) -> None:
    with new(tmp_path) as made:
        made.add(0, PASSED)
        made.add(1, FAILED)
        made.add(2, LOST)
    # It was killed while it wrote a line.
    with (made.folder / ATTEMPTS).open("a") as stream:
        stream.write('{"cell": 3, "att')
    assert result.read((made.folder / "matrix.json").read_text()).cells[0].attempts == ()
    with store.resumed(made.folder, CODE) as again:
        assert list(again.todo) == [2, 3]
        again.add(3, PASSED)
        again.add(2, PASSED)
        sweep = again.finish()
    assert [len(one.attempts) for one in sweep.cells] == [1, 1, 2, 1]
    assert store.load(made.folder) == sweep
    assert sweep.finished
    assert sweep.exit_status == 1


def test_matrix_json_is_not_written_at_each_cell(tmp_path: Path) -> None:
    with new(tmp_path) as made:
        before = (made.folder / "matrix.json").stat().st_ino
        made._clock = lambda: made._written + 19.0
        made.add(0, PASSED)
        assert (made.folder / "matrix.json").stat().st_ino == before
        made._clock = lambda: made._begun + 1000.0
        made.add(1, PASSED)
    sweep = result.read((made.folder / "matrix.json").read_text())
    assert sweep.cells[1].attempts == (PASSED,)
    assert sweep.seconds == pytest.approx(1000.0)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no archive",
        packed()[:-20],
        packed("../../outside"),
        packed("link", data=b"", kind=tarfile.SYMTYPE),
        packed("device", data=b"", kind=tarfile.CHRTYPE),
        packed("a", "a/b"),
        packed("a/b", "a"),
        packed("x" * 300),
        no_deflate(packed(data=os.urandom(1 << 18))),
    ],
    # An archive has the time in it, and processes that share the tests need the same names.
    ids=[
        *("empty", "no archive", "cut off", "outside", "link", "device"),
        *("below a file", "over a folder", "long name", "no deflate"),
    ],
)
def test_a_damaged_result_folder_is_said(tmp_path: Path, data: bytes) -> None:
    with new(tmp_path) as made:
        added = made.add(0, PASSED, data)
        assert made.cell(0).status is Status.PASSED
    assert ("is damaged" in added.line) == bool(data)
    assert not list(tmp_path.rglob("outside"))
    assert not any(path.is_symlink() for path in (made.folder / "cells").rglob("*"))


@pytest.mark.parametrize("key", [f'"code": "{CODE}"', '"before": "there were keys"'])
def test_another_version_does_not_go_on_with_a_sweep(tmp_path: Path, key: str) -> None:
    with new(tmp_path) as made:
        made.add(0, PASSED)
    path = made.folder / "matrix.json"
    path.write_text(path.read_text().replace(f'"code": "{CODE}"', key))
    code = "another" if CODE in key else CODE
    with pytest.raises(UsageError, match="begun by another"), store.resumed(made.folder, code):
        pass
    with store.resumed(made.folder, CODE if CODE in key else "") as again:
        assert list(again.todo) == [1, 2, 3]


def test_what_is_no_sweep(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no sweep"), store.resumed(tmp_path / "none", CODE):
        pass


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("matrix.json", "{}"),
        ("matrix.json", "\0"),
        (ATTEMPTS, "x\n"),
        (ATTEMPTS, '{"cell": 4, "attempt": {"worker": ""}}\n'),
        (ATTEMPTS, '{"cell": -1, "attempt": {"worker": ""}}\n'),
    ],
)
def test_what_is_damaged(tmp_path: Path, name: str, text: str) -> None:
    with new(tmp_path) as made:
        pass
    (made.folder / name).write_text(text)
    with pytest.raises(InfrastructureError, match="is damaged"), store.resumed(made.folder, CODE):
        pass


def test_another_process_is_at_it(tmp_path: Path) -> None:
    # The lock belongs to an open file, so this process can be the other one, too.
    with new(tmp_path) as made:
        folder = made.folder
        with pytest.raises(UsageError, match="another process"), store.resumed(folder, CODE):
            pass
    with store.resumed(made.folder, CODE) as again:
        assert again.count == 4


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with new(tmp_path) as made:
        monkeypatch.setattr(Path, "mkdir", full)
        with pytest.raises(DiskFullError):
            made.add(0, PASSED, packed())
        assert list(made.todo) == [0, 1, 2, 3]


def test_a_line_that_does_not_fit_leaves_no_part_of_it(tmp_path: Path) -> None:
    with new(tmp_path) as made:
        made.add(0, PASSED)
        path = made.folder / "attempts.jsonl"
        before = path.read_bytes()
        old = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, old[1]))
        try:
            with pytest.raises(OSError, match="too large"):
                made.add(1, PASSED)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, old)
        assert path.read_bytes() == before
        made.add(2, PASSED)
    assert [bool(one.attempts) for one in store.load(made.folder).cells[:3]] == [True, False, True]


def test_bundles_go_at_the_end(tmp_path: Path) -> None:
    with new(tmp_path) as made:
        made.keep_bundle("ab", b"bundle")
        assert made.bundle("ab") == b"bundle"
        made.finish()
    assert not (made.folder / ".bundles").exists()


def test_a_sweep_that_has_ended_is_there_in_every_form(tmp_path: Path) -> None:
    with new(tmp_path) as first:
        first.add(0, PASSED)
        first.finish()
    assert first.previous is None
    for name in ("matrix.json", "matrix.html", "junit.xml", "kcidb.json", "sweep.toml"):
        assert (first.folder / name).stat().st_size > 0
    with new(tmp_path) as second:
        # A sweep that did not finish is nothing to compare with.
        assert second.previous is None
