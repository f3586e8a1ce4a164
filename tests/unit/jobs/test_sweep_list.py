# SPDX-License-Identifier: MIT
"""The listing of a sweep's cells."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from harness.core.cache import Cache
from harness.core.errors import UsageError
from harness.jobs import sweep_list
from harness.sweep import guess
from harness.sweep.matrix import read_matrix
from harness.ui.progress import PlainConsole, Reporter
from harness.ui.workspace import Workspace

TEXT = """\
title = "both [bold] triggers"
triggers = ["alloc", "daemon"]
[[run]]
task = "emulator-test"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "m.toml"
    path.write_text(TEXT)
    return path


def listed(file: Path, *, as_json: bool = False) -> str:
    stream = io.StringIO()
    console = PlainConsole(file=stream, width=150)
    ws = Workspace(Cache(file.parent / "cache"), Reporter(console))
    sweep_list.run(ws, file, as_json, results=file.parent / "results")
    return stream.getvalue()


def test_the_table_has_each_cell_with_its_command(file: Path) -> None:
    said = listed(file)
    assert said.startswith("both [bold] triggers")
    for cell in read_matrix(file).cells:
        assert cell.title in said
        assert cell.line in said
    last = said.splitlines()[-1]
    assert last.startswith("2 cells of 1 kernel, about ")
    assert last.endswith(", and 4 min more for each kernel that is not built yet")


def test_json_is_one_line_for_a_workflow(file: Path) -> None:
    (line,) = listed(file, as_json=True).splitlines()
    assert json.loads(line) == {
        "include": [
            {
                "name": f"linux-6.1: emulator-test {trigger}",
                "kernel": "linux-6.1",
                "setup": "./inv setup",
                "command": "./inv emulator-test --kernel linux-6.1 --policy rss"
                f" --trigger {trigger}",
                "seconds": pytest.approx(seconds, abs=0.1),
            }
            for trigger, seconds in (
                ("alloc", guess.EMULATOR_TEST),
                ("daemon", guess.EMULATOR_TEST * guess.DAEMON),
            )
        ]
    }


def test_a_wrong_file_is_wrong_usage(file: Path) -> None:
    file.write_text("x = 1")
    with pytest.raises(UsageError, match="unknown key 'x'"):
        listed(file, as_json=True)


def test_how_many_are_side_by_side_is_said(file: Path) -> None:
    matrix = read_matrix(file)
    assert " one after the other" in sweep_list.summary(matrix, 1)
    assert "about 21 s one" in sweep_list.summary(matrix, 1)
    assert "about 12 s with 2 guests side by side" in sweep_list.summary(matrix, 2)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((0.2, "1 s"), (9.4, "9 s"), (119, "119 s"), (240, "4 min"), (7100, "118 min")),
        *((7200, "2 h 0 min"), (100_000, "27 h 47 min")),
    ],
)
def test_a_duration_is_rough(seconds: float, text: str) -> None:
    assert sweep_list.duration(seconds) == text
