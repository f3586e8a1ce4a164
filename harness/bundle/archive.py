# SPDX-License-Identifier: MIT
"""The archive of a replay bundle: a tar file in gzip, whose first member is the manifest.

The same content gives the same bytes: members are sorted, owned by root and dated 1970.
Unpacking trusts nothing in the file.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import zlib
from collections.abc import Mapping
from pathlib import Path

from backports import tarfile

from harness.bundle import manifest as bundle_manifest
from harness.bundle.manifest import (
    LARGEST_CONTENT,
    LARGEST_MANIFEST,
    PROGRAMS_FOLDER,
    Manifest,
    Member,
)
from harness.core import typed_json
from harness.core.cache import disk_full_named, file_sha256
from harness.core.errors import InfrastructureError, UsageError

# The largest members of a bundle (16 MB) are compressed already: gzip makes 12.8 MB of it in
# 0.5 s, xz at best 10.4 MB in 5.5 s. Python 3.11 has no zstd.
_LEVEL = 6
# The last term is for tar's own blocks between and behind the members.
_MOST_BYTES = LARGEST_CONTENT + LARGEST_MANIFEST + (1 << 20)
_AGAIN = "have it sent again, or made again with ./inv bundle"


class _DamagedError(Exception):
    """An archive that is no bundle, or does not match its manifest."""


# tarfile raises the last three for a malformed header.
_DAMAGED = (
    *(_DamagedError, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError),
    *(ValueError, OverflowError, RecursionError),
)


def member_of(name: str, data: bytes) -> Member:
    """Return the manifest's entry for a file."""
    return Member(name, len(data), hashlib.sha256(data).hexdigest())


def pack(manifest: Manifest, contents: Mapping[str, bytes], output: Path) -> None:
    """Write a bundle of the manifest and its members' contents, atomically.

    Raises DiskFullError, and UsageError if `output` cannot be written.
    """
    partial = output.with_name(f".{output.name}.{os.getpid()}.partial")
    files = {bundle_manifest.NAME: typed_json.to_text(manifest).encode(), **contents}
    names = [bundle_manifest.NAME, *sorted(contents)]
    try:
        with (
            disk_full_named(output.parent),
            partial.open("wb") as raw,
            gzip.GzipFile("", "wb", _LEVEL, raw, mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar,
        ):
            for name in names:
                tar.addfile(_header(name, len(files[name])), io.BytesIO(files[name]))
        partial.replace(output)
    except OSError as error:
        raise UsageError(
            f"cannot write {output}: {error.strerror}", hint="--output with another file"
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def unpack(bundle: Path, folder: Path) -> Manifest:
    """Unpack a bundle into the empty `folder`, and check each member; return the manifest.

    Raises UsageError if there is no such file, and InfrastructureError if it is no bundle,
    is damaged, has a newer schema, or contains what no bundle contains.
    """
    if not bundle.is_file():
        raise UsageError(f"there is no file {bundle}", hint="./inv bundle makes one")
    try:
        with disk_full_named(folder), gzip.open(bundle) as packed:
            return _unpack(_Limited(packed, _MOST_BYTES), folder)
    except _DAMAGED as error:
        said = str(error) if isinstance(error, _DamagedError) else f"truncated, or none ({error})"
        raise InfrastructureError(f"{bundle} is no whole bundle: {said}", hint=_AGAIN) from error
    except OSError as error:
        raise InfrastructureError(f"cannot unpack {bundle}: {error}") from error


def read_manifest(bundle: Path) -> Manifest:
    """Return the manifest of a bundle, whose members are not looked at.

    Raise InfrastructureError as unpack() does.
    """
    try:
        with (
            gzip.open(bundle) as packed,
            tarfile.open(fileobj=_Limited(packed, _MOST_BYTES), mode="r|") as tar,
        ):
            return _manifest(tar)
    except (*_DAMAGED, OSError) as error:
        raise InfrastructureError(f"{bundle} is no bundle: {error}", hint=_AGAIN) from error


def _header(name: str, size: int) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.size = size
    header.mode = 0o755 if name.startswith(f"{PROGRAMS_FOLDER}/") else 0o644
    header.uname = header.gname = "root"
    return header


class _Limited:
    """A stream that may give only so many bytes: a small file can unpack to any size."""

    def __init__(self, stream: gzip.GzipFile, left: int) -> None:
        self._stream = stream
        self._left = left

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes; raises _DamagedError if the stream exceeds its limit."""
        data = self._stream.read(size if 0 <= size <= self._left else self._left + 1)
        self._left -= len(data)
        if self._left < 0:
            raise _DamagedError("it unpacks to more than any bundle holds")
        return data


def _unpack(stream: _Limited, folder: Path) -> Manifest:
    with tarfile.open(fileobj=stream, mode="r|") as tar:
        manifest = _manifest(tar)
        missing = {member.name: member for member in manifest.members}
        while (header := tar.next()) is not None:
            member = missing.pop(header.name, None)
            if member is None:
                raise _DamagedError(f"{ascii(header.name)[:100]} is not in its manifest, or twice")
            _check_plain(header)
            _extract(tar, header, member, folder)
    if missing:
        raise _DamagedError(f"it lacks {min(missing)}")
    # Read to the end, where gzip checks its checksum.
    while stream.read(1 << 20):
        pass
    return manifest


def _manifest(tar: tarfile.TarFile) -> Manifest:
    """Read the manifest, which is the first member."""
    header = tar.next()
    if header is None or header.name != bundle_manifest.NAME:
        raise _DamagedError(f"it does not begin with {bundle_manifest.NAME}")
    _check_plain(header)
    if header.size > LARGEST_MANIFEST:
        raise _DamagedError("its manifest is too large")
    data = tar.extractfile(header).read()
    try:
        return bundle_manifest.from_text(data)
    except ValueError as error:
        raise _DamagedError(f"its manifest is wrong: {error}") from error


def _check_plain(header: tarfile.TarInfo) -> None:
    """Raise _DamagedError for a link, a device, a folder or a sparse file."""
    if header.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or header.issparse():
        raise _DamagedError(f"{ascii(header.name)[:100]} is no plain file")


def _extract(tar: tarfile.TarFile, header: tarfile.TarInfo, member: Member, folder: Path) -> None:
    if header.size != member.size:
        raise _DamagedError(f"{member.name} has {header.size} bytes, not {member.size}")
    # The manifest allows only names of a bundle; the filter would refuse a bad one, too.
    tar.extract(header, folder, filter="data")
    if file_sha256(folder / member.name) != member.sha256:
        raise _DamagedError(f"{member.name} is not what was packed")
