# SPDX-License-Identifier: MIT
"""The files that a guest is booted from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Bootable:
    """All files that a run needs; `release` is what the kernel must call itself.

    `tools` are for a device that boots from something of its own. `packages` are
    what the guest is made from, as `name=version`.
    """

    release: str
    image: Path
    config: Path
    initramfs: Path
    modules: tuple[Path, ...]
    programs: tuple[Path, ...]
    tools: tuple[Path, ...] = ()
    packages: tuple[str, ...] = ()
    # For what it says of its own mistakes; it is not handed on.
    vmlinux: Path | None = None

    @property
    def pushed(self) -> tuple[Path, ...]:
        """What a device is brought that has it not in its initramfs."""
        return (*self.programs, *self.modules)
