# SPDX-License-Identifier: MIT
"""A session: a machine that runs a kernel, and the device that adb sees in it.

It is poisoned by its first failure: whatever waits then, and whatever is asked
later, raises that first cause.
"""

from __future__ import annotations

import re
import secrets
import shutil
import tarfile
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from harness.core.errors import (
    BootError,
    DeviceError,
    DiskFullError,
    HarnessError,
    InfrastructureError,
    RunEndedError,
    ToolMissingError,
)
from harness.core.lifetime import Health
from harness.kernel_output.klog import find_trouble
from harness.machine import avd, qemu, sdk
from harness.machine import snapshot as snapshots
from harness.machine.adb import AdbServer, Device
from harness.machine.console import check_terminals
from harness.targets.model import BootLimits as BootLimits  # callers have it from here
from harness.targets.model import QemuMachine, SdkMachine, Target
from harness.ui.workspace import Workspace

# In a session's folder: the same guest by hand, without us.
QEMU_COMMAND = "qemu-command.txt"
# What harness/build/guest/init says when adbd listens.
READY = r"goldfish-oom: init ready: (\S+)"
# Where `tools` go, and are found before the system's own: our su gives a command
# the oom_score_adj of an app, which what adbd starts does not have.
TOOLS_FOLDER = "/data/local/tmp"
ANDROID_PRELUDE = f"export PATH={TOOLS_FOLDER}:$PATH; "
_BOOT_POLL_SECONDS = 1.0
# How far a clock that has just been set may be off: it has whole seconds.
_CLOCK_SECONDS = 2.0
# u0_a70
_APP_UID = 10070
# The path of a socket below the scratch folder must stay within 107 bytes.
_LONGEST_SCRATCH = 90
# An Android's apps: a name and a uid begin each line.
_PACKAGES = "/data/system/packages.list"
_PACKAGE = re.compile(r"^(\S+) (\d+) ", re.MULTILINE)


@dataclass(frozen=True)
class Session:
    """A booted machine, its device, and the folder that their logs go to."""

    machine: qemu.Machine | avd.Machine
    device: Device
    folder: Path

    @property
    def console_log(self) -> Path:
        """The file with all that the console has shown."""
        return self.machine.console.log

    def check(self) -> None:
        """Raises the first cause, if the machine died, panicked or hung."""
        self.machine.health.check()


@contextmanager
def open_session(
    ws: Workspace,
    kernel_image: Path,
    initramfs: Path,
    target: Target,
    *,
    folder: Path,
    expect_release: str,
    tools: Sequence[Path] = (),
    avd_name: str | None = None,
    limits: BootLimits | None = None,
    snapshot: bool = False,
    started: Callable[[Health], None] = lambda _: None,
    label: str = "",
    uids: Collection[int] = (),
) -> Iterator[Session]:
    """Boots the kernel and yields its session; ends everything behind it.

    With `snapshot` a guest that has booted before goes on from where it was
    ready, and one that boots for the first time is saved for the next run. A saved
    one that does not prove itself is thrown away, and the kernel boots. An
    Android Emulator always boots.

    On an Android Emulator the kernel runs the AVD called `avd_name` (default:
    the only one that fits), and `tools`, static programs, are brought there.
    `limits` are the board's, unless they are given. `started` is called with the
    health of every machine that was started, so that another thread can end the wait.
    `label` stands behind the names of the phases. No app of the AVD may be a user of `uids`.

    The logs (console.log, adb.log) go to `folder`. Raises BootError if the
    kernel does not come up or is not the one of `expect_release` (what `uname
    -r` must say), DeviceError if adb does not reach it, ToolMissingError.
    """
    start = _Start(
        ws, kernel_image, initramfs, target, folder, limits or target.board.limits, started, label
    )
    with ExitStack() as stack:
        session = start.restore(stack, expect_release) if snapshot else None
        if session is None:
            with ws.reporter.phase(f"boot{label}"):
                if isinstance(target.machine, QemuMachine):
                    session = start.boot(stack, save=snapshot)
                else:
                    session = start.boot_avd(stack, target.machine, avd_name)
                _check_release(session, expect_release)
                if isinstance(target.machine, SdkMachine):
                    _make_ready(session.device, tools, start.limits, uids)
        yield session


