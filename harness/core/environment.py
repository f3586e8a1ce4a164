# SPDX-License-Identifier: MIT
"""The environment of the programs that the harness starts: each sees only listed variables.

make takes every variable as one of its own; compilers, tar, perl, shells and git read their own.
What a user has set for other work would change what is built here, or write to the user's files.
So only listed variables are passed on.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path

# Where programs, their libraries, files and scratch folders are.
_EVERY = ("HOME", "LD_LIBRARY_PATH", "LOGNAME", "PATH", "TMPDIR", "USER")
# How the network is reached, and whose certificates are trusted.
_NETWORK = (
    *("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy"),
    *("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE", "NIX_SSL_CERT_FILE"),
)
# What a program needs to ask the user for a password.
_PERSON = ("DBUS_SESSION_BUS_ADDRESS", "DISPLAY", "TERM", "WAYLAND_DISPLAY", "XAUTHORITY")
_APT = (*_NETWORK, "APT_CONFIG")
# Not GIT_DIR and the like, which git sets for a hook: every git command would work on that
# repository. Not GIT_TRACE, whose lines would mix with git's answers.
_GIT = (
    *(*_NETWORK, *_PERSON, "KRB5CCNAME", "SSH_*", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"),
    *("GIT_ALLOW_PROTOCOL", "GIT_ASKPASS", "GIT_CONFIG*", "GIT_EXEC_PATH", "GIT_HTTP_*"),
    *("GIT_PROXY_*", "GIT_SSH*", "GIT_SSL_*", "GIT_TERMINAL_PROMPT"),
)
_ALL = ("*",)
# Further variables that a program may see, by the program's name.
_MORE: Mapping[str, tuple[str, ...]] = {
    "adb": ("TERM",),
    "apt-cache": _APT,
    "apt-config": _APT,
    "apt-get": _APT,
    "apt-helper": _APT,
    # The user's own installation, which has dozens of variables of its own.
    "emulator": _ALL,
    "git": _GIT,
    "mmdebstrap": _APT,
    "sudo": (*_PERSON, "SUDO_ASKPASS"),
    # Python runs checks and tests, which start programs as this process does.
    Path(sys.executable).name: _ALL,
}
# Messages are parsed here and shown in bug reports, so they must be in one language.
_OURS = {"LC_ALL": "C"}


def environment_of(
    program: str | os.PathLike[str], added: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the environment for `program`: the variables listed for it, LC_ALL=C, and `added`."""
    listed = (*_EVERY, *_MORE.get(Path(program).name, ()))
    seen = {
        name: value
        for name, value in os.environ.items()
        if any(fnmatchcase(name, pattern) for pattern in listed)
    }
    return {**seen, **_OURS, **(added or {})}
