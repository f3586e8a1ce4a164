# SPDX-License-Identifier: MIT
"""Sweeps of real processes, whose cells are those of sweep_program.py."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import sweep_processes
from sweep_processes import KERNEL

from harness.core import typed_json
from harness.sweep import store
from harness.sweep.cell import Build, Cell
from harness.sweep.result import CellResult, SweepResult

PATIENCE_SECONDS = 120.0


class World:
    """The processes of a test, all of which have its folder in their command lines."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.trace, self.cache, self.results = (folder / n for n in ("trace", "cache", "results"))
        self.tmp = folder / "tmp"
        for one in (self.trace, self.tmp):
            one.mkdir()
        self._started: list[subprocess.Popen[str]] = []
        self.build = Build(KERNEL, "", self._build("pass"))

    def _build(self, kind: str) -> tuple[str, ...]:
        return ("--kernel", KERNEL, "--trace", str(self.trace), "--do", kind)

    def built_by(self, kind: str) -> Build:
        return Build(KERNEL, kind, self._build(kind))

    def cell(self, name: str, kind: str = "pass", *more: str, build: Build | None = None) -> Cell:
        words = ("--trace", str(self.trace), "--name", name, "--do", kind, *more)
        return Cell(build or self.build, "emulator-test", words, policy="rss", trigger=name)

    def matrix(self, *cells: Cell) -> Path:
        path = self.folder / "matrix.toml"
        path.write_text(typed_json.to_text(cells))
        return path

    def start(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        env = {**sweep_processes.environment(), "TMPDIR": str(self.tmp)}
        streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        options = {"env": env, "cwd": self.folder, "text": True, **streams, **options}
        started = subprocess.Popen([sys.executable, *words], **options)
        self._started.append(started)
        return started

    def client(self, **told: Any) -> subprocess.Popen[str]:
        text = {"results": self.results, "cache": self.cache, **told}
        return self.start(sweep_processes.SELF, "client", json.dumps(text, default=str))

    def worker(self, address: str, name: str, *, code: str = "") -> subprocess.Popen[str]:
        words = (
            sweep_processes.SELF,
            "worker",
            address,
            name,
            str(self.cache),
            "1",
            "builds",
            code,
        )
        return self.start(*words)

    def scheduler(self) -> tuple[subprocess.Popen[str], str]:
        """Start dask's own scheduler, which knows nothing of the harness."""
        file = self.folder / "scheduler.json"
        words = ("-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0")
        env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        started = self.start(
            *words, "--no-dashboard", "--scheduler-file", str(file), env=env, stderr=None
        )
        until(file.exists, started)
        return started, json.loads(file.read_text())["address"]

    def sweep(self) -> SweepResult:
        return store.load(self.sweep_folder())

    def sweep_folder(self) -> Path:
        (found,) = self.results.glob("*-sweep-*")
        return found

    def by_name(self) -> dict[str, CellResult]:
        return {one.cell.trigger: one for one in self.sweep().cells}

    def lines_of(self, name: str) -> list[str]:
        path = self.trace / name
        return path.read_text().splitlines() if path.exists() else []

    def waits(self, name: str) -> bool:
        return (self.trace / f"waits-{name}").exists()

    def program_of(self, name: str) -> psutil.Process:
        """Return the process of a cell's command."""
        (found,) = (
            one
            for one in self.left()
            if _words(one)[1:2] == [sweep_processes.PROGRAM[1]] and name in _words(one)
        )
        return found

    def keeper_of(self, name: str) -> psutil.Process:
        return self._above(name, "keeper.py")

    def worker_of(self, name: str) -> psutil.Process:
        return self._above(name, "sweep_processes")

    def guest_of(self, name: str) -> psutil.Process:
        (found,) = (one for one in self.program_of(name).children() if _is(one, "/guest"))
        return found

    def has_guest(self, name: str) -> bool:
        with contextlib.suppress(ValueError, psutil.Error):
            return self.guest_of(name).is_running()
        return False

    def _above(self, name: str, what: str) -> psutil.Process:
        return next(one for one in self.program_of(name).parents() if _is(one, what))

    def left(self) -> list[psutil.Process]:
        """What runs of this test's."""
        return [one for one in psutil.process_iter() if _is(one, str(self.folder))]

    def left_behind(self) -> list[str]:
        """The scratch folders of cells."""
        return [path.name for path in self.tmp.glob("goldfish-oom-cell-*")]

    def end(self) -> None:
        for one in self._started:
            if one.poll() is None:
                one.kill()
            one.wait()
            for stream in (one.stdout, one.stderr):
                if stream is not None:
                    stream.close()
        for process in self.left():
            with contextlib.suppress(psutil.Error):
                process.kill()


def _words(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        return process.cmdline() if process.status() != psutil.STATUS_ZOMBIE else []
    return []


def _is(process: psutil.Process, text: str) -> bool:
    return any(text in word for word in _words(process))


def until(true: Callable[[], object], *processes: subprocess.Popen[str]) -> None:
    """Wait until something is true; the processes must live as long."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not true():
        for one in processes:
            assert one.poll() is None, one.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for the end of a process; return its status and output."""
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    return process.returncode, out, err