def check_machine(target: Target, avd_name: str | None = None) -> None:
    """Raises what open_session would for want of a terminal, an SDK or an AVD.

    A build takes minutes: it is to be asked before.
    """
    check_terminals()
    if isinstance(target.machine, SdkMachine):
        sdk.data_image(*_find_avd(target.machine, avd_name))


def _find_avd(machine: SdkMachine, name: str | None) -> tuple[sdk.Sdk, sdk.Avd]:
    return sdk.find(), sdk.choose_avd(sdk.list_avds(), machine, name)


@dataclass(frozen=True)
class _Start:
    """What is to be booted, or restored. The stacks that are passed end what was started."""

    ws: Workspace
    kernel_image: Path
    initramfs: Path
    target: Target
    folder: Path
    limits: BootLimits
    started: Callable[[Health], None]
    label: str

    def restore(self, stack: ExitStack, release: str) -> Session | None:
        """The session of a saved guest; None where there is none that proves itself."""
        machine = self.target.machine
        if not isinstance(machine, QemuMachine):
            return None
        cache, key = self.ws.cache, self._key(machine)
        if not snapshots.exists(cache, key):
            return None
        try:
            with self.ws.reporter.phase(f"restore guest{self.label}"), ExitStack() as inner:
                scratch = self._scratch(inner)
                image = snapshots.restore(cache, key, scratch)
                session = self._start_qemu(inner, machine, scratch, snapshots.resume(image))
                session.device.connect(self.limits.restored)
                _prove(session, release, self.target)
                stack.push(inner.pop_all())
                return session
        except (ToolMissingError, DiskFullError, RunEndedError):
            # That says nothing of the snapshot.
            raise
        except (HarnessError, OSError, ValueError) as error:
            self.ws.reporter.say(f"the snapshot is thrown away: {error}")
            # One that may only be read keeps it.
            with suppress(InfrastructureError):
                cache.remove(snapshots.KIND, key)
            self._refuse_what_went_wrong()
            # Evidence; the boot writes a log of its own.
            with suppress(FileNotFoundError):
                self._console_log.replace(self.folder / "console.thrown-away.log")
            return None

    @property
    def _console_log(self) -> Path:
        return self.folder / "console.log"

    def _refuse_what_went_wrong(self) -> None:
        """Raises BootError if the kernel in a restored guest said that it is broken.

        Its state is what was saved, so that is the kernel's own doing, and a boot that
        goes well must not hide it.
        """
        with suppress(FileNotFoundError):
            said = self._console_log.read_text(encoding="utf-8", errors="replace")
            for one in find_trouble(said, levels_tell=False):
                raise BootError(
                    f"the kernel of the restored guest: {one.kind}: {one.line.strip()}",
                    log=self._console_log,
                    hint="once more: the next run boots",
                )

    def boot(self, stack: ExitStack, *, save: bool) -> Session:
        """The session of a machine of stock QEMU, once a marker came back.

        With `save` the guest is saved when it is ready, before anybody has talked to it.
        """
        machine = self.target.machine
        assert isinstance(machine, QemuMachine)
        scratch = self._scratch(stack)
        image = self._disk(scratch) if save else None
        more = snapshots.drive(image) if image else ()
        session = self._start_qemu(stack, machine, scratch, more)
        assert isinstance(session.machine, qemu.Machine)
        console, limits = session.machine.console, self.limits
        console.wait_for(READY, timeout=limits.boot, silence=limits.silence)
        if image is not None:
            self._save(session.machine, self._key(machine), image)
        session.device.connect(limits.adb)
        _set_clock(session.device)
        return session

    def _disk(self, scratch: Path) -> Path | None:
        """Where the guest can be saved; None if that cannot be, which is said."""
        try:
            return snapshots.make_disk(scratch)
        except HarnessError as error:
            self.ws.reporter.say(f"the guest cannot be saved: {error.message}")
            return None

    def _save(self, machine: qemu.Machine, key: str, image: Path) -> None:
        """Saves the guest; that it cannot be is said, and the guest as good as before."""
        try:
            snapshots.save(self.ws.cache, key, machine.qmp, image)
        except (HarnessError, OSError) as error:
            machine.health.check()
            self.ws.reporter.say(f"the guest was not saved: {error}")

    def boot_avd(self, stack: ExitStack, machine_data: SdkMachine, name: str | None) -> Session:
        """The same on an Android Emulator, whose Android goes on booting then."""
        found, chosen = _find_avd(machine_data, name)
        scratch = self._scratch(stack)
        server = AdbServer(scratch, self.folder / "adb.log")
        stack.callback(server.close)
        machine = avd.start(
            found,
            chosen,
            machine_data,
            self.kernel_image,
            adb_port=server.port,
            scratch=scratch,
            log=self._console_log,
        )
        stack.callback(machine.close)
        self.started(machine.health)
        limits = self.limits
        machine.console.wait_for(avd.FIRST_LINE, timeout=limits.boot, silence=limits.silence)
        device = Device(
            server,
            machine.address,
            machine.health,
            prelude=ANDROID_PRELUDE,
            echo_seconds=limits.echo,
        )
        device.connect(limits.android)
        return Session(machine, device, self.folder)

    def _start_qemu(
        self, stack: ExitStack, data: QemuMachine, scratch: Path, more: Sequence[str]
    ) -> Session:
        """A session whose device nobody has connected to yet."""
        command = qemu.command_to_paste(data, self.kernel_image, self.initramfs)
        (self.folder / QEMU_COMMAND).write_text(command)
        machine = qemu.start(
            data,
            self.kernel_image,
            self.initramfs,
            scratch=scratch,
            log=self._console_log,
            more=more,
        )
        stack.callback(machine.close)
        self.started(machine.health)
        # While the kernel boots.
        server = AdbServer(scratch, self.folder / "adb.log")
        stack.callback(server.close)
        device = Device(server, machine.address, machine.health, echo_seconds=self.limits.echo)
        return Session(machine, device, self.folder)

    def _scratch(self, stack: ExitStack) -> Path:
        """A folder that goes with the session; the one for the logs is made, too."""
        self.folder.mkdir(parents=True, exist_ok=True)
        scratch = _scratch_folder()
        stack.callback(shutil.rmtree, scratch, ignore_errors=True)
        return scratch

    def _key(self, machine: QemuMachine) -> str:
        # But for what differs from run to run.
        words = qemu.qemu_argv(machine, Path(), Path(), adb_port=0, qmp_socket=Path())
        return snapshots.key_of(machine.binary, words, self.kernel_image, self.initramfs)


