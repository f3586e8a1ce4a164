# SPDX-License-Identifier: MIT
"""A bundle that was unpacked: what a run boots that builds nothing and fetches nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.build.bootable import Bootable
from harness.bundle import archive as bundle_archive
from harness.bundle import built
from harness.bundle.manifest import Manifest
from harness.core.cache import file_sha256
from harness.core.errors import InfrastructureError, UsageError
from harness.core.process import require
from harness.machine import qemu
from harness.targets.model import Target
from harness.targets.table import get_target


@dataclass(frozen=True)
class Unpacked:
    """The bundle in `file`, whose SHA-256 is `sha256`, and the target that it is for.

    Its `files` are gone when the run is over. `notes` are lines for the user, which a run says when
    it has begun.
    """

    file: Path
    sha256: str
    manifest: Manifest
    target: Target
    files: Bootable
    notes: tuple[str, ...] = ()


@contextmanager
def opened(file: Path, check: Callable[[Manifest], None] = lambda _: None) -> Iterator[Unpacked]:
    """Unpack a bundle into a temporary folder.

    `check` raises an error if the manifest is not what the caller needs. Raise UsageError if there
    is no such file, InfrastructureError if the bundle is incomplete or for a target that this
    harness does not have, and ToolMissingError without QEMU or adb.
    """
    with tempfile.TemporaryDirectory(prefix="goldfish-oom-") as scratch:
        manifest, sha256 = bundle_archive.unpack(file, Path(scratch)), file_sha256(file)
        target = known_target(manifest)
        check(manifest)
        require(manifest.machine.binary, "adb")
        release = manifest.kernel.release
        files = built.unpacked(release, Path(scratch), manifest.packages)
        has = f"the bundle has {release}; its SHA-256 is {sha256}"
        yield Unpacked(file, sha256, manifest, target, files, (has, *differences(manifest)))


def check_not_given(given: Mapping[str, object], why: str, hint: str = "") -> None:
    """Raise UsageError if an option has a value; `given` has them by name. `why` follows it."""
    for name, value in given.items():
        if value:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"{option} {why}", hint=hint or f"without {option}")


def known_target(manifest: Manifest) -> Target:
    """Return this harness's target for the bundle; raise InfrastructureError if it has none.

    A machine is never taken from a bundle: QEMU's options can give access to the host's files.
    """
    place = manifest.place
    try:
        target = get_target(place.target, place.emulator)
    except UsageError as error:
        raise unknown(manifest, error.message) from error
    if target.machine != manifest.machine:
        raise unknown(manifest, f"{target.name} boots on {target.machine.title} here")
    return target.checking_itself() if place.debug else target


def differences(manifest: Manifest) -> Iterator[str]:
    """Yield a line for each difference from the bundle's origin that might change the outcome."""
    version = qemu.version(manifest.machine)
    # Nothing was run of a bundle without a QEMU.
    if manifest.qemu not in ("", version):
        yield f"another QEMU: {version}, was {manifest.qemu}"
    arguments = qemu.kernel_command_line(manifest.machine)
    if manifest.arguments != arguments:
        yield f"other arguments for the kernel: {arguments}, was {manifest.arguments}"
    if manifest.harness.code != built.this_harness().code:
        yield f"another harness than the bundle's, {_harness(manifest)}"


def unknown(manifest: Manifest, why: str) -> InfrastructureError:
    """Return the error for a bundle that this harness cannot run."""
    machine = manifest.machine.title
    return InfrastructureError(
        f"the bundle is for {manifest.place.target} on {machine}, which this harness cannot run:"
        f" {why}",
        hint=f"the harness that made the bundle, {_harness(manifest)}",
    )


def _harness(manifest: Manifest) -> str:
    """Return the version and the commit of the bundle's harness, as text."""
    known = manifest.harness
    where = f"commit {known.commit[:12]}" if known.commit else f"code {known.code}"
    return f"{known.version}, {where}"
