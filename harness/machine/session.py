# SPDX-License-Identifier: MIT
"""A session: a machine that runs a kernel, and the device that adb sees in it.

The first failure poisons the session: every wait at that time and every later call raises
this first cause.
"""

from __future__ import annotations

import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from backports import tarfile

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
from harness.core.patience import NOTICEABLE
from harness.kernel_output.klog import Trouble, find_trouble
from harness.machine import avd, qemu, sdk
from harness.machine import snapshot as snapshots
from harness.machine.adb import AdbServer, Device, make_key
from harness.machine.console import check_terminals
from harness.targets.model import DEVICE_FOLDER, BootLimits, QemuMachine, SdkMachine, Target
from harness.ui.workspace import Workspace

# In a session's folder: the command that boots the same guest by hand.
QEMU_COMMAND = "qemu-command.txt"
# What harness/build/guest/init prints when adbd listens.
READY = r"goldfish-oom: init ready: (\S+)"
# PATH names the folder with `tools` before the system's own: our su gives a command the
# oom_score_adj of an app, in place of the one that adbd's children inherit.
ANDROID_PRELUDE = f"export PATH={DEVICE_FOLDER}:$PATH; "
# How often a guest is started, or a scenario attempted, if the host stands still each time.
ATTEMPTS = 3
_BOOT_POLL_SECONDS = 1.0
# The kind of the cache entry with adb's key.
_KEYS = "adb-keys"
# How far a clock may be off right after it was set: it is set and read in whole seconds.
_CLOCK_SECONDS = 2.0
# u0_a70
_APP_UID = 10070
# The path of a socket below the scratch folder must stay within 107 bytes.
_LONGEST_SCRATCH = 90
# The list of Android's apps: each line begins with a name and a uid.
_PACKAGES = "/data/system/packages.list"
_PACKAGE = re.compile(r"^(\S+) (\d+) ", re.MULTILINE)


@dataclass(frozen=True)
class Session:
    """A booted machine, its device, and the folder for their logs."""

    machine: qemu.Machine | avd.Machine
    device: Device
    folder: Path

    @property
    def console_log(self) -> Path:
        """The file with all output of the console."""
        return self.machine.console.log

    def stood_still_since(self, moment: float) -> float:
        """Return for how many seconds the host stood still since `moment` (time.monotonic())."""
        return self.machine.health.clock.stood_still_since(moment)

    def check(self) -> None:
        """Raise the first cause if the machine died, panicked or hung."""
        self.machine.health.check()


@dataclass(frozen=True)
class Boot:
    """What a guest is booted from, and how.

    `release` is what `uname -r` must print. With `snapshot` a saved guest is restored in its
    ready state, and a guest that boots for the first time is saved for the next run. A restored
    guest that fails its checks is thrown away with its snapshot, and the kernel boots. `limits`
    are by default the board's.

    The others are for an Android Emulator, which always boots: the kernel runs the AVD called
    `avd` (default: the only one that fits), in which no app may have one of the `uids`. `tools`,
    static programs, are pushed to it, and then the programs and modules in `pushed`.
    """

    target: Target
    image: Path
    initramfs: Path
    release: str
    snapshot: bool = False
    limits: BootLimits | None = None
    avd: str | None = None
    uids: Collection[int] = ()
    tools: Sequence[Path] = ()
    pushed: Sequence[Path] = ()


@contextmanager
def open_session(
    ws: Workspace,
    boot: Boot,
    folder: Path,
    *,
    started: Callable[[Health], None] = lambda _: None,
    label: str = "",
) -> Iterator[Session]:
    """Boot the kernel and yield its session; at the end, end all that was started.

    `started` is called with the Health of every machine that was started, so that another thread
    can end the wait. `label` is appended to the names of the phases.

    The logs (console.log, adb.log) go to `folder`. Raises BootError if the kernel does not
    come up or its release is not the expected one, DeviceError if adb does not reach it,
    ToolMissingError if a tool is missing.
    """
    with ExitStack() as stack:
        yield _Start(ws, boot, folder, started, label).start(stack)


def check_machine(target: Target, avd_name: str | None = None) -> None:
    """Raise what open_session would raise for lack of a terminal, an SDK or an AVD.

    Call it before a build, which takes minutes.
    """
    check_terminals()
    if isinstance(target.machine, SdkMachine):
        found = _find_emulator(target.machine, avd_name)
        sdk.data_image(found.sdk, found.avd)


