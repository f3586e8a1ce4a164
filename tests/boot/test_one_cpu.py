# SPDX-License-Identifier: MIT
"""Tests on a preemptible kernel for one CPU, which counts RSS in another way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.core.errors import EXIT_PASSED
from harness.jobs import emulator_test
from harness.jobs.options import EmulatorTestOptions
from harness.scenarios.catalogue import TRIGGERS
from harness.targets.model import QemuMachine, Target
from harness.ui.workspace import Workspace

UP = Path(__file__).with_name("up.config")


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_every_policy_passes(
    workspace: Workspace, plain: Target, tmp_path: Path, trigger: str
) -> None:
    assert isinstance(plain.machine, QemuMachine)
    # A kernel for one CPU warns about a board with more.
    alone = plain.on_machine(replace(plain.machine, smp=1))
    options = EmulatorTestOptions(
        target=alone, policy="all", trigger=trigger, config=UP, results=tmp_path
    )
    status = emulator_test.run(workspace, options)
    assert status == EXIT_PASSED, (tmp_path / "latest/verdict.json").read_text()
