# SPDX-License-Identifier: MIT
"""What a session stands on: its first cause, its scratch folder, its `boot` task."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import pytest

from harness import boot, session
from harness.errors import BootError, DeviceError, UsageError
from harness.lifetime import Health, bound_to_us
from harness.paths import REPO


def test_the_first_cause_stays() -> None:
    health = Health()
    health.check()
    health.fail(BootError("first", tail="tail", log=Path("log")))
    health.fail(DeviceError("second"))
    for _ in range(2):
        with pytest.raises(BootError, match="first") as caught:
            health.check()
        assert (caught.value.tail, caught.value.log) == ("tail", Path("log"))


def test_who_waits_is_woken() -> None:
    health = Health()
    called = threading.Event()
    health.listen(called.set)
    threading.Timer(0.1, lambda: health.fail(BootError("x"))).start()
    begun = time.monotonic()
    assert health.pause(30)
    assert called.wait(5)
    assert time.monotonic() - begun < 5


def test_who_comes_later_is_told_at_once() -> None:
    health = Health()
    health.fail(BootError("x"))
    called = threading.Event()
    health.listen(called.set)
    assert called.is_set()
    assert health.pause(30)


def test_who_no_longer_listens_is_not_called() -> None:
    health = Health()
    called = threading.Event()
    health.listen(called.set)
    health.unlisten(called.set)
    health.fail(BootError("x"))
    assert not called.is_set()


def test_a_bound_process_dies_with_us_however_we_do() -> None:
    argv = bound_to_us(["sleep", "60"])
    script = (
        f"import subprocess, time; print(subprocess.Popen({argv!r}).pid, flush=True);time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=REPO) as us:
        assert us.stdout is not None
        child = psutil.Process(int(us.stdout.readline()))
        # Until then it is not bound yet.
        while child.name() != "sleep":
            time.sleep(0.01)
        os.kill(us.pid, signal.SIGKILL)
    assert psutil.wait_procs([child], timeout=5)[1] == []


def test_scratch_folders_are_short_enough_for_a_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    folder = session._scratch_folder()
    try:
        assert len(str(folder)) < session._LONGEST_SCRATCH
        assert list(deep.iterdir()) == []
    finally:
        folder.rmdir()


@pytest.mark.parametrize("user", ["root", "shell", "u0_a0", "u0_a99", "10070", "0"])
def test_boot_takes_a_user_of_the_guests(user: str) -> None:
    boot.check_user(user)


@pytest.mark.parametrize("user", ["", "u0_a100", "-1", "root; reboot", "nobody", "²"])
def test_boot_takes_no_other_user(user: str) -> None:
    with pytest.raises(UsageError, match="no user is called"):
        boot.check_user(user)
