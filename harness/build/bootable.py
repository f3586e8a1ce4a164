# SPDX-License-Identifier: MIT
"""The files that a guest is booted from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Bootable:
    """All files that a run needs; `release` is what `uname -r` must print.

    `tools` are for a device that boots a system of its own. `packages` are the Debian packages
    in the guest, as `name=version`. `is_edit` says that the kernel was just built from a folder
    that somebody works in: the next edit will replace it.
    """

    release: str
    image: Path
    config: Path
    initramfs: Path
    modules: tuple[Path, ...]
    programs: tuple[Path, ...]
    tools: tuple[Path, ...] = ()
    packages: tuple[str, ...] = ()
    # For decoding the kernel's reports about its own bugs; it is not put into a bundle.
    vmlinux: Path | None = None
    is_edit: bool = False

    @property
    def pushed(self) -> tuple[Path, ...]:
        """The files that are pushed to a device whose initramfs does not hold them."""
        return (*self.programs, *self.modules)
