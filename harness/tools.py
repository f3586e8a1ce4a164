# SPDX-License-Identifier: MIT
"""What the harness needs of Debian: programs, files, and the package of each."""

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
        "bzip2": "bzip2",
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
        "rsync": "rsync",
        "setpriv": "util-linux",
        "sparse": "sparse",
        "tar": "tar",
        "xz": "xz-utils",
        "zstd": "zstd",
        # modinfo and depmod are in /sbin, which is not on every user's PATH.
        "kmod": "kmod",
    }
)

# Packages of which no program shows that they are there: a file of each.
FILE_PACKAGES: Mapping[str, str] = MappingProxyType(
    {
        "/etc/ssl/certs/ca-certificates.crt": "ca-certificates",
        # The kernel's host programs: extract-cert, objtool, sorttable.
        "/usr/include/openssl/ssl.h": "libssl-dev",
        "/usr/include/libelf.h": "libelf-dev",
        # gcc only recommends the C library's headers.
        "/usr/include/stdio.h": "libc6-dev",
        "/usr/arm-linux-gnueabihf/lib/libc.a": "libc6-dev-armhf-cross",
        # trixie's packages of the guest are signed with keys from it.
        "/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring",
    }
)


def package_of(tool: str) -> str:
    """The Debian package that holds `tool`; the name itself where none is known."""
    return TOOL_PACKAGES.get(tool, tool)
