# SPDX-License-Identifier: MIT
"""Archives for a kernel to unpack: the same bytes for the same files, one behind the other."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.build import rootfs


def stage(folder: Path, name: str, mode: int) -> Path:
    (folder / "etc").mkdir(parents=True)
    path = folder / "etc" / name
    path.write_text(f"{name}\n")
    path.chmod(mode)
    os.utime(path, (1e9, 1e9))
    return folder


def listing(archive: bytes) -> str:
    done = subprocess.run(
        ["cpio", "-tv", "--quiet"], input=archive, capture_output=True, check=True
    )
    return done.stdout.decode()


@pytest.fixture(autouse=True)
def _cpio() -> None:
    assert shutil.which("cpio"), "cpio is one of the packages of ./inv setup"


def test_the_same_files_are_the_same_bytes(tmp_path: Path) -> None:
    for number in (1, 2):
        rootfs.pack(stage(tmp_path / str(number), "a", 0o640), tmp_path / f"{number}.gz")
    assert (tmp_path / "1.gz").read_bytes() == (tmp_path / "2.gz").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "1.gz", "2", "2.gz"]


def test_all_is_roots_and_for_everybody(tmp_path: Path) -> None:
    archive = tmp_path / "x.gz"
    rootfs.pack(stage(tmp_path / "stage", "run", 0o700), archive)
    line = listing(gzip.decompress(archive.read_bytes())).splitlines()[-1].split()
    assert line[0] == "-rwxr-xr-x"
    assert line[2:4] == ["root", "root"]
    assert line[-1] == "etc/run"


def test_one_can_follow_another(tmp_path: Path) -> None:
    both = b""
    for name in ("a", "b"):
        rootfs.pack(stage(tmp_path / name, name, 0o644), tmp_path / f"{name}.gz")
        both += (tmp_path / f"{name}.gz").read_bytes()
    # gzip's members in a row are one stream, as for the kernel.
    whole = gzip.decompress(both)
    assert "etc/a" in listing(whole)
    assert whole.count(b"TRAILER!!!") == 2
