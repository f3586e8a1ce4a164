# SPDX-License-Identifier: MIT
"""Patches that change our own C: wrong kernels for tests, and baselines of the benchmark.

Whoever edits the C sees at once which of them does not apply any more.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from harness.bench.baselines import FOLDER
from harness.core.paths import REPO

COMMON = REPO / "kernel_patches/common"
PATCHES = sorted([*FOLDER.glob("*.patch"), *(REPO / "tests/boot/faults").glob("*.patch")])


def test_there_are_patches() -> None:
    assert {path.name for path in PATCHES} >= {"scan-always.patch", "limit-ignored.patch"}


@pytest.mark.parametrize("patch", PATCHES, ids=lambda path: path.name)
def test_what_a_patch_changes_in_our_files_is_there(patch: Path) -> None:
    ours = [f"--include={path.relative_to(COMMON)}" for path in COMMON.rglob("*") if path.is_file()]
    # Unlike patch(1), it allows no line of the context to differ.
    command = ["git", "apply", "--check", "--whitespace=nowarn", *ours, str(patch)]
    # In a folder of a repository it takes paths to be the repository's.
    alone = {**os.environ, "GIT_CEILING_DIRECTORIES": str(COMMON.parent)}
    done = subprocess.run(
        command, cwd=COMMON, env=alone, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
