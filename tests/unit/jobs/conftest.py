# SPDX-License-Identifier: MIT
"""What the tests of jobs share."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from emulator_bench import Bench
from fake_host import Machine
from stand_ins import workspace

from harness.ui.workspace import Workspace


@pytest.fixture
def said() -> io.StringIO:
    """What was said to the user."""
    return io.StringIO()


@pytest.fixture
def ws(tmp_path: Path, said: io.StringIO) -> Workspace:
    return workspace(tmp_path / "cache", said)


@pytest.fixture
def machine(ws: Workspace, said: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(ws, said, monkeypatch)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Bench:
    return Bench(monkeypatch, tmp_path)
