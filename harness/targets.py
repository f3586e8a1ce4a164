# SPDX-License-Identifier: MIT
"""The kernels that can be tested: all that differs between them, as data.

Nothing else in the harness asks which kernel it has before it: a difference is
a field here, a patch in `kernel_patches/<kernel>/`, or a line of the
compatibility header.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from harness.errors import UsageError
from harness.paths import KERNEL_PATCHES

DEFAULT_TARGET = "linux-6.1"


@dataclass(frozen=True)
class DebianSource:
    """A kernel source that Debian packages as a tar archive in `package`."""

    package: str


@dataclass(frozen=True)
class Machine:
    """The QEMU machine that a target boots on."""

    binary: str
    machine: str
    cpu: str
    smp: int
    memory_mib: int
    console: str
    # The argument of -device; its netdev is called "net0".
    net_device: str


@dataclass(frozen=True)
class ElfAbi:
    """What a program or module for the target looks like (pyelftools' names)."""

    machine: str
    elf_class: int
    hard_float: bool


@dataclass(frozen=True)
class Target:
    """A kernel version, how it is built and what it boots on."""

    name: str
    # The beginning of what the kernel calls itself, and of `make kernelversion`.
    version: str
    source: DebianSource
    arch: str
    cross_compile: str
    # The make target that the fragment is merged over.
    base_config: str
    # What brings a configuration up to date without asking.
    update_config: str
    # Below the build folder.
    image: str
    machine: Machine
    elf: ElfAbi
    # The guest's Debian architecture and suite: where adbd comes from.
    guest_arch: str
    guest_suite: str
    # Syscall name to number.
    syscalls: Mapping[str, int]
    make_variables: tuple[str, ...] = ()

    @property
    def patches(self) -> Path:
        """The folder with the target's series and configuration fragment."""
        return KERNEL_PATCHES / self.name

    @property
    def fragment(self) -> Path:
        """The Kconfig lines that the target needs, with their reasons."""
        return self.patches / "fragment.config"


LINUX_6_1 = Target(
    name="linux-6.1",
    version="6.1",
    source=DebianSource(package="linux-source-6.1"),
    arch="arm",
    cross_compile="arm-linux-gnueabihf-",
    base_config="allnoconfig",
    update_config="olddefconfig",
    image="arch/arm/boot/zImage",
    machine=Machine(
        binary="qemu-system-arm",
        machine="virt",
        cpu="cortex-a15",
        smp=2,
        memory_mib=1024,
        console="ttyAMA0",
        net_device="virtio-net-device,netdev=net0",
    ),
    elf=ElfAbi(machine="EM_ARM", elf_class=32, hard_float=True),
    guest_arch="armhf",
    guest_suite="trixie",
    # Free from 451 on in 6.1 and from 463 on in 6.12; 378 to 383 belong to others.
    syscalls=MappingProxyType({"set_mm_limits": 500, "my_oom_killer": 501}),
)

TARGETS: Mapping[str, Target] = MappingProxyType({t.name: t for t in (LINUX_6_1,)})


def get_target(name: str) -> Target:
    """The target called `name`; UsageError says which there are."""
    try:
        return TARGETS[name]
    except KeyError:
        raise UsageError(
            f"no kernel is called {name!r}", hint=f"one of: {', '.join(TARGETS)}"
        ) from None
