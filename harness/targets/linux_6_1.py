# SPDX-License-Identifier: MIT
"""Linux 6.1, from Debian, on QEMU's `virt`: the default."""

from __future__ import annotations

from types import MappingProxyType

from harness.targets.model import (
    Board,
    DebianSource,
    ElfAbi,
    QemuMachine,
    SyscallList,
    Target,
)

LINUX_6_1 = Target(
    name="linux-6.1",
    version="6.1",
    source=DebianSource(package="linux-source-6.1", suite="bookworm"),
    arch="arm",
    cross_compile="arm-linux-gnueabihf-",
    programs_cross_compile="arm-linux-gnueabihf-",
    update_config="olddefconfig",
    image="arch/arm/boot/zImage",
    boards=MappingProxyType(
        {
            "qemu": Board(
                machine=QemuMachine(
                    binary="qemu-system-arm",
                    machine="virt",
                    cpu="cortex-a15",
                    smp=2,
                    memory_mib=1024,
                    console="ttyAMA0",
                    devices=("-device", "virtio-net-device,netdev=net0"),
                ),
                base_config="allnoconfig",
                works_alone=True,
                decisions_tell=True,
            )
        }
    ),
    elf=ElfAbi(machine="EM_ARM", elf_class=32, hard_float=True),
    guest_arch="armhf",
    guest_suites=("trixie", "sid"),
    # Free from 451 on in 6.1 and from 463 on in 6.12; 378 to 383 are taken.
    syscalls=MappingProxyType({"set_mm_limits": 500, "my_oom_killer": 501}),
    syscall_list=SyscallList(
        file="arch/arm/tools/syscall.tbl", pattern=r"(?P<number>\d+)\s+\w+\s+(?P<name>\w+)\b.*"
    ),
)
