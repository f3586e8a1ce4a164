# SPDX-License-Identifier: MIT
"""On a kernel for one CPU, which is preempted: RSS is counted in another way there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness import emulator_test, fuzz
from harness.errors import EXIT_PASSED
from harness.scenarios import TRIGGERS
from harness.targets import Target
from harness.workspace import Workspace

UP = Path(__file__).with_name("up.config")


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_every_policy_passes(
    workspace: Workspace, plain: Target, tmp_path: Path, trigger: str
) -> None:
    status = emulator_test.run(
        workspace, plain, policy="all", trigger=trigger, extra_config=UP, results=tmp_path
    )
    assert status == EXIT_PASSED, (tmp_path / "latest/verdict.json").read_text()


def test_some_rounds_of_fuzzing_pass(workspace: Workspace, plain: Target, tmp_path: Path) -> None:
    status = fuzz.run(
        workspace, plain, seed=5, minutes=1, rounds=4, extra_config=UP, results=tmp_path
    )
    assert status == EXIT_PASSED, (tmp_path / "latest/fuzz.json").read_text()
    counts = json.loads((tmp_path / "latest/fuzz.json").read_text())["counts"]
    assert counts["deaths"] > 0
