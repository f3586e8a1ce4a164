# SPDX-License-Identifier: MIT
"""Temporary folders of killed processes are removed, and no others."""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
from pathlib import Path

import pytest
from stand_ins import start_python

from harness.core.scratch import HELD, remove_left, scratch

_WAITS = """
from harness.core.scratch import scratch
with scratch("cell") as folder:
    (folder / "inner").mkdir()
    print(folder, flush=True)
    input()
"""


@pytest.fixture
def tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_folder_is_gone_afterwards(tmp: Path) -> None:
    with scratch("cell") as folder:
        assert folder.name.startswith("goldfish-oom-cell-")
        (folder / "file").touch()
        remove_left()
        assert (folder / "file").is_file()
    assert not list(tmp.iterdir())


def test_the_folder_of_a_killed_process_is_removed_by_the_next_one(tmp: Path) -> None:
    env = {**os.environ, "TMPDIR": str(tmp)}
    pipe = subprocess.PIPE
    with start_python(_WAITS, env=env, stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        with scratch("sweep"):
            assert (folder / "inner").is_dir()
        # Another process works in it, too.
        with (folder / HELD).open() as stream:
            fcntl.flock(stream, fcntl.LOCK_SH)
            process.kill()
            process.wait()
            remove_left()
            assert (folder / "inner").is_dir()
    with scratch("worker") as other:
        assert list(tmp.iterdir()) == [other]


def test_what_is_not_ours_stays(tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("goldfish-oom-cell-a", "goldfish-oom-bcdefghi", "elsewhere", "goldfish-other-c"):
        (tmp / name).mkdir()
    # Between its making and its lock, and one of an older version.
    (tmp / "goldfish-oom-cell-a" / "new").touch()
    for name in ("elsewhere", "goldfish-other-c"):
        (tmp / name / HELD).touch()
    (tmp / "goldfish-oom-cell-link").symlink_to("elsewhere")
    (tmp / "goldfish-oom-file").touch()
    before = sorted(tmp.rglob("*"))
    remove_left()
    assert sorted(tmp.rglob("*")) == before
    (tmp / "goldfish-oom-cell-a" / HELD).touch()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    remove_left()
    assert (tmp / "goldfish-oom-cell-a" / HELD).exists()
