# SPDX-License-Identifier: MIT
"""Snapshots of booted guests: saved once per build, restored in place of a boot.

A snapshot is a cache entry with two files: a small qcow2 image, which is attached to no device
of the guest and into which QEMU saved the guest (`savevm`), and the digest of that image. Its
key is computed from everything that went into it. A run never uses the entry itself: it makes
a copy, and compares the copy's digest while copying.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from harness.core.cache import Cache, digest, disk_full_named, file_sha256
from harness.core.errors import DeviceError, InfrastructureError
from harness.core.process import require, run
from harness.machine.qmp import Qmp

KIND = "snapshots"
# The snapshot's name inside the image.
TAG = "ready"
_IMAGE = "ready.qcow2"
_DIGEST = "ready.blake2b"
# savevm stores the guest's state beyond the disk's end: the disk itself stays empty.
_DISK_SIZE = "1M"
# It takes 0.3 s and 41 MB here; more for a debug kernel, which has touched all memory.
_SAVE_SECONDS = 600.0
_CHUNK = 1 << 20


def key_of(binary: str, words: Sequence[str], kernel: Path, initramfs: Path) -> str:
    """Compute the snapshot's key for this kernel and guest on QEMU `binary` with these `words`.

    Raises ToolMissingError without QEMU.
    """
    require(binary)
    # Size and time stand for QEMU's version: to ask QEMU for it takes 40 ms.
    program = Path(str(shutil.which(binary))).resolve()
    status = program.stat()
    return digest(
        "\0".join(words),
        f"{program} {status.st_size} {status.st_mtime_ns}",
        file_sha256(kernel),
        file_sha256(initramfs),
        Path(__file__).read_bytes(),
    )


def make_disk(folder: Path) -> Path:
    """Create an empty image in `folder`; a machine with this drive can be saved into it."""
    image = folder / _IMAGE
    run(["qemu-img", "create", "-q", "-f", "qcow2", str(image), _DISK_SIZE], what="qemu-img create")
    return image


def drive(image: Path) -> tuple[str, ...]:
    """Return QEMU's arguments for an image that the guest does not see."""
    return ("-drive", f"if=none,id=snapshot,format=qcow2,file={image}")


def save(cache: Cache, key: str, qmp: Qmp, image: Path) -> None:
    """Save the machine behind `qmp`, which has `image` as its drive, as the entry `key`.

    QEMU stops the machine while it saves it. Raises DeviceError if QEMU cannot save it,
    DiskFullError if the disk is full.
    """
    said = qmp.execute(
        "human-monitor-command", {"command-line": f"savevm {TAG}"}, timeout=_SAVE_SECONDS
    )
    if said:
        raise DeviceError(f"QEMU did not save the machine: {str(said).strip()}")

    def make(folder: Path) -> None:
        found = copy(image, folder / _IMAGE)
        (folder / _DIGEST).write_text(f"{found}\n")

    # No seal: restore() checks the digest.
    cache.ensure(KIND, key, make, seal=False)


def resume(image: Path) -> tuple[str, ...]:
    """Return QEMU's arguments to resume the machine that is saved in `image`."""
    return (*drive(image), "-loadvm", TAG)


def restore(cache: Cache, key: str, folder: Path) -> Path:
    """Copy the entry's image to `folder`; return the copy.

    Raises InfrastructureError if the entry is not what was saved, DiskFullError if the disk is
    full.
    """
    entry = cache.path(KIND, key)
    cache.used(entry)
    image = folder / _IMAGE
    try:
        expected = (entry / _DIGEST).read_text().strip()
        with disk_full_named(folder):
            found = copy(entry / _IMAGE, image)
    except FileNotFoundError as error:
        raise InfrastructureError(f"the snapshot lacks {Path(error.filename).name}") from error
    if found != expected:
        raise InfrastructureError("the snapshot is not what was saved")
    return image


def copy(source: Path, target: Path) -> str:
    """Copy a file; return the digest of the bytes that were read."""
    state = hashlib.blake2b()
    with source.open("rb") as reader, target.open("wb") as writer:
        while chunk := reader.read(_CHUNK):
            state.update(chunk)
            writer.write(chunk)
    return state.hexdigest()
