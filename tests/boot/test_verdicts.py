# SPDX-License-Identifier: MIT
"""emulator-test on a real kernel: it passes, and it fails if the kernel is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import EXIT_FAILED, EXIT_PASSED
from harness.jobs import emulator_test
from harness.jobs.options import EmulatorTestOptions
from harness.results.folder import LATEST
from harness.scenarios.catalogue import POLICIES, TRIGGERS
from harness.scenarios.verdict import Outcome
from harness.targets.model import Target
from harness.ui.workspace import Workspace

FAULTS = Path(__file__).parent / "faults"


def verdict(results: Path) -> Any:
    return json.loads((results / LATEST / "verdict.json").read_text())


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_every_policy_passes(
    workspace: Workspace, target: Target, tmp_path: Path, trigger: str
) -> None:
    options = EmulatorTestOptions(target=target, policy="all", trigger=trigger, results=tmp_path)
    status = emulator_test.run(workspace, options)
    assert status == EXIT_PASSED
    kills = json.loads((tmp_path / LATEST / "kills.json").read_text())
    assert {kill["policy"] for kill in kills} == set(POLICIES)
    for name in ("console.log", "kernel.log", "junit.xml", "command.txt"):
        assert (tmp_path / LATEST / name).stat().st_size > 0


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ("growth-ignored", Outcome.NOT_KILLED),
        ("limit-ignored", Outcome.NOT_KILLED),
        ("comparison-inverted", Outcome.WRONG_VICTIM),
        ("dying-not-credited", Outcome.TOO_MANY_KILLED),
        ("kill-panics", Outcome.KERNEL_DIED),
    ],
)
def test_a_wrong_kernel_does_not_pass(
    workspace: Workspace, target: Target, tmp_path: Path, fault: str, outcome: Outcome
) -> None:
    options = EmulatorTestOptions(
        target=target,
        policy="rss",
        trigger="alloc",
        scenarios=("report", "many-small", "two-users"),
        patches=(FAULTS / f"{fault}.patch",),
        results=tmp_path,
    )
    status = emulator_test.run(workspace, options)
    assert status == EXIT_FAILED
    outcomes = {one["outcome"] for one in verdict(tmp_path)["scenarios"]}
    assert outcome.name in outcomes
