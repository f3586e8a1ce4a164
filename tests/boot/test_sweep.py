# SPDX-License-Identifier: MIT
"""Sweeps with real guests: two workers on this machine, whose processes are killed.

`tests/unit/sweep/` tests the same faults with small programs in place of runs. Here no guest may
be left, and the matrix must say what the kernels really did.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from device_work import eventually

from harness.core.paths import REPO
from harness.core.ports import LOOPBACK, free_port
from harness.targets.model import Target

INV = (sys.executable, str(REPO / "inv_program.py"))
LONG = 1800.0
WRONG = Path(__file__).with_name("faults") / "limit-ignored.patch"
SCENARIO = "badness-pick"
RUNS = f"""
[[run]]
task = "emulator-test"
scenarios = ["{SCENARIO}"]
policies = ["rss", "badness"]

[[run]]
task = "fuzz"
configurations = [""]
seeds = "1-2"
rounds = 1
"""


class Program:
    """A running `./inv`, whose lines are read in a thread."""

    def __init__(self, *words: str, results: Path) -> None:
        more = {"CI": "true", "INVOKE_GOLDFISH_OOM_RESULTS": str(results)}
        self.process = subprocess.Popen(
            [*INV, *words],
            cwd=results,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **more},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(line.rstrip("\n") for line in self.process.stdout)

    def ended(self) -> int:
        """Wait for its end, and return its status."""
        status = self.process.wait(LONG)
        self._reader.join()
        return status

    def guests(self) -> list[psutil.Process]:
        """Return its guests: all QEMUs that run now for it."""
        with suppress(psutil.NoSuchProcess):
            return [
                one
                for one in psutil.Process(self.process.pid).children(recursive=True)
                if _is_guest(one)
            ]
        return []


def _is_guest(process: psutil.Process) -> bool:
    try:
        return process.name().startswith("qemu")
    except psutil.Error:
        return False


def is_gone(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def worker_of(guest: psutil.Process) -> psutil.Process:
    """Return the worker that runs a guest."""
    return next(one for one in guest.parents() if "worker" in one.cmdline())


@contextmanager
def running(*words: str, results: Path) -> Iterator[Program]:
    program = Program(*words, results=results)
    try:
        yield program
    finally:
        with suppress(ProcessLookupError):
            os.killpg(program.process.pid, signal.SIGKILL)
        program.ended()


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    folder.mkdir()
    return folder


@pytest.fixture
def matrix(target: Target, tmp_path: Path) -> Path:
    """Return a file with four cells."""
    source = f'source = "{target.given_source}"\n' if target.given_source else ""
    source += f'toolchain = "{target.toolchain}"\n'
    text = f'kernels = ["{target.name}"]\n[kernel."{target.name}"]\n{source}'
    path = tmp_path / "four.toml"
    path.write_text(text + RUNS)
    return path


def guests_of(program: Program, count: int) -> list[psutil.Process]:
    """Wait until so many guests run at a time, and return them."""

    def look() -> list[psutil.Process] | None:
        found = program.guests()
        return found if len(found) == count else None

    return eventually(look, LONG)


def sweep_of(results: Path) -> tuple[Path, Any]:
    (folder,) = results.glob("*-sweep-*")
    return folder, json.loads((folder / "matrix.json").read_text())


def test_two_workers_share_the_cells_and_a_wrong_kernel_fails(
    matrix: Path, results: Path, target: Target
) -> None:
    text = matrix.read_text().replace("\nkernels", "kernels")
    wrong = f'[configuration.wrong]\npatch = ["{WRONG}"]\n'
    matrix.write_text(f'configurations = ["", "wrong"]\n{text}{wrong}')
    with running("sweep", str(matrix), "--jobs", "2", results=results) as sweep:
        assert sweep.ended() == 1, sweep.lines
    folder, found = sweep_of(results)
    seen = {}
    for one in found["cells"]:
        cell, (attempt,) = one["cell"], one["attempts"]
        seen[cell["build"]["configuration"], cell["task"], cell["policy"], cell["seed"]] = attempt
    assert {key: one["status"] for key, one in seen.items()} == {
        ("", "emulator-test", "rss", None): 0,
        ("", "emulator-test", "badness", None): 0,
        ("", "fuzz", "", 1): 0,
        ("", "fuzz", "", 2): 0,
        ("wrong", "emulator-test", "rss", None): 1,
        ("wrong", "emulator-test", "badness", None): 1,
    }
    assert len({one["worker"] for one in seen.values()}) == 2
    releases = set()
    for (configuration, task, _, _), attempt in seen.items():
        if task == "emulator-test":
            verdict = json.loads((folder / attempt["folder"] / "verdict.json").read_text())
            (judged,) = [one for one in verdict["scenarios"] if one["scenario"] == SCENARIO]
            assert judged["outcome"] == ("NOT_KILLED" if configuration else "PASSED")
            releases.add((configuration, verdict["release"]))
            assert (folder / attempt["folder"] / "report.html").exists()
    # Each kernel was built once.
    assert len(releases) == 2
    assert sweep.lines[-1].startswith("FAIL: of 6 cells 2 FAIL, 4 PASS")
    assert "2 FAIL" in (folder / "matrix.html").read_text()


def test_a_killed_worker_and_a_killed_guest(matrix: Path, results: Path) -> None:
    with running("sweep", str(matrix), "--jobs", "2", results=results) as sweep:
        first, second = guests_of(sweep, 2)
        worker_of(first).kill()
        eventually(lambda: is_gone(first), LONG)
        with suppress(psutil.NoSuchProcess):
            second.kill()
        assert sweep.ended() in (0, 3), sweep.lines
    _, found = sweep_of(results)
    # A cell whose worker was lost was run again. The one whose guest was killed is no pass.
    by_count = {len(one["attempts"]): one["attempts"] for one in found["cells"]}
    lost, again = by_count[2]
    assert (lost["status"], again["status"]) == (None, 0)
    for one in found["cells"]:
        assert one["attempts"][-1]["status"] in (0, 3), one
    statuses = [one["attempts"][-1]["status"] for one in found["cells"]]
    assert statuses.count(3) <= 1


def test_an_interrupted_sweep_goes_on(matrix: Path, results: Path) -> None:
    with running("sweep", str(matrix), "--jobs", "1", results=results) as sweep:
        eventually(lambda: any(line.startswith("1/4") for line in sweep.lines), LONG)
        guests = guests_of(sweep, 1)
        sweep.process.send_signal(signal.SIGINT)
        assert sweep.ended() == 130, sweep.lines
        assert all(is_gone(one) for one in guests)
    folder, found = sweep_of(results)
    assert not found["finished"]
    attempts = [one["attempts"] for one in found["cells"] if one["attempts"]]
    # The cell that was interrupted has no verdict.
    assert [one[-1]["status"] for one in attempts].count(None) <= 1
    done = [one for one in attempts if one[-1]["status"] == 0]
    assert 1 <= len(done) < 4
    with running("sweep", "--resume", str(folder), "--jobs", "1", results=results) as again:
        assert again.ended() == 0, again.lines
    _, found = sweep_of(results)
    assert again.lines[-1].startswith("PASS: 4 cells")
    assert [one["attempts"] for one in found["cells"] if one["attempts"] in done] == done


def test_a_scheduler_that_dies_takes_every_guest_with_it(matrix: Path, results: Path) -> None:
    address = f"tcp://{LOOPBACK}:{free_port()}"
    dask = str(Path(sys.executable).with_name("dask"))
    host, port = LOOPBACK, address.rpartition(":")[2]
    with subprocess.Popen(
        [dask, "scheduler", "--no-dashboard", "--host", host, "--port", port],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as scheduler:
        try:
            with (
                running("worker", address, "--jobs", "2", results=results) as worker,
                running("sweep", str(matrix), "--scheduler", address, results=results) as sweep,
            ):
                guests = guests_of(worker, 2)
                scheduler.kill()
                assert sweep.ended() == 3, sweep.lines
                assert worker.ended() == 3, worker.lines
                assert all(is_gone(one) for one in guests)
        finally:
            scheduler.kill()
    folder, found = sweep_of(results)
    assert "scheduler" in found["problem"]
    with running("sweep", "--resume", str(folder), "--jobs", "2", results=results) as again:
        assert again.ended() == 0, again.lines