def _find_emulator(machine: SdkMachine, avd_name: str | None) -> sdk.Emulator:
    return sdk.Emulator(sdk.find(), sdk.choose_avd(sdk.list_avds(), machine, avd_name), machine)


@dataclass(frozen=True)
class _Start:
    """Boots or restores a guest. A stack that is passed to a method ends what it started."""

    ws: Workspace
    what: Boot
    folder: Path
    started: Callable[[Health], None]
    label: str
    # Of the machines that were started, one after the other.
    healths: list[Health] = field(default_factory=list)

    @property
    def limits(self) -> BootLimits:
        """The time limits of the boot."""
        return self.what.limits or self.what.target.board.limits

    def start(self, stack: ExitStack) -> Session:
        """Restore the saved guest, or boot one; once more each time the host stood still."""
        for number in range(1, ATTEMPTS):
            try:
                with ExitStack() as inner:
                    session = self._attempt(inner)
                    stack.push(inner.pop_all())
                    return session
            except BootError as error:
                if not self._stood_still():
                    raise
                why = f"the host stood still: {error.message}"
                self.ws.reporter.say(f"{why}; started again{self.label}")
                self._set_console_aside(f"stood-still-at-start-{number}")
        return self._attempt(stack)

    def _attempt(self, stack: ExitStack) -> Session:
        what = self.what
        session = self.restore(stack) if what.snapshot else None
        if session is not None:
            return session
        with self.ws.reporter.phase(f"boot{self.label}"):
            machine = what.target.machine
            if isinstance(machine, QemuMachine):
                session = self.boot(stack, machine)
            else:
                session = self.boot_avd(stack, machine)
            _check_release(session, what.release)
            if isinstance(machine, SdkMachine):
                _make_ready(session.device, what.tools, self.limits, what.uids)
                _bring(session.device, what.pushed)
            return session

    def _stood_still(self) -> bool:
        """Return whether the host has stood still since the last machine was started.

        It does not count if the kernel has complained of what a jump of its clock does not cause.
        """
        if not self.healths or not all(trouble.by_clock for trouble in self._troubles()):
            return False
        return self.healths[-1].clock.stood_still_since(0.0) >= NOTICEABLE

    def _troubles(self) -> tuple[Trouble, ...]:
        """Return what the console shows that the last kernel complained of."""
        with suppress(FileNotFoundError):
            said = self._console_log.read_text(encoding="utf-8", errors="replace")
            return tuple(find_trouble(said, levels_tell=False))
        return ()

    def _set_console_aside(self, name: str) -> None:
        """Keep the console as evidence; the next attempt writes a log of its own."""
        with suppress(FileNotFoundError):
            self._console_log.replace(self.folder / f"console.{name}.log")

    def _note(self, health: Health) -> None:
        self.healths.append(health)
        self.started(health)

    def restore(self, stack: ExitStack) -> Session | None:
        """Restore the saved guest; return None if there is none, or it fails its checks."""
        machine = self.what.target.machine
        if not isinstance(machine, QemuMachine):
            return None
        cache, key = self.ws.cache, self._key(machine)
        if not cache.has(snapshots.KIND, key, seal=False):
            return None
        try:
            with self.ws.reporter.phase(f"restore guest{self.label}"), ExitStack() as inner:
                scratch = self._scratch(inner)
                image = snapshots.restore(cache, key, scratch)
                session = self._start_qemu(inner, machine, scratch, snapshots.resume(image))
                session.device.connect(self.limits.restored)
                _prove(session, self.what)
                stack.push(inner.pop_all())
                return session
        except (ToolMissingError, DiskFullError, RunEndedError):
            # Such an error says nothing about the snapshot.
            raise
        except (HarnessError, OSError, ValueError) as error:
            if self._stood_still():
                # Nor does this.
                raise BootError(str(error), log=self._console_log) from error
            self.ws.reporter.say(f"the snapshot is thrown away: {error}")
            # A read-only cache keeps the entry.
            with suppress(InfrastructureError):
                cache.remove(snapshots.KIND, key)
            self._refuse_what_went_wrong()
            self._set_console_aside("thrown-away")
            return None

    @property
    def _console_log(self) -> Path:
        return self.folder / "console.log"

    def _refuse_what_went_wrong(self) -> None:
        """Raise BootError if the kernel of a restored guest reported trouble.

        The guest's state was exactly what was saved, so the kernel itself is at fault, and
        a boot that succeeds afterwards must not hide that.
        """
        for one in self._troubles():
            raise BootError(
                f"the kernel of the restored guest: {one.kind}: {one.line.strip()}",
                log=self._console_log,
                hint="once more: the next run boots",
            )

    def boot(self, stack: ExitStack, machine: QemuMachine) -> Session:
        """Boot on stock QEMU; return the session when the device has echoed a marker.

        A guest that is to be saved is saved as soon as it is ready, before adb connects to it.
        """
        scratch = self._scratch(stack)
        image = self._disk(scratch) if self.what.snapshot else None
        more = snapshots.drive(image) if image else ()
        session = self._start_qemu(stack, machine, scratch, more)
        assert isinstance(session.machine, qemu.Machine)
        console, limits = session.machine.console, self.limits
        console.wait_for(READY, timeout=limits.boot, silence=limits.silence)
        if image is not None:
            self._save(session.machine, self._key(machine), image)
        session.device.connect(limits.adb)
        session.device.shell(_clock_command())
        return session

    def _disk(self, scratch: Path) -> Path | None:
        """Create the image to save the guest in; if that fails, say so and return None."""
        try:
            return snapshots.make_disk(scratch)
        except HarnessError as error:
            self.ws.reporter.say(f"the guest cannot be saved: {error.message}")
            return None

    def _save(self, machine: qemu.Machine, key: str, image: Path) -> None:
        """Save the guest; if that fails, say so: the guest is as good as before."""
        try:
            snapshots.save(self.ws.cache, key, machine.qmp, image)
        except (HarnessError, OSError) as error:
            machine.health.check()
            self.ws.reporter.say(f"the guest was not saved: {error}")

    def boot_avd(self, stack: ExitStack, data: SdkMachine) -> Session:
        """Boot on an Android Emulator; on return, Android itself is still booting."""
        emulator = _find_emulator(data, self.what.avd)
        scratch = self._scratch(stack)
        server = AdbServer(scratch, self.folder / "adb.log")
        stack.callback(server.close)
        machine = avd.start(
            emulator,
            self.what.image,
            adb_port=server.port,
            scratch=scratch,
            log=self._console_log,
        )
        stack.callback(machine.close)
        self._note(machine.health)
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
        """Start QEMU; return a session whose device is not connected yet."""
        image, initramfs = self.what.image, self.what.initramfs
        command = qemu.command_to_paste(data, image, initramfs)
        (self.folder / QEMU_COMMAND).write_text(command)
        machine = qemu.start(
            data,
            image,
            initramfs,
            scratch=scratch,
            log=self._console_log,
            more=more,
        )
        stack.callback(machine.close)
        self._note(machine.health)
        # The adb server starts while the kernel boots.
        server = AdbServer(scratch, self.folder / "adb.log", self._keys())
        stack.callback(server.close)
        device = Device(server, machine.address, machine.health, echo_seconds=self.limits.echo)
        return Session(machine, device, self.folder)

    def _keys(self) -> Path | None:
        """Return the folder with adb's key, which takes 0.1 s to make; None if there is none.

        It opens nothing: the adbd of our guests lets everybody in. Like a saved guest it stays in
        the cache, and a run that shall not leave one there leaves neither.
        """
        if not self.what.snapshot:
            return None
        with suppress(HarnessError, OSError):
            return self.ws.cache.ensure(_KEYS, "1", make_key)
        return None

    def _scratch(self, stack: ExitStack) -> Path:
        """Make a folder that is removed with the session; make the folder for the logs, too."""
        self.folder.mkdir(parents=True, exist_ok=True)
        scratch = _scratch_folder()
        stack.callback(shutil.rmtree, scratch, ignore_errors=True)
        return scratch

    def _key(self, machine: QemuMachine) -> str:
        # Leave out the arguments that differ from run to run.
        words = qemu.qemu_argv(machine, Path(), Path(), adb_port=0, qmp_socket=Path())
        return snapshots.key_of(machine.binary, words, self.what.image, self.what.initramfs)


