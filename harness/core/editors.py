# SPDX-License-Identifier: MIT
"""The names of files that editors keep beside the file that is edited; none is a source."""

from __future__ import annotations

from fnmatch import fnmatchcase

_MASKS = (
    # vim, also its test whether it may write to a folder.
    *(".*.sw[a-z]", "4913"),
    # Emacs, and many others.
    *("*~", "#*#", ".#*"),
    # JetBrains, GNOME, KDE.
    *("*___jb_tmp___", "*___jb_old___", ".goutputstream-*", ".*.kate-swp"),
)


def is_temporary(name: str) -> bool:
    """Return whether an editor made the file for itself; `name` may be a path."""
    last = name.rpartition("/")[2]
    return any(fnmatchcase(last, mask) for mask in _MASKS)
