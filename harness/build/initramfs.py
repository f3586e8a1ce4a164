# SPDX-License-Identifier: MIT
"""Archives that a kernel unpacks as its first file system.

It unpacks what follows each other, so one archive can stay as it is while
another is put behind it.
"""

from __future__ import annotations

import gzip
import os
from pathlib import Path

from harness.core.errors import BuildError
from harness.core.process import require, run


def pack(stage: Path, archive: Path) -> None:
    """Writes all below `stage` into `archive` (gzipped cpio, newc).

    The same bytes for the same files: sorted, root's, dated 1970; everybody may read
    them, and run what is executable. Raises BuildError, ToolMissingError.
    """
    require("cpio")
    paths = sorted(stage.rglob("*"))
    for path in paths:
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
        os.utime(path, (0, 0), follow_symlinks=False)
    names, plain = archive.with_name("names"), archive.with_name("plain.cpio")
    names.write_text("".join(f"{path.relative_to(stage)}\n" for path in paths))
    run(
        [
            *("sh", "-c", 'exec cpio -o -H newc -R 0:0 --reproducible --quiet <"$1" >"$2"', "sh"),
            *(names, plain),
        ],
        cwd=stage,
        error=BuildError,
        what="pack the guest",
    )
    archive.write_bytes(gzip.compress(plain.read_bytes(), compresslevel=6, mtime=0))
    plain.unlink()
    names.unlink()
