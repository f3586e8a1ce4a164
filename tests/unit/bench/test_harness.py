# SPDX-License-Identifier: MIT
"""The table of how long the commands take."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from stand_ins import workspace

from harness.bench import harness as bench_harness
from harness.bench.harness import CASES, JSON, table_of
from harness.build import equipment
from harness.core.errors import UsageError
from harness.targets.goldfish_3_4 import GOLDFISH_3_4
from harness.targets.linux_6_1 import LINUX_6_1
from harness.targets.model import Target


def test_ratios_are_of_the_same_round() -> None:
    seconds = {case.name: [10.0, 20.0, 40.0] for case in CASES}
    seconds["rss"] = [5.0, 2.0, 8.0]
    rows = {row.name: row for row in table_of(seconds)}
    row = rows["rss"]
    assert (row.seconds.low, row.seconds.value, row.seconds.high) == (2.0, 5.0, 8.0)
    assert row.ratio is not None
    assert (row.ratio.low, row.ratio.value, row.ratio.high) == (0.1, 0.2, 0.5)
    assert row.reached is False
    assert rows["rss, cold"].ratio is None
    assert rows["rss, cold"].reached is None


def test_each_base_is_a_case_before_it() -> None:
    names = [case.name for case in CASES]
    assert len({*names}) == len(names)
    for number, case in enumerate(CASES):
        assert not case.base or case.base in names[:number]


def test_the_first_round_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1, 1000))
    ran: list[str] = []

    def once(case: Any, *_: object) -> float:
        ran.append(case.name)
        return float(next(clock))

    monkeypatch.setattr(equipment, "build", lambda *_: SimpleNamespace(bootable=None))
    monkeypatch.setattr(bench_harness, "_once", once)
    monkeypatch.setattr(bench_harness, "_guest", once)
    output = io.StringIO()
    ws = workspace(tmp_path, output)
    assert bench_harness.run(ws, LINUX_6_1, rounds=1, results=tmp_path / "r") == 0
    assert ran == [case.name for case in CASES] * 2
    (row, *_) = json.loads((tmp_path / "r" / "latest" / JSON).read_text())
    assert row["seconds"]["value"] == len(CASES) + 1
    assert "emulator-test --policy all" in output.getvalue()


@pytest.mark.parametrize(
    ("target", "rounds", "message"),
    [
        (LINUX_6_1, -1, "not a number of rounds: -1"),
        (LINUX_6_1, 101, "not a number of rounds: 101"),
        (GOLDFISH_3_4.on("sdk"), 0, "saved"),
    ],
)
def test_wrong_usage(tmp_path: Path, target: Target, rounds: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        bench_harness.run(workspace(tmp_path), target, rounds=rounds)
