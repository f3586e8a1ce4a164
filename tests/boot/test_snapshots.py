# SPDX-License-Identifier: MIT
"""A saved guest goes on from its snapshot, or the snapshot is thrown away."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from rich.console import Console as Terminal

from harness.build.kernel import KernelBuild
from harness.build.rootfs import Rootfs
from harness.core.cache import Cache
from harness.core.errors import BootError, DeviceError, RunEndedError
from harness.core.lifetime import Health
from harness.machine import snapshot
from harness.machine.qemu import Machine
from harness.machine.session import Boot, Session, open_session
from harness.targets.model import Target
from harness.ui.progress import Reporter
from harness.ui.workspace import Workspace

# Seconds that a busy host may take for one command.
SLOW = 60.0


@dataclass
class Opener:
    """A callable that opens sessions, with a cache of their own; `said` is what was printed."""

    target: Target
    kernel: KernelBuild
    rootfs: Rootfs
    folder: Path
    stack: ExitStack
    terminal: Terminal = field(default_factory=lambda: Terminal(file=io.StringIO(), width=200))
    opened: int = 0

    def __call__(
        self, release: str | None = None, started: Callable[[Health], None] = lambda _: None
    ) -> Session:
        self.opened += 1
        ws = Workspace(Cache(self.folder / "cache"), Reporter(self.terminal))
        image, initramfs = self.kernel.image, self.rootfs.initramfs
        boot = Boot(self.target, image, initramfs, release or self.kernel.release, snapshot=True)
        folder = self.folder / str(self.opened)
        return self.stack.enter_context(open_session(ws, boot, folder, started=started))

    @property
    def said(self) -> str:
        assert isinstance(self.terminal.file, io.StringIO)
        return self.terminal.file.getvalue()

    @property
    def restored(self) -> int:
        """How many guests were restored and passed their checks."""
        return self.said.count("restore guest: done")

    @property
    def entries(self) -> list[Path]:
        """The snapshots in the cache."""
        return sorted((self.folder / "cache" / snapshot.KIND).glob("[!.]*"))


@pytest.fixture
def open_one(
    target: Target, kernel: KernelBuild, rootfs: Rootfs, tmp_path: Path
) -> Iterator[Opener]:
    with ExitStack() as stack:
        yield Opener(target, kernel, rootfs, tmp_path, stack)


def uptime(session: Session) -> float:
    return float(session.device.read_file("/proc/uptime").split()[0])


def test_a_guest_is_saved_once_and_goes_on_as_often_as_wanted(open_one: Opener) -> None:
    booted = open_one()
    assert open_one.restored == 0
    (entry,) = open_one.entries
    # All run at the same time; none disturbs another.
    first, second = open_one(), open_one()
    assert open_one.restored == 2
    assert open_one.entries == [entry]
    for session in (booted, first, second):
        begun = time.time()
        clock = int(session.device.shell("date +%s").output)
        # The clock is behind by the time that setting it took.
        assert begun - SLOW <= clock <= time.time() + 1
    random = {one.device.shell("od -An -N16 -tx1 /dev/urandom").output for one in (first, second)}
    assert len(random) == 2
    first.device.write_file("/data/local/tmp/mine", "first")
    assert second.device.shell("ls /data/local/tmp/mine", check=False).status != 0


def flip(entry: Path) -> None:
    """Change one byte in the middle of the image."""
    image = entry / "ready.qcow2"
    data = bytearray(image.read_bytes())
    data[len(data) // 2] ^= 0xFF
    image.write_bytes(data)


def shorten(entry: Path) -> None:
    image = entry / "ready.qcow2"
    image.write_bytes(image.read_bytes()[: 1 << 20])


def lie(entry: Path) -> None:
    """Replace the image by an entirely different file, with a digest that fits."""
    image = entry / "ready.qcow2"
    image.write_bytes(b"no image")
    found = snapshot.copy(image, entry / "copy")
    (entry / "ready.blake2b").write_text(found)


def lose(entry: Path) -> None:
    (entry / "ready.qcow2").unlink()


@pytest.mark.parametrize("poison", [flip, shorten, lie, lose])
def test_a_poisoned_snapshot_is_thrown_away_and_the_kernel_boots(
    open_one: Opener, poison: Callable[[Path], None]
) -> None:
    open_one()
    (entry,) = open_one.entries
    poison(entry)
    assert open_one().device.shell("echo lives").output == "lives\n"
    assert open_one.restored == 0
    assert "the snapshot is thrown away: " in open_one.said
    # The next session goes on from a new snapshot.
    open_one()
    assert open_one.restored == 1


def save_again(open_one: Opener, session: Session) -> None:
    """Replace the snapshot by one of the guest as it is now."""
    (entry,) = open_one.entries
    machine = session.machine
    assert isinstance(machine, Machine)
    # The guest's own image can take another state of the same name.
    cache = Cache(open_one.folder / "cache")
    cache.remove(snapshot.KIND, entry.name)
    image = Path(machine.qmp.path).parent / "ready.qcow2"
    snapshot.save(cache, entry.name, machine.qmp, image)


def test_a_kernel_that_dies_when_it_goes_on_is_no_matter_of_the_snapshot(open_one: Opener) -> None:
    session = open_one()
    # The kernel crashes as soon as its release is read, which is one of the checks.
    release = "/proc/sys/kernel/osrelease"
    crash = "sh -c 'exec 3>/tmp/asked; echo c > /proc/sysrq-trigger' </dev/null >/dev/null 2>&1 &"
    session.device.shell(f"mkfifo /tmp/asked && busybox mount --bind /tmp/asked {release}")
    session.device.shell(crash)
    save_again(open_one, session)
    with pytest.raises(BootError, match="the kernel of the restored guest: "):
        open_one()
    assert open_one.entries == []
    assert "sysrq" in (open_one.folder / "2" / "console.log").read_text()
    assert open_one().device.shell("echo lives").output == "lives\n"


@pytest.mark.needs("a boot without warnings")
def test_a_guest_that_was_not_well_when_it_was_saved_is_not_used(open_one: Opener) -> None:
    session = open_one()
    # The kernel warns about this.
    session.device.shell("busybox mount -t tmpfs -o nonsense none /tmp", check=False)
    save_again(open_one, session)
    open_one()
    assert "its log has a warning" in open_one.said
    assert open_one.restored == 0


def test_a_kernel_that_is_not_the_one_that_was_meant_is_not_used(open_one: Opener) -> None:
    open_one()
    with pytest.raises(BootError, match=r"the kernel that booted is .*, not 6\.1\.0-other"):
        open_one("6.1.0-other")
    assert "the snapshot is thrown away: its kernel is" in open_one.said


def test_a_snapshot_outlives_who_did_not_wait_for_it(open_one: Opener) -> None:
    open_one()
    before = open_one.entries
    with pytest.raises(RunEndedError):
        open_one(started=lambda health: health.fail(RunEndedError("the run was ended")))
    assert open_one.entries == before
    assert "thrown away" not in open_one.said
    open_one()
    assert open_one.restored == 1


def test_a_guest_that_cannot_be_saved_is_as_good(
    open_one: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise DeviceError("QEMU did not save the machine")

    with monkeypatch.context() as patched:
        patched.setattr(snapshot, "save", fail)
        assert open_one().device.shell("echo lives").output == "lives\n"
        patched.setattr(snapshot, "make_disk", fail)
        assert open_one().device.shell("echo lives").output == "lives\n"
    assert "the guest was not saved: QEMU did not save the machine" in open_one.said
    assert "the guest cannot be saved: QEMU did not save the machine" in open_one.said
    assert open_one.entries == []


def test_what_was_thrown_away_leaves_its_console(open_one: Opener) -> None:
    open_one()
    (entry,) = open_one.entries
    lie(entry)
    open_one()
    assert (open_one.folder / "2" / "console.thrown-away.log").is_file()
    assert (open_one.folder / "2" / "console.log").stat().st_size > 0
