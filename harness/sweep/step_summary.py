# SPDX-License-Identifier: MIT
"""What GitHub shows of a sweep in GitHub Actions: the job's summary page, and its errors."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping

from harness.core.text import public, visible
from harness.results.run_result import Status
from harness.results.step_summary import (
    LIMIT,
    MOST_ERRORS,
    error_command,
    fitted,
    leave,
    markdown,
    verbatim,
)
from harness.sweep import view
from harness.sweep.result import CellResult, SweepResult
from harness.sweep.view import Place, View
from harness.ui.progress import Reporter

# More would hide the rest of the page; the files have all.
_MOST_TOLD = 50


def tell(
    sweep: SweepResult,
    environment: Mapping[str, str],
    reporter: Reporter,
    before: SweepResult | None = None,
) -> None:
    """Write errors and page for GitHub, if it runs the job; a failed write is only reported."""
    leave(errors(sweep), _parts(sweep, before), environment, reporter)


def page(sweep: SweepResult, before: SweepResult | None = None, most: int = LIMIT) -> str:
    """Build the page as Markdown of `most` bytes at most: the matrix, and what did not pass."""
    return fitted(_parts(sweep, before), most)


def errors(sweep: SweepResult) -> list[str]:
    """Build GitHub's commands for the cells that did not pass, gravest first."""
    if sweep.passed:
        return []
    order = list(Status)
    open_cells = [one for one in sweep.cells if one.attempts and one.status is not Status.PASSED]
    found = [
        error_command(f"{one.cell.title}: {one.status.word}", [one.headline])
        for one in sorted(open_cells, key=lambda one: order.index(one.status))
    ]
    if not found:
        found = [error_command(sweep.file, [sweep.problem or sweep.last_line])]
    return found[:MOST_ERRORS]


def _parts(sweep: SweepResult, before: SweepResult | None) -> Iterator[str]:
    """Yield the page in pieces; the page may end after any of them."""
    yield f"\n## {markdown(sweep.last_line)}\n"
    yield f"\n{markdown(f'{sweep.file}, in {view.took(sweep.seconds)}')}\n"
    if sweep.problem:
        yield f"\nWhat ended it: {markdown(sweep.problem)}\n"
    # Not shortened: readers copy it.
    yield f"\nTo repeat it:\n\n{verbatim([visible(public(shlex.join(sweep.command)))])}"
    shown = view.build(sweep, before, lambda _attempt: "")
    if shown.rows:
        yield from _table(shown)
    if shown.changes is not None:
        for was, now, items in shown.changes.changed:
            yield f"\n{len(items)} changed from {was.word} to {now.word}:\n\n"
            yield verbatim([_short(one.result) for one in items[:_MOST_TOLD]])
    against = [one for one in shown.told if one.status is not Status.PASSED]
    for one in against[:_MOST_TOLD]:
        yield f"\n### {markdown(f'{one.status.word}: {one.cell.title}')}\n"
        yield f"\n{verbatim([visible(one.told), visible(public(one.cell.line))])}"
    if against[_MOST_TOLD:]:
        yield f"\nThe results have {len(against) - _MOST_TOLD} more.\n"


def _table(shown: View) -> Iterator[str]:
    titles = [markdown(column.title) for column in shown.columns]
    yield f"\n| kernel | {' | '.join(titles)} |\n|---|{'---|' * len(titles)}\n"
    for row in shown.rows:
        cells = [_cell(place) for place in row.places]
        yield f"| {markdown(row.build.title)} | {' | '.join(cells)} |\n"


def _cell(place: Place | None) -> str:
    if place is None:
        return ""
    word = place.status.word if len(place.items) == 1 else place.words
    marks = [mark for mark, _ in place.marks]
    times = [view.took(place.seconds)] if place.seconds else []
    told = ", ".join([word, *times, *marks])
    return told if place.status is Status.PASSED else f"**{told}**"


def _short(one: CellResult) -> str:
    return visible(public(one.cell.title))
