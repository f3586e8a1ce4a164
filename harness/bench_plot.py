# SPDX-License-Identifier: MIT
"""The page of pictures that a benchmark leaves, as SVG and PNG."""

from __future__ import annotations

from pathlib import Path

from harness.bench_result import BenchResult


def draw(result: BenchResult, folder: Path) -> None:
    """Writes bench.svg and bench.png."""
