# SPDX-License-Identifier: MIT
"""Android's goldfish 3.4, from a tree that the user gives or from AOSP."""

from __future__ import annotations

from types import MappingProxyType

from harness.targets.model import (
    Board,
    BootLimits,
    ElfAbi,
    GitSource,
    QemuMachine,
    SdkMachine,
    SyscallList,
    Target,
)

GOLDFISH_3_4 = Target(
    name="goldfish-3.4",
    version="3.4",
    source=GitSource(
        url="https://android.googlesource.com/kernel/goldfish", branch="android-goldfish-3.4"
    ),
    arch="arm",
    cross_compile="arm-linux-gnueabi-",
    programs_cross_compile="arm-linux-gnueabi-",
    # 3.4 has no olddefconfig. Despite its name, oldnoconfig gives new symbols their defaults,
    # which is why 3.7 renamed it.
    update_config="oldnoconfig",
    image="arch/arm/boot/zImage",
    no_llvm="its makefiles and its assembler code are for GCC and binutils",
    boards=MappingProxyType(
        {
            "qemu": Board(
                machine=QemuMachine(
                    binary="qemu-system-arm",
                    machine="vexpress-a9",
                    cpu="cortex-a9",
                    smp=2,
                    memory_mib=1024,
                    console="ttyAMA0",
                    devices=(
                        # The board's built-in lan9118, which -device cannot add.
                        *("-net", "nic,model=lan9118,netdev=net0"),
                        # Otherwise the board's sound chip looks for a sound card of the host.
                        *("-audiodev", "none,id=silence"),
                        # With the secure world, the CPUs of a restored guest fault at their
                        # first instruction for ever (QEMU 7.2).
                        *("-machine", "secure=off"),
                    ),
                ),
                base_config="vexpress_defconfig",
                fragments=("fragment.config", "vexpress.config"),
                # Drivers of 2012 print without a level, which means KERN_WARNING.
                boot_levels_tell=False,
                decisions_tell=True,
                # 3.4's kmemleak sleeps uninterruptibly for its first minute.
                debug_hung_task_seconds=120,
            ),
            "sdk": Board(
                machine=SdkMachine(
                    cpu="cortex-a8",
                    abi="armeabi-v7a",
                    memory_mib=1024,
                    # Later ones need the ranchu board, and a kernel from 3.10 on.
                    newest_api=23,
                ),
                base_config="goldfish_armv7_defconfig",
                fragments=("fragment.config", "goldfish.config"),
                # Android logs at any level, too: before 3.5 /dev/kmsg takes every level from
                # every process, which may even write "WARNING". Android's lowmemorykiller kills
                # cached apps.
                boot_levels_tell=False,
                levels_tell=False,
                log_tells=False,
                # A whole Android system on one emulated CPU. /data is new in each run, so each
                # boot is a first boot, in which Android compiles all its apps.
                hung_task_seconds=60,
                limits=BootLimits(silence=120.0, adb=180.0, android=1800.0, echo=60.0),
            ),
        }
    ),
    elf=ElfAbi(machine="EM_ARM", elf_class=32, hard_float=False),
    # A hard-float guest is no problem for the kernel, and the soft-float programs are static.
    guest_arch="armhf",
    guest_suites=("trixie", "sid"),
    # Free in 3.4, as are 379 to 381; 383 is Android's seccomp.
    syscalls=MappingProxyType({"set_mm_limits": 378, "my_oom_killer": 382}),
    syscall_list=SyscallList(
        file="arch/arm/include/asm/unistd.h",
        pattern=r"#define\s+__NR_(?P<name>\w+)\s+\(__NR_SYSCALL_BASE\s*\+\s*(?P<number>\d+)\).*",
    ),
    # C of 2012: the old defaults are named, as later compilers have others. 3.4 tests whether
    # the compiler knows ARMv7 in a way that a hard-float compiler fails; both boards are ARMv7.
    make_variables=("KCFLAGS=-fno-pic -fno-pie -std=gnu89 -march=armv7-a",),
    ndk_abi="armeabi-v7a",
    oldest_kernel=(3, 4),
    warnings_stop=False,
    lacks=MappingProxyType(
        {
            "a boot without warnings": "drivers of 2012 print without a level, which is one",
            "a boot without leaks": "kmemleak does not find the pointers to the sysctl tables",
            "user namespaces": "since 3.8",
            "a choice of HZ": "ARM had one number for each machine",
            "a panic by sysrq": "there it is a bad access, which is an oops",
            "core dumps that SIGKILL ends": "since 3.10",
            "one oom_score_adj for all who share memory": "since 4.8",
            "cgroup v2": "since 4.5",
            "slab allocations that fail in a fault": "since 5.16: before, such a fault calls the"
            " stock OOM killer, which kills processes of any user",
            "fail-nth": "since 4.14: no single allocation can be made to fail",
            "checkpatch": "3.4's own knows neither // comments nor lines of 100 columns",
            "sparse": "3.4's headers are full of what today's sparse finds",
        }
    ),
    published="""\
On another machine, and by another program: an evaluation of 2020, with 1, 4 and 8 processes of
4 to 128 MB, and limits of 64 and 128 MB. Overshoot is in pages of 4 KiB.

| system | cost of memory allocation | overshoot, mean of a case | worst |
|---|---:|---:|---:|
| all processes walked at every allocation | +84 % (+52 … +117 %) | 1 … 34 | 365 |
| a kernel timer, every 200 ms | not told | 734 … 2061 | 4804 |
| a tracepoint, a daemon, a timer, 90 % as a soft limit | +17 % (-3 … +37 %) | 364 … 1182 | 3542 |
""",
)
