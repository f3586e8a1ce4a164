# SPDX-License-Identifier: MIT
"""The kernel's own checks of our C code, with the scripts of the tree that is built."""

from __future__ import annotations

import pytest
from checkpatch import run_checkpatch, run_sparse

from harness.build.kernel import KernelBuild
from harness.ui.workspace import Workspace


@pytest.mark.needs("checkpatch")
def test_checkpatch_finds_nothing(workspace: Workspace, kernel: KernelBuild) -> None:
    assert run_checkpatch(workspace, kernel.source) > 10


@pytest.mark.needs("sparse")
def test_sparse_finds_nothing(workspace: Workspace, kernel: KernelBuild) -> None:
    assert run_sparse(workspace, kernel) > 10
