# SPDX-License-Identifier: MIT
"""The names of files that editors keep beside the file that is edited; none is a source."""

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
)
# One expression for all: a kernel has 80,000 names.
_ANY = re.compile("|".join(map(translate, _MASKS)))


def is_temporary(name: str) -> bool:
    """Return whether an editor made the file for itself; `name` may be a path."""
    return _ANY.match(name.rpartition("/")[2]) is not None
