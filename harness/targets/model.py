# SPDX-License-Identifier: MIT
"""The data of a target: everything that differs between the kernels that can be tested.

No other code in the harness asks which kernel it works on: a difference is a field here, a patch
in `kernel_patches/<kernel>/`, or a line of the compatibility header.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from harness.core.errors import UsageError
from harness.core.paths import KERNEL_PATCHES
from harness.core.tools import LLVM

DEFAULT_TARGET = "linux-6.1"
# What a kernel boots on: stock QEMU, or the Android Emulator of an SDK.
DEFAULT_EMULATOR = "qemu"
EMULATORS = ("qemu", "sdk")
# What compiles and links a kernel: GCC and binutils, or clang and lld.
DEFAULT_TOOLCHAIN = "gnu"
TOOLCHAINS = (DEFAULT_TOOLCHAIN, LLVM)
# Merged last for a debug kernel, which checks itself.
DEBUG_FRAGMENT = "debug.config"
# Where a device has our programs and modules; harness/build/guest/init makes it in our guest.
DEVICE_FOLDER = "/data/local/tmp"
# The size of a page in bytes, on all targets.
PAGE = 4096


@dataclass(frozen=True)
class DebianSource:
    """A kernel source that Debian packages as a tar archive in `package`.

    `suite` is the Debian release that has the package; the host may run another one.
    """

    package: str
    suite: str


@dataclass(frozen=True)
class GitSource:
    """A kernel source in git: the pinned `commit`, or the head of `branch` if there is none."""

    url: str
    branch: str
    commit: str | None = None


@dataclass(frozen=True)
class QemuMachine:
    """A machine of stock QEMU."""

    binary: str
    machine: str
    cpu: str
    smp: int
    memory_mib: int
    console: str
    # The arguments that attach the netdev "net0", and others that the board needs.
    devices: tuple[str, ...]

    @property
    def title(self) -> str:
        """The machine, described for people."""
        cpus = f"{self.smp} CPU{'s' * (self.smp != 1)}"
        return f"QEMU's {self.machine}, {self.cpu}, {cpus}, {self.memory_mib} MiB"

    def alone(self) -> QemuMachine:
        """Return the machine with one CPU."""
        return replace(self, smp=1)

    def counting_instructions(self) -> QemuMachine:
        """Return the machine with one CPU whose clock counts instructions, one per nanosecond."""
        return replace(self, smp=1, devices=(*self.devices, "-icount", "shift=0,sleep=off"))


@dataclass(frozen=True)
class SdkMachine:
    """The goldfish board of the Android Emulator in an SDK."""

    # For the QEMU inside the emulator.
    cpu: str
    # The ABI that an AVD must have to run the kernel.
    abi: str
    memory_mib: int
    # The newest Android that runs on the kernel, as its API level; None means any.
    newest_api: int | None = None

    @property
    def title(self) -> str:
        """The machine, described for people."""
        return f"the Android Emulator's goldfish, {self.cpu}, {self.memory_mib} MiB"


@dataclass(frozen=True)
class BootLimits:
    """The time limits of a boot, in seconds in which the machine had a CPU of the host.

    A boot takes 3 s here, and 32 s for a kernel with KASAN and lock debugging. Another host may
    be several times slower.
    """

    # Until init says that it is ready; on an Android Emulator: until the kernel's first line.
    boot: float = 180.0
    # Without a line on the console. After that the kernel counts as hung, or as without a
    # console.
    silence: float = 40.0
    # From init's line until an answer over adb.
    adb: float = 60.0
    # Until a guest that was restored from a snapshot answers over adb.
    restored: float = 20.0
    # On an Android Emulator: from its first line to an answer over adb, and once more from there
    # to the end of Android's own boot.
    android: float = 600.0
    # A guest that takes longer to answer an echo is not merely busy.
    echo: float = 20.0

    def of_a_slow_kernel(self) -> BootLimits:
        """Return the limits for a debug kernel: everything in the guest takes six times as long."""
        return BootLimits(*(6 * limit for limit in astuple(self)))


@dataclass(frozen=True)
class Board:
    """A machine that a kernel boots on, and the configuration that fits it."""

    machine: QemuMachine | SdkMachine
    # The make target whose configuration the fragments are merged into.
    base_config: str
    # In the target's patch folder; a later fragment wins over an earlier one.
    fragments: tuple[str, ...] = ("fragment.config",)
    # Whether a log line at KERN_WARNING or worse counts as a complaint of the kernel: during the
    # boot, and while scenarios run.
    boot_levels_tell: bool = True
    levels_tell: bool = True
    # Outside the scenarios: whether everything that a healthy kernel does not do by itself
    # counts against the kernel, or just the lines that only a broken kernel writes.
    log_tells: bool = True
    # Whether the machine also works with one CPU.
    works_alone: bool = False
    # Whether the kernel reports its decisions as events.
    decisions_tell: bool = False
    # A hung task is reported after one to two of these periods. The scenarios' children sleep
    # interruptibly, so they do not count.
    hung_task_seconds: int = 10
    # The same for the debug kernel; None: as above.
    debug_hung_task_seconds: int | None = None
    limits: BootLimits = BootLimits()


@dataclass(frozen=True)
class SyscallList:
    """The place where a kernel numbers its syscalls: lines of `file` that `pattern` matches.

    The pattern has the groups `number` and `name`.
    """

    file: str
    pattern: str


@dataclass(frozen=True)
class ElfAbi:
    """The properties of a program or module for the target (pyelftools' names)."""

    machine: str
    elf_class: int
    hard_float: bool


@dataclass(frozen=True)
class Target:
    """A kernel version, how it is built and what it boots on."""

    name: str
    # The beginning of the kernel's release, and of what `make kernelversion` prints.
    version: str
    source: DebianSource | GitSource
    arch: str
    # For the kernel and its modules.
    cross_compile: str
    # For the programs on the device: it needs a C library. Where an NDK builds the test
    # programs, this compiler only builds the guest's su.
    programs_cross_compile: str
    # The make target that brings a configuration up to date without asking.
    update_config: str
    # A path below the build folder.
    image: str
    # By the emulator's name.
    boards: Mapping[str, Board]
    elf: ElfAbi
    # The guest's Debian architecture, and the suites that have an adbd, the best first. After a
    # point release, a mirror's lists may not match their signature for days.
    guest_arch: str
    guest_suites: tuple[str, ...]
    # Syscall names and their numbers.
    syscalls: Mapping[str, int]
    syscall_list: SyscallList
    make_variables: tuple[str, ...] = ()
    # The ABI for which an NDK, if there is one, builds the programs; None: it builds none.
    ndk_abi: str | None = None
    # The oldest kernel on which the programs have to start.
    oldest_kernel: tuple[int, ...] = ()
    # Whether a compiler's warning in one of our files stops the build. A compiler that is newer
    # than the kernel warns about code from the kernel's headers.
    warnings_stop: bool = True
    # Whether the kernel is built by another compiler than the target's own.
    is_cross_compile_changed: bool = False
    # Why clang and lld cannot build the kernel; empty if they can.
    no_llvm: str = ""
    # The chosen one of TOOLCHAINS, for kernel and modules.
    toolchain: str = DEFAULT_TOOLCHAIN
    # The chosen one of `boards`.
    emulator: str = DEFAULT_EMULATOR
    # Whether this is the debug variant, which checks itself.
    debug: bool = False
    # Whether the tree gets our patches and files. An unpatched tree only gets what an old tree
    # needs to build.
    patched: bool = True
    # The name of a separate work tree, for a variant that would have everything compiled anew.
    tree: str = ""
    # Used in place of `source`, unless the caller names another one; its form is that of
    # --source.
    given_source: str | None = None
    # What boot tests and the benchmark ask for and this kernel lacks, and why.
    lacks: Mapping[str, str] = field(default_factory=dict)
    # What others have published about such limits on it, for the benchmark's page (Markdown).
    published: str = ""

    @property
    def setup_command(self) -> str:
        """The command that installs everything that the target needs."""
        words = ["./inv setup"]
        words += [] if self.name == DEFAULT_TARGET else ["--kernel", self.name]
        words += ["--toolchain", LLVM] if self.is_llvm else []
        return " ".join(words)

    @property
    def is_llvm(self) -> bool:
        """Whether clang and lld build the kernel and its modules."""
        return self.toolchain == LLVM

    @property
    def compilers(self) -> tuple[str, ...]:
        """The prefixes of all cross compilers that the target uses, or LLVM for the kernel's."""
        kernels = LLVM if self.is_llvm else self.cross_compile
        return tuple(dict.fromkeys((kernels, self.programs_cross_compile)))

    @property
    def patches(self) -> Path:
        """The folder with the target's series and configuration fragments."""
        return KERNEL_PATCHES / self.name

    @property
    def board(self) -> Board:
        """The board for the chosen emulator."""
        return self.boards[self.emulator]

    @property
    def machine(self) -> QemuMachine | SdkMachine:
        """The board's machine."""
        return self.board.machine

    @property
    def fragments(self) -> tuple[Path, ...]:
        """The target's configuration fragments, in the order in which they are merged."""
        names = (*self.board.fragments, *([DEBUG_FRAGMENT] if self.debug else []))
        return tuple(self.patches / name for name in names)

    def with_cross_compile(self, prefix: str) -> Target:
        """Return the target with another cross compiler for kernel and modules, not for programs.

        A prefix with a folder in it is relative to the user's current directory: make runs in
        another one.
        """
        if "/" in prefix:
            folder = "/" if prefix.endswith("/") else ""
            prefix = f"{Path(prefix).expanduser().absolute()}{folder}"
        changed = self.is_cross_compile_changed or prefix != self.cross_compile
        return replace(self, cross_compile=prefix, is_cross_compile_changed=changed)

    def with_toolchain(self, name: str) -> Target:
        """Return the target with another toolchain for kernel and modules, not for programs.

        Raise UsageError if there is none of this name, or the kernel cannot be built with it.
        """
        if name not in TOOLCHAINS:
            raise UsageError(
                f"no such toolchain: {name!r}", hint=f"--toolchain {' or '.join(TOOLCHAINS)}"
            )
        if name != LLVM:
            return replace(self, toolchain=name)
        if self.no_llvm:
            raise UsageError(
                f"{self.name} cannot be built with clang: {self.no_llvm}",
                hint="without --toolchain",
            )
        if self.is_cross_compile_changed:
            raise UsageError(
                "--cross-compile names a GCC, and --toolchain llvm takes clang",
                hint="only one of them",
            )
        return replace(self, toolchain=name)

    def checking_itself(self) -> Target:
        """Return the debug variant of the target, which finds its own bugs and is slower."""
        boards = {
            name: replace(
                board,
                limits=board.limits.of_a_slow_kernel(),
                hung_task_seconds=board.debug_hung_task_seconds or board.hung_task_seconds,
            )
            for name, board in self.boards.items()
        }
        return replace(self, debug=True, boards=MappingProxyType(boards))

    def stock(self) -> Target:
        """Return the target without our patches, files and configuration."""
        return replace(self, patched=False).in_tree("stock")

    def with_one_cpu(self) -> Target:
        """Return the target for guests that need only one CPU; itself if it always has more.

        An emulated CPU takes less than half of the host's time if it is the only one: it need not
        wait for others to forget a page. The debug kernel looks for races, and keeps its CPUs.
        """
        machine = self.machine
        if self.debug or not (isinstance(machine, QemuMachine) and self.board.works_alone):
            return self
        return self.on_machine(machine.alone())

    def in_tree(self, name: str) -> Target:
        """Return the target with a work tree of its own."""
        return replace(self, tree=name)

    @property
    def work_tree(self) -> str:
        """What tells the target's work tree from the other ones of its source; may be empty.

        What would have everything compiled anew has one of its own: another compiler, or KASAN.
        """
        debug, llvm = "debug" if self.debug else "", LLVM if self.is_llvm else ""
        return "-".join(filter(None, (self.tree, debug, llvm)))

    def on_machine(self, machine: QemuMachine) -> Target:
        """Return the target on another machine of the same kind."""
        board = replace(self.board, machine=machine)
        return replace(self, boards=MappingProxyType({**self.boards, self.emulator: board}))

    def on(self, emulator: str) -> Target:
        """Return the target for another emulator; UsageError says which emulators it runs on."""
        if emulator not in self.boards:
            raise UsageError(
                f"{self.name} does not run on the emulator {emulator!r}",
                hint=f"--emulator {' or '.join(self.boards)}, or another --kernel",
            )
        return replace(self, emulator=emulator)
