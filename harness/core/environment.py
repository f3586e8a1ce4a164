# SPDX-License-Identifier: MIT
"""The environment of the programs that the harness starts: a list of what each may see.

make takes every variable for one of its own, and compilers, tar, perl, shells and git
read theirs: what a user has set for other work would change what is built here,
or write to the user's files. So nothing is passed on that is not listed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path

# Where programs, their libraries, files and scratch folders are.
_EVERY = ("HOME", "LD_LIBRARY_PATH", "LOGNAME", "PATH", "TMPDIR", "USER")
# How the network is reached, and whose certificates are believed.
_NETWORK = (
    *("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy"),
    *("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE", "NIX_SSL_CERT_FILE"),
)
# What a program needs that asks the person for a password.
_PERSON = ("DBUS_SESSION_BUS_ADDRESS", "DISPLAY", "TERM", "WAYLAND_DISPLAY", "XAUTHORITY")
_APT = (*_NETWORK, "APT_CONFIG")
# Not GIT_DIR and its like, which git sets for a hook: every git command would work
# on that repository. Not GIT_TRACE, whose lines would be among the answers.
_GIT = (
    *(*_NETWORK, *_PERSON, "KRB5CCNAME", "SSH_*", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"),
    *("GIT_ALLOW_PROTOCOL", "GIT_ASKPASS", "GIT_CONFIG*", "GIT_EXEC_PATH", "GIT_HTTP_*"),
    *("GIT_PROXY_*", "GIT_SSH*", "GIT_SSL_*", "GIT_TERMINAL_PROMPT"),
)
_ALL = ("*",)
# What else a program may see, by its name.
_MORE: Mapping[str, tuple[str, ...]] = {
    "adb": ("TERM",),
    "apt-cache": _APT,
    "apt-config": _APT,
    "apt-get": _APT,
    "apt-helper": _APT,
    # The user's own installation, which has variables of its own by the dozen.
    "emulator": _ALL,
    "git": _GIT,
    "mmdebstrap": _APT,
    "sudo": (*_PERSON, "SUDO_ASKPASS"),
    # Checks and tests, which start what they try as this process does.
    Path(sys.executable).name: _ALL,
}
# Messages are read here and shown in bug reports: they come in one language.
_OURS = {"LC_ALL": "C"}


def environment_of(
    program: str | os.PathLike[str], added: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The environment that `program` is started with: what is listed for it, and `added`."""
    listed = (*_EVERY, *_MORE.get(Path(program).name, ()))
    seen = {
        name: value
        for name, value in os.environ.items()
        if any(fnmatchcase(name, pattern) for pattern in listed)
    }
    return {**seen, **_OURS, **(added or {})}
