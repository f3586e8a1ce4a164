# SPDX-License-Identifier: MIT
"""The status of boot tests that failed: 1 is the kernel's, 3 says nothing about it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.core.paths import REPO

CONFTEST = """
from nothing_known import NothingKnown
def pytest_configure(config):
    config.pluginmanager.register(NothingKnown())
"""
TESTS = """
import errno
import pytest
from harness.core.errors import BootError, BuildError, DeviceError, MachineKilledError
@pytest.fixture
def built():
    raise BuildError("gcc failed", tail="x")
@pytest.fixture
def left():
    yield
    raise BuildError("rmmod failed")
def test_build(built): pass
def test_killed(): raise MachineKilledError("the machine (QEMU) was killed by SIGKILL")
def test_stalled(): raise DeviceError("'kill -9 161': it has not ended within 30 s")
def test_disk(): raise OSError(errno.ENOSPC, "No space left on device")
def test_left(left): pass
def test_panic(): raise BootError("the kernel panicked")
def test_wrong(): assert 1 == 2
def test_other(): raise OSError(errno.EIO, "Input/output error")
def test_good(): pass
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_it.py").write_text(TESTS)
    return tmp_path


@pytest.mark.parametrize(
    ("names", "more", "status", "last"),
    [
        ("build good", (), 3, "harness.core.errors.BuildError: gcc failed"),
        ("killed disk", ("-n", "2"), 3, ""),
        ("stalled build", (), 1, None),
        ("left", (), 3, "harness.core.errors.BuildError: rmmod failed"),
        ("disk", (), 3, "OSError: [Errno 28] No space left on device"),
        ("panic build", (), 1, None),
        ("wrong build", ("-n", "2"), 1, None),
        ("other build", (), 1, None),
        ("good", (), 0, None),
    ],
)
def test_the_status(
    folder: Path, names: str, more: tuple[str, ...], status: int, last: str | None
) -> None:
    words = ["-q", "-p", "no:cacheprovider", "-c", f"{REPO}/pyproject.toml", f"--rootdir={folder}"]
    chosen = [f"{folder}/test_it.py::test_{name}" for name in names.split()]
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", *words, *more, *chosen],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == status, ended.stdout
    begins, _, told = ended.stdout.splitlines()[-1].partition(": ")
    assert (begins == "nothing is known about the kernel") == (last is not None)
    assert told.startswith(last or "")
