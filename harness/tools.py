# SPDX-License-Identifier: MIT
"""The programs that the harness runs, and the Debian package of each."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

TOOL_PACKAGES: Mapping[str, str] = MappingProxyType(
    {
        "adb": "adb",
        "apt-get": "apt",
        "arm-linux-gnueabihf-gcc": "gcc-arm-linux-gnueabihf",
        "bc": "bc",
        "bison": "bison",
        "ccache": "ccache",
        "cpio": "cpio",
        "dpkg-deb": "dpkg",
        "flex": "flex",
        "gcc": "gcc",
        "git": "git",
        "gzip": "gzip",
        "make": "make",
        "mmdebstrap": "mmdebstrap",
        "patch": "patch",
        "perl": "perl",
        "qemu-img": "qemu-utils",
        "qemu-system-arm": "qemu-system-arm",
        "sparse": "sparse",
        "tar": "tar",
        "xz": "xz-utils",
    }
)


def package_of(tool: str) -> str:
    """The Debian package that holds `tool`; the name itself where none is known."""
    return TOOL_PACKAGES.get(tool, tool)
