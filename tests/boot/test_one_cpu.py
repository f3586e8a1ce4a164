# SPDX-License-Identifier: MIT
"""Tests on a preemptible kernel for one CPU, which counts RSS in another way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Emulate

from harness.core.errors import EXIT_PASSED
from harness.scenarios.catalogue import TRIGGERS
from harness.targets.model import QemuMachine, Target

UP = Path(__file__).with_name("up.config")


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_every_policy_passes(emulate: Emulate, plain: Target, tmp_path: Path, trigger: str) -> None:
    assert isinstance(plain.machine, QemuMachine)
    # A kernel for one CPU warns about a board with more.
    # It would have everything compiled anew, and so would the next kernel in the same tree.
    alone = plain.on_machine(replace(plain.machine, smp=1)).in_tree("one-cpu")
    status = emulate(alone, tmp_path, policy="all", trigger=trigger, config=UP)
    assert status == EXIT_PASSED, (tmp_path / "latest/verdict.json").read_text()
