# SPDX-License-Identifier: MIT
"""What clean removes, and what it leaves."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from harness.core.cache import Cache
from harness.jobs import stored
from harness.ui.progress import PlainConsole, Reporter
from harness.ui.workspace import Workspace


@pytest.mark.parametrize("cache", [False, True])
def test_clean(tmp_path: Path, cache: bool) -> None:
    ws = Workspace(Cache(tmp_path / "cache"), Reporter(PlainConsole(file=io.StringIO())))
    results = tmp_path / "results"
    for folder in (results, ws.cache.root, tmp_path / "cache.removed-1", tmp_path / "other"):
        (folder / "sub").mkdir(parents=True)
    stored.clean(ws, cache=cache, results=results)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == ({"other"} if cache else {"cache", "cache.removed-1", "other"})
    stored.clean(ws, cache=cache, results=results)