def _clock_command() -> str:
    """Return the command that sets the guest's clock to the host's time."""
    return f"busybox date -u -s @{time.time():.0f} > /dev/null"


def _prove(session: Session, boot: Boot) -> None:
    """Check that a restored guest has the right release, clock and random seed, and a clean log.

    It has echoed a fresh marker already. Its clock is set here, and fresh bytes go to its
    random number generator: other guests restored from the same state would give the same
    numbers. Raises BootError.
    """
    commands = [
        _clock_command(),
        f"echo {secrets.token_hex(32)} > /dev/urandom",
        "busybox cat /proc/sys/kernel/osrelease",
        "busybox date +%s",
        "busybox dmesg -r",
    ]
    begun = time.time()
    found, clock, *log = session.device.shell(" && ".join(commands), kept=True).output.split("\n")
    if found != boot.release:
        raise BootError(f"its kernel is {found}, not {boot.release}")
    # Setting and reading the clock may have taken all the time since `begun`.
    if not begun - _CLOCK_SECONDS <= int(clock) <= time.time() + _CLOCK_SECONDS:
        raise BootError(f"its clock says {clock}")
    text = "\n".join(log)
    if not re.search(READY, text):
        raise BootError("its log does not say that it was ready")
    trouble = find_trouble(text, levels_tell=boot.target.board.boot_levels_tell)
    if trouble:
        raise BootError(f"its log has a {trouble[0].kind}: {trouble[0].line.strip()}")


