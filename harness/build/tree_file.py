# SPDX-License-Identifier: MIT
"""Single files of a kernel tree: read, written, compared by content and kind."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["file", "program", "link"]

# As many hex digits of a SHA-256 as make a collision practically impossible.
_DIGITS = 32


@dataclass(frozen=True)
class TreeFile:
    """A file as it is in a tree; the data of a link is its target."""

    data: bytes
    kind: Kind


# A map from a path in the tree to the file there; None if the file is deleted.
Overlay = Mapping[str, TreeFile | None]


def read_file(path: Path, *, follow: bool = False) -> TreeFile | None:
    """Return the file at `path`, or None if there is none; with `follow`, that at a link's end."""
    try:
        status = path.stat(follow_symlinks=follow)
        if stat.S_ISLNK(status.st_mode):
            return TreeFile(os.fsencode(path.readlink()), "link")
        if stat.S_ISREG(status.st_mode):
            return TreeFile(path.read_bytes(), "program" if status.st_mode & 0o100 else "file")
    except (FileNotFoundError, NotADirectoryError):
        pass
    return None


def read_inside(root: Path, name: str) -> TreeFile | None:
    """Return the file `name` below `root`, or None if there is none; follow no link to it."""
    parts = name.split("/")[:-1]
    for depth in range(1, len(parts) + 1):
        if root.joinpath(*parts[:depth]).is_symlink():
            return None
    return read_file(root / name)


def content_id(file: TreeFile) -> str:
    """Return a short text that two files have in common if kind and data are the same."""
    return f"{file.kind} {hashlib.sha256(file.data).hexdigest()[:_DIGITS]}"


def write_file(path: Path, file: TreeFile, scratch: Path | None = None) -> None:
    """Write `file` to `path`; atomically if `scratch` is given, a path on the same disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = scratch or path
    new.unlink(missing_ok=True)
    if file.kind == "link":
        new.symlink_to(os.fsdecode(file.data))
    else:
        new.write_bytes(file.data)
        new.chmod(0o755 if file.kind == "program" else 0o644)
    if scratch is not None:
        scratch.replace(path)
