# SPDX-License-Identifier: MIT
"""The names of files that editors, and programs that help them, keep; none is a source."""

from __future__ import annotations

import re
from fnmatch import translate

_MASKS = (
    # vim, also its test whether it may write to a folder.
    *(".*.sw[a-z]", "4913"),
    # Emacs, and many others.
    *("*~", "#*#", ".#*"),
    # JetBrains, GNOME, KDE.
    *("*___jb_tmp___", "*___jb_old___", ".goutputstream-*", ".*.kate-swp"),
    # What they look names up in. Kernels have no such files: their `make distclean` removes them.
    *("tags", "TAGS", "cscope.*", "ncscope.*", "GPATH", "GRTAGS", "GSYMS", "GTAGS"),
    "compile_commands.json",
)
# Folders of clangd, ccls, VS Code and JetBrains.
_FOLDERS = (".cache", ".ccls-cache", ".vscode", ".idea")
# One expression for all: a kernel has 80,000 names.
_ANY = re.compile("|".join(map(translate, _MASKS)))
_INSIDE = re.compile(f"(?:^|/)(?:{'|'.join(map(re.escape, _FOLDERS))})/")


def is_temporary(name: str) -> bool:
    """Return whether an editor made the file for itself; `name` may be a path below a source."""
    return _ANY.match(name.rpartition("/")[2]) is not None or _INSIDE.search(name) is not None