def _set_clock(device: Device) -> None:
    """Gives the guest the host's time: its machine has no clock that runs without it."""
    device.shell(_clock_command())


def _clock_command() -> str:
    return f"busybox date -u -s @{time.time():.0f} > /dev/null"


def _prove(session: Session, release: str, target: Target) -> None:
    """A restored guest is the kernel that was meant, tells the time, and has a clean log.

    It has answered a fresh marker already. Its random numbers are not those of
    all others that go on from the same state. Raises BootError.
    """
    commands = [
        _clock_command(),
        f"echo {secrets.token_hex(32)} > /dev/urandom",
        "cat /proc/sys/kernel/osrelease",
        "date +%s",
        "busybox dmesg -r",
    ]
    begun = time.time()
    found, clock, *log = session.device.shell(" && ".join(commands)).output.split("\n")
    if found != release:
        raise BootError(f"its kernel is {found}, not {release}")
    # However long it took to set it and to read it.
    if not begun - _CLOCK_SECONDS <= int(clock) <= time.time() + _CLOCK_SECONDS:
        raise BootError(f"its clock says {clock}")
    text = "\n".join(log)
    if not re.search(READY, text):
        raise BootError("its log does not say that it was ready")
    trouble = find_trouble(text, levels_tell=target.board.boot_levels_tell)
    if trouble:
        raise BootError(f"its log has a {trouble[0].kind}: {trouble[0].line.strip()}")


