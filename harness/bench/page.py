# SPDX-License-Identifier: MIT
"""The `bench-docs` task: docs/benchmarks.md and its picture, from a run's results."""

from __future__ import annotations

import shutil
from pathlib import Path

from harness.bench import docs as bench_docs
from harness.bench import plot as bench_plot
from harness.bench.result import from_json
from harness.bench.run import JSON
from harness.core.errors import UsageError
from harness.core.paths import REPO, RESULTS
from harness.ui.workspace import Workspace

_PAGE = "benchmarks.md"


def run(
    ws: Workspace, result: Path | None, results: Path = RESULTS, docs: Path = REPO / "docs"
) -> Path:
    """Writes the page and its picture into `docs`; returns the page.

    What the page says of other kernels stays.
    UsageError where there is no such result, or it is none that can be shown.
    """
    folder = result or _last(results)
    written = docs / _PAGE
    try:
        loaded = from_json((folder / JSON).read_text())
        text = bench_docs.page(loaded, written.read_text() if written.is_file() else "")
    except OSError as error:
        raise UsageError(f"there is no {folder / JSON}", hint="./inv bench makes one") from error
    except ValueError as error:
        raise UsageError(f"{folder / JSON}: {error}", hint="./inv bench makes another") from error
    picture = folder / f"{bench_plot.NAME}.svg"
    if not picture.is_file():
        bench_plot.draw(loaded, folder)
    written.write_text(text)
    shutil.copyfile(picture, docs / bench_docs.picture(bench_docs.kernel_of(loaded)))
    ws.reporter.result(f"{written}, from {folder}")
    return written


def _last(results: Path) -> Path:
    """The last run of the benchmark: the folders' names begin with the time."""
    found = sorted(
        path.parent for path in results.glob(f"*/{JSON}") if not path.parent.is_symlink()
    )
    if not found:
        raise UsageError("there are no results of the benchmark", hint="./inv bench makes some")
    return found[-1]
