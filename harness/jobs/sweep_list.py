# SPDX-License-Identifier: MIT
"""The listing of `sweep`: the cells of a matrix, with a guess of how long they take."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from harness.core import typed_json
from harness.core.errors import UsageError
from harness.core.paths import RESULTS
from harness.jobs.worker import guests_for
from harness.sweep import guess
from harness.sweep.ci_jobs import ci_matrix
from harness.sweep.matrix import Matrix, read_matrix
from harness.ui.workspace import Workspace

_MINUTE = 60
_HOUR = 60 * _MINUTE


def run(ws: Workspace, file: Path | None, as_json: bool, results: Path = RESULTS) -> None:
    """Print the cells as a table, or as JSON on one line: the matrix of a CI workflow.

    The guesses are from `results`, where the cell has been run before. Raise UsageError if the
    file is wrong, or there is none.
    """
    if file is None:
        raise UsageError("a list is of one matrix", hint="./inv sweep FILE --list")
    matrix = read_matrix(file)
    matrix = replace(matrix, cells=guess.from_results(matrix.cells, results))
    if as_json:
        ws.reporter.result(typed_json.to_text(ci_matrix(matrix.cells), indent=None))
        return
    ws.reporter.console.print(table(matrix))
    ws.reporter.result(summary(matrix, guess.side_by_side(matrix.cells, guests_for(matrix.cells))))


def table(matrix: Matrix) -> Table:
    """Return the table of the cells."""
    shown = Table(title=Text(matrix.name), title_justify="left", box=SIMPLE_HEAD)
    shown.add_column("cell", overflow="fold")
    shown.add_column("command", overflow="fold")
    shown.add_column("about", justify="right", no_wrap=True)
    for cell in matrix.cells:
        shown.add_row(Text(cell.title), Text(cell.line), duration(cell.seconds))
    return shown


def summary(matrix: Matrix, guests: int) -> str:
    """Return in one line how many cells there are, and how long they take on so many guests."""
    cells, builds = len(matrix.cells), len(matrix.builds)
    line = f"{cells} {_plural('cell', cells)} of {builds} {_plural('kernel', builds)}, about "
    line += duration(guess.wall_seconds(matrix.cells, guests))
    line += f" with {guests} guests side by side" if guests > 1 else " one after the other"
    return f"{line}, and {duration(guess.BUILD)} more for each kernel that is not built yet"


def duration(seconds: float) -> str:
    """Return a rough duration for people, such as `40 s`, `9 min` or `2 h 10 min`."""
    if seconds < 2 * _MINUTE:
        return f"{max(seconds, 1):.0f} s"
    minutes = round(seconds / _MINUTE)
    if seconds < 2 * _HOUR:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"
