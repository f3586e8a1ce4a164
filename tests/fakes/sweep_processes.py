# SPDX-License-Identifier: MIT
"""Processes of a sweep whose cells are sweep_program's: `worker` and `client`, run as a script.

sweep_processes.py worker ADDRESS NAME CACHE [guests] [builds]
sweep_processes.py client JSON
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from harness.core import typed_json
from harness.core.cache import Cache
from harness.core.paths import REPO
from harness.jobs import cli
from harness.sweep import announced
from harness.sweep.address import Tls
from harness.sweep.cell import Cell
from harness.sweep.cluster.serving import WorkerOptions, serve
from harness.sweep.work import Here

KERNEL = "linux-6.1"
PROGRAM = (sys.executable, str(REPO / "tests/fakes/sweep_program.py"))
SELF = str(Path(__file__).resolve())


@dataclass(frozen=True)
class Matrix:
    """As harness.sweep.matrix has it."""

    name: str
    cells: tuple[Cell, ...]
    content: bytes = b""


def read_matrix(path: Path) -> Matrix:
    """Read the cells of a file that a test has written."""
    cells = typed_json.read(tuple[Cell, ...], path.read_text())
    return Matrix(path.stem, cells, path.read_bytes())


def stand_in() -> None:
    """Put read_matrix() in place of the harness's."""
    module: Any = ModuleType("harness.sweep.matrix")
    module.read_matrix = read_matrix
    module.Matrix = Matrix
    sys.modules["harness.sweep.matrix"] = module


def environment() -> dict[str, str]:
    """Return the environment of such a process."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join((str(REPO), str(REPO / "tests/fakes")))}


def worker_command(cache: Path) -> Callable[[str, int], Sequence[str]]:
    """Return how a sweep starts workers of this machine; the first one builds."""

    def command(address: str, number: int) -> Sequence[str]:
        words = [sys.executable, SELF, "worker", address, f"worker-{number}", str(cache), "1"]
        return [*words, "builds" if number == 1 else "", ""]

    return command


def worker(address: str, name: str, cache: str, guests: str, builds: str, code: str) -> None:
    names = ("CA", "CERT", "KEY")
    tls = Tls(*(os.environ.get(f"INVOKE_GOLDFISH_OOM_TLS_{one}", "") for one in names))
    kernels = (KERNEL,) if builds else ()
    can = announced.announced(code or announced.this_code(), int(guests), (KERNEL,), kernels)
    here = Here(Cache(Path(cache)), program=PROGRAM, grace=5.0)
    served = WorkerOptions(address, name, can, tls, patience=20.0)
    serve(served, here, lambda: None)


def client(text: str) -> None:
    # Workers start sooner without it.
    from harness.jobs import sweep as job
    from harness.ui.progress import Reporter
    from harness.ui.workspace import Workspace

    told = json.loads(text)
    options = job.Options(
        file=Path(told["file"]) if "file" in told else None,
        resume=Path(told["resume"]) if "resume" in told else None,
        scheduler=told.get("scheduler", ""),
        jobs=told.get("jobs", ""),
        results=Path(told["results"]),
        patience=told.get("patience", 60.0),
        worker_command=worker_command(Path(told["cache"])),
    )
    ws = Workspace(Cache(Path(told["cache"])), Reporter(mode=told.get("mode", "auto")))
    cli.finish(job.run(ws, options))


if __name__ == "__main__":
    stand_in()
    cli.fit_output()
    works: dict[str, Callable[..., None]] = {"worker": worker, "client": client}
    sys.exit(cli.guarded(lambda: works[sys.argv[1]](*sys.argv[2:])))
