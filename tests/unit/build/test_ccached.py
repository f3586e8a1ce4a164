# SPDX-License-Identifier: MIT
"""What goes through ccache, and what past it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from stand_ins import script

from harness.build.kernel import CCACHED


@pytest.mark.parametrize(
    ("source", "cached"),
    [
        ("mm/oom_kill.c", True),
        ("arch/arm/boot/compressed/piggy.S", False),
        ("/a/tree/usr/initramfs_data.S", False),
        ("/a/tree/kernel/configs.c", False),
    ],
)
def test_what_incbin_takes_in_is_compiled_anew(tmp_path: Path, source: str, cached: bool) -> None:
    for name in ("ccache", "gcc"):
        script(tmp_path / name, f'echo {name} "$@"')
    done = subprocess.run(
        [CCACHED, "gcc", "-c", "-o", "x.o", source],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    expected = f"gcc -c -o x.o {source}\n"
    assert done.stdout == (f"ccache {expected}" if cached else expected)