def _make_ready(
    device: Device, tools: Sequence[Path], limits: BootLimits, uids: Collection[int]
) -> None:
    """Bring Android to the state in which harness/build/guest/init leaves the guest.

    Wait for the end of its boot, become root, check that no app has one of the `uids`, push
    the tools that Android lacks, and make SELinux permissive. Before the tools are there,
    use only the commands of Android 5.
    """
    _wait_for_android(device, limits)
    device.become_root(limits.adb)
    _check_apps(device.shell(f"cat {_PACKAGES}", check=False).output, uids)
    for tool in tools:
        device.push(tool, f"{DEVICE_FOLDER}/{tool.name}")
    if device.shell("getenforce", check=False).output.strip() == "Enforcing":
        device.shell("setenforce 0", check=False)
    tried = device.shell("id", user=_APP_UID, check=False)
    if tried.status != 0 or f"uid={_APP_UID}" not in tried.output:
        _explain_su(device, tried.output)


def _bring(device: Device, files: Sequence[Path]) -> None:
    """Push `files` to an Android Emulator, which boots its own system.

    As one archive and one command, because each step over adb starts several processes.
    """
    if not files:
        return
    remote = f"{DEVICE_FOLDER}/pushed.tar"
    with tempfile.TemporaryDirectory(prefix="goldfish-oom-") as folder:
        archive = Path(folder) / "pushed.tar"
        with tarfile.open(archive, "w") as tar:
            for path in files:
                tar.add(path, path.name, filter=_for_all)
        device.push(archive, remote)
        device.shell(f"cd {DEVICE_FOLDER} && busybox tar -xf {remote} && rm {remote}")


def _for_all(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Return the archive's member, owned by root and executable by all."""
    return member.replace(mode=0o755, uid=0, gid=0, uname="root", gname="root", deep=False)


def _wait_for_android(device: Device, limits: BootLimits) -> None:
    """Wait for the end of Android's own boot, without any other command meanwhile."""
    now = device.health.clock.now
    deadline = now() + limits.android
    booted = "getprop sys.boot_completed"
    while device.shell(booted, timeout=limits.adb).output.strip() != "1":
        if device.health.pause(_BOOT_POLL_SECONDS) or now() > deadline:
            device.health.check()
            raise DeviceError(f"Android has not booted within {limits.android:g} s")


def _check_apps(packages: str, uids: Collection[int]) -> None:
    """Raise InfrastructureError if an app has one of the `uids`: its processes would count."""
    taken = [f"{name} is {uid}" for name, uid in _PACKAGE.findall(packages) if int(uid) in uids]
    if taken:
        raise InfrastructureError(
            "apps of this AVD are users that the scenarios need",
            tail="\n".join(taken),
            hint=f"an AVD whose system image has fewer apps: {sdk.MAKE_AVD}",
        )


def _explain_su(device: Device, said: str) -> NoReturn:
    """Raise the reason why a command cannot run as an app: SELinux, where it is in the way."""
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
    """Make a folder for sockets and adb's home, with a short path."""
    folder = tempfile.mkdtemp(prefix="goldfish-oom-")
    if len(folder) > _LONGEST_SCRATCH:
        Path(folder).rmdir()
        folder = tempfile.mkdtemp(prefix="goldfish-oom-", dir="/tmp")
    return Path(folder)


def _check_release(session: Session, expected: str) -> None:
    """Raise BootError unless the running kernel's release is `expected`."""
    # Android 5 has no uname.
    release = session.device.read_file("/proc/sys/kernel/osrelease").strip()
    if release != expected:
        raise BootError(
            f"the kernel that booted is {release}, not {expected}",
            log=session.console_log,
            hint="build the kernel again: ./inv build-kernel",
        )
