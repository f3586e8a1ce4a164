# SPDX-License-Identifier: MIT
"""Bundles are the same bytes for the same content; what is no whole bundle is refused."""

from __future__ import annotations

import errno
import gzip
import io
import json
import os
import struct
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bundles
import pytest
from backports import tarfile as backport
from hypothesis import given
from hypothesis import strategies as st

from harness.bundle import archive as bundle_archive
from harness.bundle.archive import pack, read_manifest, unpack
from harness.bundle.manifest import NAME
from harness.core.errors import DiskFullError, InfrastructureError, UsageError
from harness.core.typed_json import to_text

MANIFEST = bundles.manifest()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "into").mkdir()
    return tmp_path / "into"


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if not path.is_dir()
    }


def test_what_was_packed_is_unpacked(tmp_path: Path, folder: Path) -> None:
    assert unpack(bundles.bundle(tmp_path / "a.tar.gz"), folder) == MANIFEST
    assert files_below(folder) == bundles.CONTENTS
    assert os.access(folder / "programs/oom_test_kernel", os.X_OK)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_the_manifest_can_be_read_alone(tmp_path: Path) -> None:
    file = bundles.bundle(tmp_path / "a.tar.gz")
    assert read_manifest(file) == MANIFEST
    for data in (b"", b"no archive", file.read_bytes()[:100]):
        file.write_bytes(data)
        with pytest.raises(InfrastructureError, match="is no bundle"):
            read_manifest(file)


def test_the_same_content_is_the_same_bytes(tmp_path: Path) -> None:
    first = bundles.bundle(tmp_path / "a.tar.gz").read_bytes()
    backwards = dict(reversed(bundles.CONTENTS.items()))
    os.utime(tmp_path / "a.tar.gz", (1, 1))
    pack(MANIFEST, backwards, tmp_path / "b.tar.gz")
    assert (tmp_path / "b.tar.gz").read_bytes() == first
    with tarfile.open(tmp_path / "a.tar.gz") as tar:
        members = tar.getmembers()
    assert [one.name for one in members] == [NAME, *sorted(bundles.CONTENTS)]
    assert {(one.uid, one.gid, one.uname, one.gname, one.mtime) for one in members} == {
        (0, 0, "root", "root", 0)
    }


# --- where it cannot be written ------------------------------------------------


@pytest.mark.parametrize("name", ["no/folder/a.tar.gz", "into"])
def test_a_file_that_cannot_be_written(tmp_path: Path, folder: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot write"):
        bundles.bundle(tmp_path / name)
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_half_a_bundle_is_never_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(backport.TarFile, "addfile", fail)
    with pytest.raises((DiskFullError, KeyboardInterrupt)):
        bundles.bundle(tmp_path / "a.tar.gz")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_while_it_is_unpacked(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    bundle = bundles.bundle(tmp_path / "a.tar.gz")
    monkeypatch.setattr(backport.TarFile, "makefile", fail)
    with pytest.raises(DiskFullError, match="no space left"):
        unpack(bundle, folder)


# --- what is no whole bundle -----------------------------------------------------


@pytest.mark.parametrize("name", ["missing", "."])
def test_a_file_that_is_not_there(tmp_path: Path, folder: Path, name: str) -> None:
    with pytest.raises(UsageError, match="there is no file"):
        unpack(tmp_path / name, folder)


def refused(bundle: Path, folder: Path, message: str) -> None:
    with pytest.raises(InfrastructureError, match=message) as caught:
        unpack(bundle, folder)
    assert str(bundle) in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"\x1f\x8b", b"<html>not found</html>" * 99, gzip.compress(b"")),
        *(gzip.compress(b"x" * 5000), gzip.compress(bytes(10240)), os.urandom(3000)),
    ],
    # By themselves these would differ between processes: gzip writes the time.
    ids=range(7),
)
def test_a_file_that_is_no_bundle(tmp_path: Path, folder: Path, data: bytes) -> None:
    (tmp_path / "x").write_bytes(data)
    refused(tmp_path / "x", folder, "is no whole bundle")
    assert files_below(folder) == {}


@pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.9, 0.999])
def test_a_truncated_bundle(tmp_path: Path, folder: Path, part: float) -> None:
    bundle = bundles.bundle(tmp_path / "a.tar.gz")
    data = bundle.read_bytes()
    bundle.write_bytes(data[: int(len(data) * part)])
    refused(bundle, folder, "is no whole bundle")


