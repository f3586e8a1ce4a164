# SPDX-License-Identifier: MIT
"""A matrix of cells as the matrix of a CI workflow: jobs, each of which does some cells. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.core.errors import UsageError
from harness.sweep.cell import Cell
from harness.targets.table import get_target

# What GitHub takes in one matrix.
MOST_JOBS = 256
_TOOLCHAIN = "--toolchain"


@dataclass(frozen=True)
class CiJob:
    """A job: `command` has one line for a shell for each of its cells, to be done in turn.

    `setup` installs what its kernel needs. `seconds` is a guess of how long its cells take,
    without the build.
    """

    name: str
    kernel: str
    setup: str
    command: str
    seconds: float


@dataclass(frozen=True)
class CiMatrix:
    """What `strategy.matrix` of a workflow takes (`include`)."""

    include: tuple[CiJob, ...]


def ci_matrix(cells: Sequence[Cell]) -> CiMatrix:
    """Return the cells as jobs: one for each build, task and trigger, or fewer if those are many.

    Each job builds its kernel. So if there are more than MOST_JOBS, there is one for each build
    and task, or else for each build; UsageError if these are still too many.
    """
    for key in (_by_trigger, _by_task, _by_build):
        groups: dict[str, list[Cell]] = {}
        for cell in cells:
            groups.setdefault(key(cell), []).append(cell)
        if len(groups) <= MOST_JOBS:
            return CiMatrix(
                tuple(
                    CiJob(
                        name,
                        group[0].build.kernel,
                        _setup(group[0]),
                        "\n".join(cell.line for cell in group),
                        sum(cell.seconds for cell in group),
                    )
                    for name, group in groups.items()
                )
            )
    raise UsageError(
        f"{len(groups)} kernels are more than the {MOST_JOBS} jobs that GitHub takes",
        hint="several smaller files",
    )


def _setup(cell: Cell) -> str:
    words = cell.build.words
    target = get_target(cell.build.kernel)
    if _TOOLCHAIN in words:
        target = target.with_toolchain(words[words.index(_TOOLCHAIN) + 1])
    return target.setup_command


def _by_trigger(cell: Cell) -> str:
    return " ".join(filter(None, (_by_task(cell), cell.trigger, cell.label)))


def _by_task(cell: Cell) -> str:
    return f"{_by_build(cell)}: {cell.task}"


def _by_build(cell: Cell) -> str:
    return cell.build.title
