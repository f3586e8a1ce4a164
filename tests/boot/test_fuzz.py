# SPDX-License-Identifier: MIT
"""Short runs of the fuzz test: it passes, and it fails if the kernel is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.jobs import fuzz
from harness.jobs.options import FuzzOptions
from harness.scenarios import fuzz_round
from harness.targets.model import Target
from harness.ui.workspace import Workspace

FAULTS = Path(__file__).with_name("faults")


def test_some_rounds_pass(workspace: Workspace, target: Target, tmp_path: Path) -> None:
    # A round has a fixed time, in which little happens on the slow debug kernel.
    rounds = 16 if target.debug else 4
    options = FuzzOptions(target=target, seed=1, rounds=rounds, results=tmp_path)
    assert fuzz.run(workspace, options) == 0
    summary = json.loads((tmp_path / "latest/fuzz.json").read_text())
    assert summary["rounds"] == rounds
    for what in ("calls", "forks", "threads", "shares", "execs", "switches", "deaths"):
        assert summary["counts"][what] > 0, what


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        ("protection-ignored", "which was protected"),
        ("limit-ignored", "a user stayed above its limit"),
    ],
)
def test_a_wrong_kernel_does_not_pass(
    workspace: Workspace, target: Target, tmp_path: Path, fault: str, problem: str
) -> None:
    patch = FAULTS / f"{fault}.patch"
    options = FuzzOptions(target=target, seed=1, rounds=30, patches=(patch,), results=tmp_path)
    assert fuzz.run(workspace, options) == 1
    summary = json.loads((tmp_path / "latest/fuzz.json").read_text())
    assert any(problem in line for line in summary["problems"])
    assert f"--patch {patch}" in (tmp_path / "latest/command.txt").read_text()


def test_a_broken_invariant_ends_the_run_with_its_seed(
    workspace: Workspace,
    target: Target,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The harness is told that no user has a limit: then every death breaks an invariant."""
    monkeypatch.setattr(fuzz_round, "LIMITED", range(0))
    options = FuzzOptions(target=target, seed=7, rounds=9, jobs="1", results=tmp_path)
    assert fuzz.run(workspace, options) == 1
    summary = json.loads((tmp_path / "latest/fuzz.json").read_text())
    assert (summary["failed seed"], summary["rounds"]) == (7, 1)
    said = capsys.readouterr().out
    again = f"again: ./inv fuzz --kernel {target.name} --emulator qemu --seed 7 --rounds 1"
    assert again in said
    assert (tmp_path / "latest/output.txt").read_text().count("death: ") > 0
