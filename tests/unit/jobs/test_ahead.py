# SPDX-License-Identifier: MIT
"""Kernels that are built ahead: which, and that it ends with what they are built for."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
from stand_ins import script, wait_for

from harness.build import kernel as kernels
from harness.core import process
from harness.core.errors import EXIT_INFRASTRUCTURE, BuildError
from harness.core.paths import REPO
from harness.jobs import ahead
from harness.targets.linux_6_1 import LINUX_6_1
from harness.targets.model import Target
from harness.ui.workspace import Workspace


def test_the_two_kernels_of_all_tests(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[Target] = []
    monkeypatch.setattr(kernels, "build", lambda _ws, target: built.append(target))
    ahead.build(ws, LINUX_6_1)
    assert built == [LINUX_6_1, LINUX_6_1.stock()]


def test_it_ends_with_the_context(
    ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid_file = tmp_path / "pid"
    words = f'echo "$@" >{tmp_path}/words; echo $$ >{pid_file}.new; mv {pid_file}.new {pid_file}'
    monkeypatch.setattr(sys, "executable", str(script(tmp_path / "python", f"{words}; sleep 300")))
    with ahead.kernels_ahead(ws, LINUX_6_1):
        wait_for(pid_file)
        building = psutil.Process(int(pid_file.read_text()))
    assert not building.is_running()
    assert (tmp_path / "words").read_text() == "-m harness.jobs.ahead linux-6.1 gnu\n"


def test_it_ends_if_the_harness_is_killed(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    python = script(
        tmp_path / "python", f"echo $$ >{pid_file}.new; mv {pid_file}.new {pid_file}; sleep 300"
    )
    program = (
        f"import sys, time; sys.executable = {str(python)!r}\n"
        "from harness.jobs import ahead; from harness.targets.linux_6_1 import LINUX_6_1\n"
        "from harness.ui.workspace import Workspace\n"
        "with ahead.kernels_ahead(Workspace(), LINUX_6_1): time.sleep(300)"
    )
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", program], cwd=REPO, env=env) as harness:
        wait_for(pid_file)
        building = psutil.Process(int(pid_file.read_text()))
        harness.kill()
    building.wait(60)


def test_an_interrupt_as_it_starts_leaves_nothing_behind(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(_thread: threading.Thread) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(KeyboardInterrupt), ahead.kernels_ahead(ws, LINUX_6_1):
        pass


@pytest.mark.parametrize("python", ["false", "none"])
def test_a_failure_is_told_where_the_kernel_is_needed(
    ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, python: str
) -> None:
    monkeypatch.setattr(sys, "executable", python if python == "false" else str(tmp_path / python))
    with ahead.kernels_ahead(ws, LINUX_6_1):
        pass
    assert (ws.logs / "kernels-ahead.log").read_text().startswith("$ ")


def test_an_error_is_a_status(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(_ws: Workspace, _target: Target) -> None:
        raise BuildError("make zImage failed: no such thing")

    monkeypatch.setattr(ahead, "stand_back", lambda: None)
    monkeypatch.setattr(ahead, "build", build)
    assert ahead.main("linux-6.1", "gnu") == EXIT_INFRASTRUCTURE
    assert "no such thing" in capsys.readouterr().err


def test_it_starts_as_a_program(tmp_path: Path) -> None:
    """With a target that does not exist, so that nothing is built."""
    done = process.run(
        [sys.executable, "-m", "harness.jobs.ahead", "linux-0.1", "gnu"],
        process.RunOptions(cwd=REPO, env={"XDG_CACHE_HOME": str(tmp_path)}),
        check=False,
    )
    assert done.status == 2
    assert "linux-0.1" in done.output
