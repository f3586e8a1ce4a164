# SPDX-License-Identifier: MIT
"""Wrong options of `sweep`: tests/unit/sweep/ has what it does with right ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import UsageError
from harness.jobs import sweep
from harness.ui.workspace import Workspace

MATRIX = Path(__file__).parents[3] / "docs" / "portability.toml"


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({}, "a sweep is of one matrix"),
        ({"file": MATRIX, "resume": Path()}, "a sweep is of one matrix"),
        ({"file": MATRIX, "jobs": "many"}, "not a number of guests: many"),
        ({"file": MATRIX, "jobs": "999"}, "999 guests are too many"),
        ({"file": MATRIX, "jobs": "9" * 5000}, "not a number of guests: 999"),
        ({"file": MATRIX, "scheduler": "host"}, "not a scheduler's address: host"),
        ({"file": MATRIX, "scheduler": "host:1", "jobs": "1"}, "has its own --jobs"),
        ({"file": Path("no-such-file")}, "no-such-file: cannot be read"),
        ({"resume": Path(__file__).parent}, "is no sweep"),
        ({"resume": Path("x" * 300)}, "is no sweep"),
    ],
)
def test_what_is_wrong_leaves_no_folder(tmp_path: Path, options: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        sweep.run(Workspace(), sweep.Options(results=tmp_path / "results", **options))
    assert not (tmp_path / "results").exists()
