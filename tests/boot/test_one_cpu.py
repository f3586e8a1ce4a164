# SPDX-License-Identifier: MIT
"""On a kernel for one CPU, which is preempted: RSS is counted in another way there."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import emulator_test
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
