# SPDX-License-Identifier: MIT
"""What the tests of jobs share."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from emulator_bench import Bench
from fake_host import Machine

from harness.ui.workspace import Workspace


@pytest.fixture
def machine(ws: Workspace, said: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(ws, said, monkeypatch)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Bench:
    return Bench(monkeypatch, tmp_path)
