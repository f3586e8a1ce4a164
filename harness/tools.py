# SPDX-License-Identifier: MIT
"""What the harness needs of Debian: programs, files, and the package of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

TOOL_PACKAGES: Mapping[str, str] = MappingProxyType(
    {
        "adb": "adb",
        "apt-get": "apt",
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
        # trixie's packages of the guest are signed with keys from it.
        "/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring",
    }
)


# By the prefix of a cross compiler: its package, and a file of its C library with
# the package of that.
CROSS_COMPILERS: Mapping[str, tuple[str, str, str]] = MappingProxyType(
    {
        "arm-linux-gnueabihf-": (
            "gcc-arm-linux-gnueabihf",
            "/usr/arm-linux-gnueabihf/lib/libc.a",
            "libc6-dev-armhf-cross",
        ),
        "arm-linux-gnueabi-": (
            "gcc-arm-linux-gnueabi",
            "/usr/arm-linux-gnueabi/lib/libc.a",
            "libc6-dev-armel-cross",
        ),
    }
)


def needed_tools(prefixes: Iterable[str]) -> dict[str, str]:
    """The programs that are needed with these cross compilers, and the package of each."""
    tools = dict(TOOL_PACKAGES)
    for prefix in prefixes:
        # One that a user names may be anybody's.
        tools[f"{prefix}gcc"] = package_of(f"{prefix}gcc")
    return tools


def needed_files(prefixes: Iterable[str]) -> dict[str, str]:
    """The same of the files that show that a package is there."""
    files = dict(FILE_PACKAGES)
    for prefix in prefixes:
        if prefix in CROSS_COMPILERS:
            _, file, package = CROSS_COMPILERS[prefix]
            files[file] = package
    return files


def package_of(tool: str) -> str:
    """The Debian package that holds `tool`; the name itself where none is known."""
    prefix = tool.removesuffix("gcc")
    if tool.endswith("gcc") and prefix in CROSS_COMPILERS:
        return CROSS_COMPILERS[prefix][0]
    return TOOL_PACKAGES.get(tool, tool)