def _make_ready(
    device: Device, tools: Sequence[Path], limits: BootLimits, uids: Collection[int]
) -> None:
    """Brings an Android to where harness/build/guest/init leaves the guest.

    The end of its boot, root, users whom no app has, the tools that it lacks, and no
    SELinux in the way. Until the tools are there, with what an Android 5 has.
    """
    _wait_for_android(device, limits)
    device.become_root(limits.adb)
    _check_apps(device.shell(f"cat {_PACKAGES}", check=False).output, uids)
    for tool in tools:
        device.push(tool, f"{TOOLS_FOLDER}/{tool.name}")
    if device.shell("getenforce", check=False).output.strip() == "Enforcing":
        device.shell("setenforce 0", check=False)
    tried = device.shell("id", user=_APP_UID, check=False)
    if tried.status != 0 or f"uid={_APP_UID}" not in tried.output:
        _explain_su(device, tried.output)


def bring(device: Device, files: Sequence[Path], target: Target) -> None:
    """Brings programs and modules to a device that booted from something of its own.

    As one archive and one command: over adb each costs a round of processes.
    """
    if not isinstance(target.machine, SdkMachine):
        return
    remote = f"{TOOLS_FOLDER}/pushed.tar"
    with tempfile.TemporaryDirectory(prefix="goldfish-oom-") as folder:
        archive = Path(folder) / "pushed.tar"
        _pack(archive, files)
        device.push(archive, remote)
        device.shell(f"cd {TOOLS_FOLDER} && busybox tar -xf {remote} && rm {remote}")


def _pack(archive: Path, files: Sequence[Path]) -> None:
    """Writes `files` into a tar archive: root's, and everybody may run them."""

    def everybodys(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = "root"
        member.mode = 0o755
        return member

    with tarfile.open(archive, "w") as tar:
        for path in files:
            tar.add(path, path.name, filter=everybodys)


def _wait_for_android(device: Device, limits: BootLimits) -> None:
    """Waits for the end of Android's own boot; nothing else is asked of it meanwhile."""
    now = device.health.clock.now
    deadline = now() + limits.android
    booted = "getprop sys.boot_completed"
    while device.shell(booted, timeout=limits.adb).output.strip() != "1":
        if device.health.pause(_BOOT_POLL_SECONDS) or now() > deadline:
            device.health.check()
            raise DeviceError(f"Android has not booted within {limits.android:g} s")


def _check_apps(packages: str, uids: Collection[int]) -> None:
    """Raises InfrastructureError if an app is one of the `uids`: its processes would count."""
    taken = [f"{name} is {uid}" for name, uid in _PACKAGE.findall(packages) if int(uid) in uids]
    if taken:
        raise InfrastructureError(
            "apps of this AVD are users that the scenarios need",
            tail="\n".join(taken),
            hint=f"an AVD whose system image has fewer apps: {sdk.MAKE_AVD}",
        )


def _explain_su(device: Device, said: str) -> NoReturn:
    """Why a command cannot be run as an app; SELinux is named where it is in the way."""
    enforcing = device.shell("getenforce", check=False).output.strip() == "Enforcing"
    log = device.kernel_log().splitlines()
    denied = [line for line in log if "avc:" in line and "denied" in line]
    if enforcing or denied:
        raise InfrastructureError(
            "SELinux keeps programs from being run as an app",
            tail="\n".join([*denied[-2:], said.strip()]),
            hint="an emulator that knows `-selinux permissive`, or an AVD that allows setenforce 0",
        )
    raise DeviceError(f"`su {_APP_UID}` does not work on the device", tail=said.strip())


def _scratch_folder() -> Path:
    """A folder for sockets and adb's home, with a short path."""
    folder = tempfile.mkdtemp(prefix="goldfish-oom-")
    if len(folder) > _LONGEST_SCRATCH:
        Path(folder).rmdir()
        folder = tempfile.mkdtemp(prefix="goldfish-oom-", dir="/tmp")
    return Path(folder)


def _check_release(session: Session, expected: str) -> None:
    """The kernel that runs proves that it is the one that was meant."""
    # An Android 5 has no uname.
    release = session.device.read_file("/proc/sys/kernel/osrelease").strip()
    if release != expected:
        raise BootError(
            f"the kernel that booted is {release}, not {expected}",
            log=session.console_log,
            hint="build the kernel again: ./inv build-kernel",
        )
