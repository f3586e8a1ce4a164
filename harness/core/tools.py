# SPDX-License-Identifier: MIT
"""What the harness needs from Debian: programs and files, and the package of each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType

# Programs; modinfo and depmod of kmod are in /sbin, which is not on every user's PATH.
TOOLS = (
    *("adb", "apt-get", "bc", "bison", "bzip2", "ccache", "chromium", "cpio", "dpkg-deb", "flex"),
    *("gcc", "git", "gzip", "make", "mmdebstrap", "patch", "perl", "qemu-img", "qemu-system-arm"),
    *("rsync", "setpriv", "sparse", "tar", "xz", "zstd", "kmod"),
)
# The packages of those whose package has another name.
_PACKAGES = {
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
    "qemu-img": "qemu-utils",
    "setpriv": "util-linux",
    "xz": "xz-utils",
}
TOOL_PACKAGES: Mapping[str, str] = MappingProxyType(
    {tool: _PACKAGES.get(tool, tool) for tool in TOOLS}
)

# Only tests need these: Chromium for the report page, sparse for our C code.
FOR_TESTS = frozenset({"chromium", "sparse"})

# Packages without a program to look for: a file shows that each is installed.
FILE_PACKAGES: Mapping[str, str] = MappingProxyType(
    {
        "/etc/ssl/certs/ca-certificates.crt": "ca-certificates",
        # For the kernel's host programs: extract-cert, objtool, sorttable.
        "/usr/include/openssl/ssl.h": "libssl-dev",
        "/usr/include/libelf.h": "libelf-dev",
        # gcc only recommends the C library's headers.
        "/usr/include/stdio.h": "libc6-dev",
        # trixie's packages for the guest are signed with keys from this file.
        "/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring",
    }
)


# Debian's cross compilers, by the prefix of their tools: the package of the C library of each.
CROSS_COMPILERS: Mapping[str, str] = MappingProxyType(
    {
        "arm-linux-gnueabihf-": "libc6-dev-armhf-cross",
        "arm-linux-gnueabi-": "libc6-dev-armel-cross",
    }
)
# In place of a prefix: LLVM's tools, which compile for any target; and their packages.
LLVM = "llvm"
LLVM_PACKAGES: Mapping[str, str] = MappingProxyType(
    {
        "clang": "clang",
        "ld.lld": "lld",
        **dict.fromkeys(("llvm-ar", "llvm-nm", "llvm-objcopy", "llvm-objdump"), "llvm"),
        **dict.fromkeys(("llvm-readelf", "llvm-strip"), "llvm"),
    }
)
# The tools of a cross compiler that a kernel's build calls by name, and how Debian calls the
# package of each: for arm-linux-gnueabi-ld it is binutils-arm-linux-gnueabi.
_CROSS_TOOLS = {"gcc": "gcc", "ld": "binutils"}
_CROSS_TOOL = re.compile(rf"(?P<prefix>(?:.*[-/])?)(?P<tool>{'|'.join(_CROSS_TOOLS)})")


def needed_tools(prefixes: Iterable[str]) -> dict[str, str | None]:
    """Return all programs that are needed with these cross compilers, and the package of each.

    `prefixes` may contain LLVM. The package is None for the tools of a compiler that Debian does
    not have.
    """
    compilers = (tool for prefix in prefixes for tool in _compiler_tools(prefix))
    return {**TOOL_PACKAGES, **{tool: package_of(tool) for tool in compilers}}


def _compiler_tools(prefix: str) -> Iterable[str]:
    return LLVM_PACKAGES if prefix == LLVM else [f"{prefix}{name}" for name in _CROSS_TOOLS]


def needed_files(prefixes: Iterable[str]) -> dict[str, str]:
    """Return the files that show whether the other packages are installed, with their packages."""
    files = dict(FILE_PACKAGES)
    for prefix in prefixes:
        if prefix in CROSS_COMPILERS:
            files[f"/usr/{prefix.removesuffix('-')}/lib/libc.a"] = CROSS_COMPILERS[prefix]
    return files


def package_of(tool: str) -> str | None:
    """Return the Debian package that holds `tool`; None if there is none.

    A path has no package: apt would not restore what a user keeps there.
    """
    found = _CROSS_TOOL.fullmatch(tool)
    if found and found["prefix"] in CROSS_COMPILERS:
        triple = found["prefix"].removesuffix("-").replace("_", "-")
        return f"{_CROSS_TOOLS[found['tool']]}-{triple}"
    return TOOL_PACKAGES.get(tool) or LLVM_PACKAGES.get(tool)


def is_foreign(tool: str) -> bool:
    """Return whether `tool` is of a cross compiler that the user named and Debian does not have."""
    return package_of(tool) is None and _CROSS_TOOL.fullmatch(tool) is not None
