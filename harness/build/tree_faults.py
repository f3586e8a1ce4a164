# SPDX-License-Identifier: MIT
"""Faults of a kernel tree that patches of `compat/` fix, found by a test.

A script of the same name may stand beside such a patch. It runs in the tree, with CROSS_COMPILE
as for make and with SCRATCH, an empty folder. Its status is 0 if the tree does not have the
fault, no matter how that was fixed.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from harness.core.process import RunOptions, run
from harness.targets.model import Target


def script_of(patch: Path) -> Path | None:
    """Return the script that looks for the fault that `patch` fixes, if there is one."""
    script = patch.with_suffix(".sh")
    return script if script.is_file() else None


def is_sound(target: Target, script: Path, tree: Path) -> bool:
    """Return whether `tree` is free of the fault that `script` looks for."""
    with tempfile.TemporaryDirectory(prefix="gfoom-fault-") as scratch:
        # For TMPDIR: make copies a makefile from a pipe there, and leaves the copy if it fails.
        env = {"CROSS_COMPILE": target.cross_compile, "SCRATCH": scratch, "TMPDIR": scratch}
        done = run(["sh", script], RunOptions(cwd=tree, env=env), check=False)
    return done.status == 0
