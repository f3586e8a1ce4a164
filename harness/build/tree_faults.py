# SPDX-License-Identifier: MIT
"""Faults of a kernel tree that patches of `compat/` mend, found by trying.

Beside such a patch is a script of the same name. It runs in the tree, with
CROSS_COMPILE as for make and an empty folder SCRATCH; its status is 0 where the
tree has no such fault, in whatever form that was mended.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from harness.core.process import run
from harness.targets.model import Target


def script_of(patch: Path) -> Path | None:
    """The script that looks for the fault that `patch` mends, if there is one."""
    script = patch.with_suffix(".sh")
    return script if script.is_file() else None


def is_sound(target: Target, script: Path, tree: Path) -> bool:
    """Whether `tree` is without the fault that `script` looks for."""
    with tempfile.TemporaryDirectory(prefix="gfoom-fault-") as scratch:
        done = run(
            ["sh", script],
            cwd=tree,
            # make leaves its copy of a makefile from a pipe there when that ends in an error.
            env={"CROSS_COMPILE": target.cross_compile, "SCRATCH": scratch, "TMPDIR": scratch},
            check=False,
        )
    return done.status == 0
