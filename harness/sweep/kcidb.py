# SPDX-License-Identifier: MIT
"""A sweep as a report for KCIDB, KernelCI's database; nothing here sends it.

Each build is a checkout and a build of it, each cell a test of that build. Repetitions of a cell
are tests with the same path, which is how KCIDB shows that a test is flaky. What a cell found out
about its kernel (its release, the single scenarios) is in the cell's own kcidb.json.
"""

from __future__ import annotations

from harness.results.kcidb import (
    LONGEST_EXCERPT,
    VERSION,
    architecture,
    path_of,
    started_at,
    text_of,
)
from harness.results.run_result import KCIDB_ORIGIN, Status
from harness.sweep.cell import Build
from harness.sweep.result import CellResult, SweepResult
from harness.targets.table import TARGETS

_Object = dict[str, object]
# A cell with such a verdict has booted its kernel, which was built therefore.
_BUILT = (Status.PASSED, Status.FAILED)


def sweep_kcidb(sweep: SweepResult, origin: str = KCIDB_ORIGIN) -> _Object:
    """Build the report as an object for JSON; `origin` is KernelCI's name for the sender."""
    builds: dict[Build, list[CellResult]] = {}
    for one in sweep.cells:
        builds.setdefault(one.cell.build, []).append(one)
    ids = {build: f"{origin}:{text_of(sweep.run)}.{n}" for n, build in enumerate(builds, 1)}
    common: _Object = {"origin": origin}
    return {
        "version": dict(VERSION),
        "checkouts": [
            {
                "id": ids[build],
                **common,
                "comment": text_of(build.title),
                **started_at(sweep.started),
                "misc": {
                    "kernel": text_of(build.kernel),
                    "configuration": text_of(build.configuration),
                    "options": [text_of(word) for word in build.words],
                    "matrix": text_of(sweep.file),
                    "matrix_sha256": text_of(sweep.sha256),
                },
            }
            for build in builds
        ],
        "builds": [
            {"id": ids[build], "checkout_id": ids[build], **common, **_build(build, cells)}
            for build, cells in builds.items()
        ],
        "tests": [
            {
                "id": f"{ids[build]}.{number}",
                "build_id": ids[build],
                **common,
                **_test(one),
            }
            for build, cells in builds.items()
            for number, one in enumerate(cells, 1)
        ],
    }


def _build(build: Build, cells: list[CellResult]) -> _Object:
    found: _Object = {"comment": text_of(build.title)}
    # The name may come from a newer harness, or from a stranger.
    if build.kernel in TARGETS:
        found["architecture"] = architecture(TARGETS[build.kernel].arch)
    if any(one.status in _BUILT for one in cells):
        found["status"] = Status.PASSED.value
    return found


def _test(one: CellResult) -> _Object:
    cell = one.cell
    seed = "" if cell.seed is None else f"seed {cell.seed}"
    words = (cell.task, cell.trigger, cell.policy, cell.file, cell.label, seed)
    found: _Object = {
        "path": path_of(*(word for word in words if word)),
        "status": one.status.value,
        "comment": text_of(one.headline)[:LONGEST_EXCERPT],
        "misc": {
            "command": [text_of(word) for word in cell.command],
            "repetition": cell.repetition,
            "attempts": [
                {
                    "worker": text_of(attempt.worker),
                    "status": attempt.status,
                    "line": text_of(attempt.line),
                    "seconds": attempt.seconds,
                }
                for attempt in one.attempts
            ],
        },
    }
    if one.last is not None:
        found |= {"duration": one.last.seconds, **started_at(one.last.started)}
        found["environment"] = {"comment": f"worker {text_of(one.last.worker)}"}
    return found
