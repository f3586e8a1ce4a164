# SPDX-License-Identifier: MIT
"""What a run of the fuzz test says at its end."""

from __future__ import annotations

import io
import json
from datetime import datetime
from pathlib import Path

import bundles
import pytest
from rich.console import Console

from harness import built, fuzz, qemu
from harness.cache import Cache
from harness.progress import Reporter
from harness.results import ResultFolder
from harness.targets import LINUX_6_1
from harness.workspace import Workspace

HAND_ON = "to hand it on: ./inv bundle results/x"


def finished(folder: Path, problems: tuple[str, ...], failed: int | None) -> tuple[int, list[str]]:
    output = io.StringIO()
    ws = Workspace(Cache(folder / "cache"), Reporter(Console(file=output, width=300)))
    made = ResultFolder.create(folder, "linux-6.1", "fuzz", datetime(2026, 11, 22))
    run = fuzz.Fuzz(
        ws, LINUX_6_1, made, seed=7, most=9, minutes=1, again=lambda seed: ["again", str(seed)]
    )
    run.hand_on, run.rounds, run.problems, run.failed_seed = HAND_ON, 9, problems, failed
    status = fuzz.finish(run)
    assert json.loads((made.path / fuzz.JSON).read_text())["problems"] == list(problems)
    return status, output.getvalue().splitlines()


def test_a_run_that_passes_is_not_to_be_handed_on(tmp_path: Path) -> None:
    status, said = finished(tmp_path, (), None)
    assert (status, said[-1]) == (0, "PASS: 9 rounds")
    assert HAND_ON not in said


@pytest.mark.parametrize(
    ("failed", "last"),
    [
        (12, "FAIL: the round of seed 12; again: again 12"),
        (None, "FAIL: behind all rounds"),
    ],
)
def test_a_run_that_fails_can_be_repeated_and_handed_on(
    tmp_path: Path, failed: int | None, last: str
) -> None:
    status, said = finished(tmp_path, ("pid 5 died",), failed)
    assert (status, said[-2:]) == (1, [HAND_ON, last])


def test_what_is_booted_is_written_down_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qemu, "version", lambda _: "QEMU 7.2")
    ws = Workspace(Cache(tmp_path / "cache"))
    run = fuzz.begin(
        ws,
        LINUX_6_1,
        seed=7,
        rounds=0,
        minutes=1,
        command=["x"],
        again=lambda _: [],
        results=tmp_path / "results",
    )
    fuzz.note_built(run, bundles.KERNEL_FACTS, bundles.cached(ws.cache))
    found = built.read((run.folder.path / built.FILE).read_text())
    assert found.rounds is not None
    assert (found.rounds.seed, found.rounds.count, found.qemu) == (7, 0, "QEMU 7.2")
    assert run.hand_on == f"to hand it on: ./inv bundle {run.folder.path}"
