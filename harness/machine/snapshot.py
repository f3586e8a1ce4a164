# SPDX-License-Identifier: MIT
"""Guests that have booted already: saved once per build, restored in place of a boot.

A snapshot is a cache entry: QEMU's own (`savevm`) in a small qcow2 image that
belongs to no device of the guest, and the digest of that file. Its key is of
all that went in. It is never used in place: each run has a copy, which is
compared with the digest while it is made.
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
# QEMU's name for it inside the image.
TAG = "ready"
_IMAGE = "ready.qcow2"
_DIGEST = "ready.blake2b"
# The state lies behind the image's end: the disk itself stays empty.
_DISK_SIZE = "1M"
# 0.3 s here, 41 MB; more where the kernel checks itself and has touched all memory.
_SAVE_SECONDS = 600.0
_CHUNK = 1 << 20


def key_of(binary: str, words: Sequence[str], kernel: Path, initramfs: Path) -> str:
    """The key of the snapshot of this kernel and guest on QEMU `binary` with these `words`.

    Raises ToolMissingError without QEMU.
    """
    require(binary)
    # By what another version changes: asking QEMU for its own takes 40 ms.
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
    """An empty image in `folder`, into which a machine that has it can be saved."""
    image = folder / _IMAGE
    run(["qemu-img", "create", "-q", "-f", "qcow2", str(image), _DISK_SIZE], what="qemu-img create")
    return image


def drive(image: Path) -> tuple[str, ...]:
    """QEMU's words for an image that the guest does not see."""
    return ("-drive", f"if=none,id=snapshot,format=qcow2,file={image}")


def save(cache: Cache, key: str, qmp: Qmp, image: Path) -> None:
    """Saves the machine behind `qmp`, which has `image` as its drive, as the entry `key`.

    The machine stands still meanwhile, and goes on. Raises DeviceError if QEMU
    cannot, DiskFullError.
    """
    said = qmp.execute(
        "human-monitor-command", {"command-line": f"savevm {TAG}"}, timeout=_SAVE_SECONDS
    )
    if said:
        raise DeviceError(f"QEMU did not save the machine: {str(said).strip()}")

    def make(folder: Path) -> None:
        found = copy(image, folder / _IMAGE)
        (folder / _DIGEST).write_text(f"{found}\n")

    # The guest proves itself.
    cache.ensure(KIND, key, make, seal=False)


def exists(cache: Cache, key: str) -> bool:
    """Whether there is a snapshot under this key."""
    return cache.path(KIND, key).is_dir()


def resume(image: Path) -> tuple[str, ...]:
    """QEMU's words to go on from what is saved in `image`."""
    return (*drive(image), "-loadvm", TAG)


def restore(cache: Cache, key: str, folder: Path) -> Path:
    """A copy of the entry's image in `folder`.

    Raises InfrastructureError if the entry is not what was saved, DiskFullError.
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
    """Copies a file; the digest of what was read."""
    state = hashlib.blake2b()
    with source.open("rb") as reader, target.open("wb") as writer:
        while chunk := reader.read(_CHUNK):
            state.update(chunk)
            writer.write(chunk)
    return state.hexdigest()
