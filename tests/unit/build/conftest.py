# SPDX-License-Identifier: MIT
"""What the tests of builds share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from fakekernel import FakeRepository, make_repository
from stand_ins import script


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeRepository:
    """A repository in miniature, with an empty cache."""
    return make_repository(tmp_path, monkeypatch)


@pytest.fixture
def put_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Puts shell scripts on PATH, in a folder before all others: by a name and a text."""
    folder = tmp_path / "on-path"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return lambda name, text: script(folder / name, text)
