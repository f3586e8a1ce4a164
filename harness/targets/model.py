# SPDX-License-Identifier: MIT
"""What a target is: all that differs between the kernels that can be tested, as data.

Nothing else in the harness asks which kernel it has before it: a difference is
a field here, a patch in `kernel_patches/<kernel>/`, or a line of the
compatibility header.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from harness.core.errors import UsageError
from harness.core.paths import KERNEL_PATCHES

DEFAULT_TARGET = "linux-6.1"
# What a kernel boots on: stock QEMU, or the Android Emulator of an SDK.
DEFAULT_EMULATOR = "qemu"
EMULATORS = ("qemu", "sdk")
# Merged last where a kernel is to check itself.
DEBUG_FRAGMENT = "debug.config"


@dataclass(frozen=True)
class DebianSource:
    """A kernel source that Debian packages as a tar archive in `package`.

    `suite` is the release that has the package, whatever the host runs.
    """

    package: str
    suite: str


@dataclass(frozen=True)
class GitSource:
    """A kernel source in git: the pinned `commit`, or what `branch` is at where there is none."""

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
    # The words that plug in the netdev called "net0", and what else the board wants.
    devices: tuple[str, ...]

    @property
    def title(self) -> str:
        """It, for people."""
        return f"QEMU's {self.machine}, {self.cpu}, {self.smp} CPUs, {self.memory_mib} MiB"

    def counting_instructions(self) -> QemuMachine:
        """One CPU whose clock counts what it executes: a nanosecond is an instruction."""
        return replace(self, smp=1, devices=(*self.devices, "-icount", "shift=0,sleep=off"))


@dataclass(frozen=True)
class SdkMachine:
    """The goldfish board, as the Android Emulator of an SDK has it."""

    # For QEMU, inside the emulator.
    cpu: str
    # The ABI that an AVD must have to run the kernel.
    abi: str
    memory_mib: int
    # The newest Android that runs on the kernel, as its API; None: any.
    newest_api: int | None = None

    @property
    def title(self) -> str:
        """It, for people."""
        return f"the Android Emulator's goldfish, {self.cpu}, {self.memory_mib} MiB"


@dataclass(frozen=True)
class BootLimits:
    """How long a boot may take, in seconds in which the machine had a CPU of the host.

    A boot takes 3 s here, one of a kernel with KASAN and lock debugging 32 s,
    and another host is several times slower.
    """

    # To init's word that it is ready; of an Android Emulator: to the kernel's first line.
    boot: float = 180.0
    # Without a line on the console: the kernel hangs, or has none.
    silence: float = 40.0
    # From init's word to an answer over adb.
    adb: float = 60.0
    # The same of a guest that goes on from where it was saved.
    restored: float = 20.0
    # Of an Android Emulator: from its first line to an answer over adb, and again
    # to the end of Android's own boot.
    android: float = 600.0
    # A guest that takes longer to answer an echo is not merely busy.
    echo: float = 20.0

    def of_a_slow_kernel(self) -> BootLimits:
        """The same for one that checks itself: all that a guest does takes six times as long."""
        return BootLimits(*(6 * limit for limit in astuple(self)))


@dataclass(frozen=True)
class Board:
    """What a kernel boots on, and the configuration that makes it fit."""

    machine: QemuMachine | SdkMachine
    # The make target that the fragments are merged over.
    base_config: str
    # Below the target's patches; what a later one says holds.
    fragments: tuple[str, ...] = ("fragment.config",)
    # Whether a line of the kernel log at KERN_WARNING or worse is the kernel's
    # complaint: while it boots, and while scenarios run.
    boot_levels_tell: bool = True
    levels_tell: bool = True
    # Whether, outside the scenarios, all that a healthy kernel does not do by
    # itself speaks against it, or only what nobody but a broken kernel writes.
    log_tells: bool = True
    # Whether it tells its decisions as events.
    decisions_tell: bool = False
    # A task that cannot go on is noticed after one to two of these. The scenarios'
    # children wait interruptibly, so they do not count.
    hung_task_seconds: int = 10
    # The same of the kernel that checks itself; None: no other.
    debug_hung_task_seconds: int | None = None
    limits: BootLimits = BootLimits()


@dataclass(frozen=True)
class SyscallList:
    """Where a kernel numbers its syscalls: in `file`, on lines that `pattern` matches.

    The pattern's groups are called `number` and `name`.
    """

    file: str
    pattern: str


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
    source: DebianSource | GitSource
    arch: str
    # Of the kernel and its modules.
    cross_compile: str
    # Of what runs on the device: it needs a C library. Where an NDK builds the test
    # programs, the guest's su is left to it.
    programs_cross_compile: str
    # What brings a configuration up to date without asking.
    update_config: str
    # Below the build folder.
    image: str
    # By emulator.
    boards: Mapping[str, Board]
    elf: ElfAbi
    # The guest's Debian architecture, and the suites with an adbd, the best first:
    # behind a point release a mirror may hold lists for days that do not fit its signature.
    guest_arch: str
    guest_suites: tuple[str, ...]
    # Syscall name to number.
    syscalls: Mapping[str, int]
    syscall_list: SyscallList
    make_variables: tuple[str, ...] = ()
    # What an NDK, where there is one, builds the programs for; None: it builds none.
    ndk_abi: str | None = None
    # The oldest kernel that the programs have to start on.
    oldest_kernel: tuple[int, ...] = ()
    # Whether a compiler's warning in one of our files stops the build. A compiler
    # that is younger than the kernel finds fault with what comes from its headers.
    warnings_stop: bool = True
    # Whether the kernel's compiler is not the one that the target comes with.
    is_cross_compile_changed: bool = False
    # One of `boards`.
    emulator: str = DEFAULT_EMULATOR
    # Whether it is the variant that checks itself.
    debug: bool = False
    # Whether anything of ours is in it, but for what makes an old tree build.
    patched: bool = True
    # Names a work tree of its own, for a variant that would have all compiled anew.
    tree: str = ""
    # What takes the place of `source`, where nothing else is asked for; as for --source.
    given_source: str | None = None
    # What boot tests and the benchmark ask for and this kernel has not, and why.
    lacks: Mapping[str, str] = field(default_factory=dict)
    # What others have published of such limits on it, for the benchmark's page (Markdown).
    published: str = ""

    @property
    def setup_command(self) -> str:
        """What installs all that the target needs."""
        return "./inv setup" + ("" if self.name == DEFAULT_TARGET else f" --kernel {self.name}")

    @property
    def compilers(self) -> tuple[str, ...]:
        """The prefixes of all cross compilers that it takes."""
        return tuple(dict.fromkeys((self.cross_compile, self.programs_cross_compile)))

    @property
    def patches(self) -> Path:
        """The folder with the target's series and configuration fragments."""
        return KERNEL_PATCHES / self.name

    @property
    def board(self) -> Board:
        """What it boots on."""
        return self.boards[self.emulator]

    @property
    def machine(self) -> QemuMachine | SdkMachine:
        """What it boots on, without the configuration."""
        return self.board.machine

    @property
    def fragments(self) -> tuple[Path, ...]:
        """The files of Kconfig lines that the target needs, with their reasons."""
        names = (*self.board.fragments, *([DEBUG_FRAGMENT] if self.debug else []))
        return tuple(self.patches / name for name in names)

    def with_cross_compile(self, prefix: str) -> Target:
        """The same kernel and modules by another cross compiler; programs stay as they are.

        A prefix with a folder in it is taken from where the user is: make runs elsewhere.
        """
        if "/" in prefix:
            folder = "/" if prefix.endswith("/") else ""
            prefix = f"{Path(prefix).expanduser().absolute()}{folder}"
        changed = self.is_cross_compile_changed or prefix != self.cross_compile
        return replace(self, cross_compile=prefix, is_cross_compile_changed=changed)

    def checking_itself(self) -> Target:
        """The same kernel with all that finds its mistakes, and slows it down."""
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
        """The same kernel without our patches, files and configuration."""
        return replace(self, patched=False, tree="stock")

    def in_tree(self, name: str) -> Target:
        """The same kernel, built in a work tree of its own."""
        return replace(self, tree=name)

    def on_machine(self, machine: QemuMachine) -> Target:
        """The same kernel on another machine of the same kind."""
        board = replace(self.board, machine=machine)
        return replace(self, boards=MappingProxyType({**self.boards, self.emulator: board}))

    def on(self, emulator: str) -> Target:
        """The same kernel for another emulator; UsageError says what it runs on."""
        if emulator not in self.boards:
            raise UsageError(
                f"{self.name} does not run on the emulator {emulator!r}",
                hint=f"--emulator {' or '.join(self.boards)}, or another --kernel",
            )
        return replace(self, emulator=emulator)
