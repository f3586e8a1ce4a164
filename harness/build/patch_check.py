# SPDX-License-Identifier: MIT
"""`patch-kernel --check`: says for each patch whether it applies to a source."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.build import patching, source
from harness.core.errors import VerdictError
from harness.targets.model import Target
from harness.ui.workspace import Workspace


def run(
    ws: Workspace,
    target: Target,
    source_name: str | None = None,
    extra: Sequence[Path] = (),
) -> None:
    """Prints a line for each patch; raises VerdictError where one conflicts."""
    kernel = source.fetch(ws, target, source_name)
    reports = patching.check(ws, kernel, extra)
    for report in reports:
        detail = f": {report.detail}" if report.detail else ""
        ws.reporter.say(f"{report.outcome:<11}  {report.patch}{detail}")
    conflicts = [report.patch for report in reports if report.outcome == "conflict"]
    if conflicts:
        raise VerdictError(f"{len(conflicts)} of {len(reports)} patches do not apply")
