# SPDX-License-Identifier: MIT
"""What the tests of builds share."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakekernel import FakeRepository, make_repository


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeRepository:
    """A repository in miniature, with an empty cache."""
    return make_repository(tmp_path, monkeypatch)