@given(st.data())
def test_a_flipped_bit_is_noticed_or_means_nothing(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        bundle, folder = Path(name) / "a.tar.gz", Path(name) / "into"
        folder.mkdir()
        raw = bytearray(bundles.bundle(bundle).read_bytes())
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        bundle.write_bytes(raw)
        try:
            found = unpack(bundle, folder)
        except InfrastructureError:
            return
        assert found == MANIFEST
        assert files_below(folder) == bundles.CONTENTS


# --- what somebody made -----------------------------------------------------------

Add = Callable[[tarfile.TarFile], None]


def add(name: str, data: bytes = b"", **fields: Any) -> Add:
    def to(tar: tarfile.TarFile) -> None:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        for field, value in fields.items():
            setattr(info, field, value)
        tar.addfile(info, io.BytesIO(data))

    return to


def handmade(path: Path, *adds: Add, form: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w:gz", format=form) as tar:
        for one in adds:
            one(tar)
    return path


def with_manifest(path: Path, *adds: Add, **changes: Any) -> Path:
    text = to_text(bundles.manifest(**changes)).encode()
    return handmade(path, add(NAME, text), *adds)


WHOLE = tuple(add(name, data) for name, data in bundles.CONTENTS.items())


def test_order_does_not_matter(tmp_path: Path, folder: Path) -> None:
    unpack(with_manifest(tmp_path / "a", *reversed(WHOLE)), folder)
    assert files_below(folder) == bundles.CONTENTS


KIND = "is no plain file"
STRANGE = "is not in its manifest, or twice"


@pytest.mark.parametrize(
    ("adds", "message"),
    [
        (WHOLE[:-1], r"it lacks original/verdict\.json"),
        ((*WHOLE, WHOLE[0]), STRANGE),
        ((add("kernel/image", b"changed" * 100),), "kernel/image has 700 bytes, not 600"),
        ((add("kernel/image", b"Zimage" * 100),), "kernel/image is not what was packed"),
        *(
            ((*WHOLE, add(name, b"evil")), STRANGE)
            for name in ("../outside", "/tmp/outside", "original/../../x", "programs/new", NAME)
        ),
        ((add("kernel/image", type=tarfile.SYMTYPE, linkname="/etc/passwd"),), KIND),
        ((add("kernel/image", type=tarfile.SYMTYPE, linkname="../../outside"),), KIND),
        ((add("kernel/image", type=tarfile.LNKTYPE, linkname="kernel/config"),), KIND),
        ((add("kernel/image", type=tarfile.CHRTYPE, devmajor=1, devminor=3),), KIND),
        ((add("kernel/image", type=tarfile.BLKTYPE, devmajor=8),), KIND),
        ((add("kernel/image", type=tarfile.FIFOTYPE),), KIND),
        ((add("kernel/image", type=tarfile.DIRTYPE),), KIND),
        ((add("kernel/image", b"x" * 600, type=tarfile.CONTTYPE),), KIND),
        ((add("kernel", type=tarfile.SYMTYPE, linkname="/tmp"), *WHOLE), STRANGE),
    ],
)
def test_what_no_bundle_has_is_refused(
    tmp_path: Path, folder: Path, adds: tuple[Add, ...], message: str
) -> None:
    refused(with_manifest(tmp_path / "a", *adds), folder, message)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "into"]
    assert not any(path.is_symlink() for path in folder.rglob("*"))


@pytest.mark.parametrize(
    ("first", "message"),
    [
        (add("kernel/image", b"x"), r"does not begin with manifest\.json"),
        (add(NAME, type=tarfile.SYMTYPE, linkname="/etc/passwd"), KIND),
        (add(NAME, b"{}"), "its manifest is wrong: it has no schema"),
        (add(NAME, b"["), "its manifest is wrong"),
        (add(NAME, b"[" * 500_000), "its manifest is wrong: it is nested too deeply"),
        (add(NAME, b" " * ((1 << 20) + 1)), "its manifest is too large"),
    ],
)
def test_a_wrong_manifest_is_refused(
    tmp_path: Path, folder: Path, first: Add, message: str
) -> None:
    refused(handmade(tmp_path / "a", first, *WHOLE), folder, message)


def test_a_newer_bundle_is_said_to_be_newer(tmp_path: Path, folder: Path) -> None:
    text = json.dumps({"schema": 3}).encode()
    with pytest.raises(InfrastructureError, match="made by a newer version"):
        unpack(handmade(tmp_path / "a", add(NAME, text), *WHOLE), folder)


def test_a_bomb_is_refused_before_it_is_unpacked(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle_archive, "_MOST_BYTES", 1 << 20)
    zeros = bytes(4 << 20)
    for bomb in (
        # Behind the end, in a header of a header, and in a member.
        with_manifest(tmp_path / "a", *WHOLE).read_bytes() + gzip.compress(zeros),
        gzip.compress(header("x", len(zeros), b"x") + zeros),
        with_manifest(tmp_path / "b", add("kernel/image", zeros)).read_bytes(),
    ):
        (tmp_path / "bomb").write_bytes(bomb)
        refused(tmp_path / "bomb", folder, "unpacks to more than|has 4194304 bytes")
    assert sum(len(data) for data in files_below(folder).values()) < 10_000


def header(name: str, size: int, kind: bytes = b"0", octal: bytes | None = None) -> bytes:
    """A tar header with a sum that is right, whatever else is in it."""
    block = bytearray(512)
    block[: len(name)] = name.encode()
    block[100:108] = b"0000644\0"
    block[124:136] = octal or f"{size:011o}\0".encode()
    block[156:157] = kind
    block[257:265] = b"ustar\x0000"
    block[148:156] = b" " * 8
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    return bytes(block)


def first_part() -> bytes:
    text = to_text(MANIFEST).encode()
    return header(NAME, len(text)) + text + bytes(-len(text) % 512)


@pytest.mark.parametrize(
    "raw",
    [
        # Sizes that are negative, enormous, or no numbers; headers of headers without end.
        header("kernel/image", 0, octal=b"\xff" * 12),
        header("kernel/image", 0, octal=b"\x80" + b"\xff" * 11),
        header("kernel/image", 0, octal=b"x" * 12),
        header("x", 0, octal=b"\x80" + b"\x7f" * 11, kind=b"x"),
        header("x", 0, octal=b"\xff" * 12, kind=b"L"),
        header("x", 1, kind=b"L") * 3000,
        (header("x", 16, kind=b"x") + b"16 size=-999999\n".ljust(512, b"\0")) * 2,
        header("x", 14, kind=b"x") + b"14 size=abcde\n".ljust(512, b"\0"),
        header("x", 9, kind=b"g") + b"999 a=b\n\n".ljust(512, b"\0"),
        header("kernel/image", 600, kind=b"S"),
        struct.pack("512s", b"garbage"),
    ],
)
def test_headers_that_no_archive_has(tmp_path: Path, folder: Path, raw: bytes) -> None:
    for start in (b"", first_part()):
        (tmp_path / "a").write_bytes(gzip.compress(start + raw + bytes(10240)))
        refused(tmp_path / "a", folder, "is no whole bundle")


NAMES = st.one_of(
    st.sampled_from((*bundles.CONTENTS, "../x", "/x", "kernel", "kernel/", "./kernel/image")),
    st.text(bundles.PRINTABLE, max_size=5),
)
TYPES = st.sampled_from((b"0", b"\0", b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"S", b"L", b"x"))


@given(
    st.lists(st.tuples(NAMES, TYPES, st.binary(max_size=40), NAMES), max_size=5),
    st.booleans(),
    st.sampled_from((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)),
)
def test_whatever_is_in_an_archive_nothing_lands_outside(
    entries: list[tuple[str, bytes, bytes, str]], whole: bool, form: int
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "top" / "into"
        folder.mkdir(parents=True)
        adds = [add(entry, data, type=kind, linkname=link) for entry, kind, data, link in entries]
        text = to_text(MANIFEST).encode()
        bundle = handmade(
            Path(name) / "top/a", add(NAME, text), *(WHOLE if whole else ()), *adds, form=form
        )
        try:
            unpack(bundle, folder)
        except InfrastructureError:
            pass
        else:
            assert files_below(folder) == bundles.CONTENTS
        assert sorted(path.name for path in (Path(name) / "top").iterdir()) == ["a", "into"]
        for path in folder.rglob("*"):
            assert path.is_dir() or path.is_file()
            assert not path.is_symlink()
