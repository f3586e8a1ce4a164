# SPDX-License-Identifier: MIT
"""What boot tests share: one build, one booted machine, and a device in a known state.

If a tool is missing or a build fails, the tests fail; they do not skip. The only tests that are
skipped are those that need what the kernel lacks (`Target.lacks`).
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from device_work import (
    APP,
    FULL,
    HOLD,
    STUCK,
    UNINTERRUPTIBLE,
    Process,
    eventually,
    holder,
    let_go,
)
from nothing_known import NothingKnown

from harness.build import kernel as kernels
from harness.build import modules as module_builds
from harness.build import programs as program_builds
from harness.build import rootfs as rootfs_builds
from harness.build.kernel import KernelBuild
from harness.build.modules import MODULE_NAMES, ModuleBuild
from harness.build.programs import ProgramBuild
from harness.build.rootfs import Rootfs
from harness.core.errors import BootError, InfrastructureError
from harness.jobs import emulator_test
from harness.jobs.options import EmulatorTestOptions
from harness.kernel_output.klog import Allowed, find_trouble, marker, section
from harness.machine.adb import Device
from harness.machine.session import Boot, Session, open_session
from harness.scenarios.run import DEVICE_FOLDER, load_modules, parse_limits
from harness.scenarios.script import TRACING, events_command
from harness.targets.model import DEFAULT_TARGET, DEFAULT_TOOLCHAIN, QemuMachine, Target
from harness.targets.table import get_target
from harness.ui.workspace import Workspace

Emulate = Callable[..., int]
Booting = Callable[[Target, Path], AbstractContextManager[Session]]


@pytest.fixture(scope="session")
def workspace() -> Workspace:
    return Workspace()


@pytest.fixture(scope="session")
def emulate(workspace: Workspace) -> Emulate:
    """Return a function that runs emulator-test and returns its status.

    `emulate(target, results, …)` takes also the other options of emulator-test; the policy is rss
    by default.
    """

    def run(target: Target, results: Path, **options: Any) -> int:
        words = {"policy": "rss", "trigger": "alloc", **options}
        return emulator_test.run(
            workspace, EmulatorTestOptions(target=target, results=results, **words)
        )

    return run


def pytest_configure(config: pytest.Config) -> None:
    """Have programs that the tests start test the same kernel; give each worker CPUs of its own.

    A worker of pytest-xdist gets its own CPUs if there are enough for a guest of each worker.
    Then it does not disturb the guests of the others.
    """
    os.environ["INVOKE_GOLDFISH_OOM_KERNEL"] = config.getoption("--kernel")
    os.environ["INVOKE_GOLDFISH_OOM_TOOLCHAIN"] = config.getoption("--toolchain")
    os.environ["INVOKE_GOLDFISH_OOM_SOURCE"] = config.getoption("--source") or ""
    config.pluginmanager.register(NothingKnown())
    worker = os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")
    if not worker:
        return
    machine = get_target(config.getoption("--kernel")).machine
    assert isinstance(machine, QemuMachine)
    cpus = sorted(os.sched_getaffinity(0))
    share = len(cpus) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    if share >= machine.smp:
        first = int(worker) * share
        os.sched_setaffinity(0, cpus[first : first + share])


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--debug-kernel", action="store_true", help="on the kernel that checks itself")
    parser.addoption("--kernel", default=DEFAULT_TARGET, help="the kernel to test")
    parser.addoption("--toolchain", default=DEFAULT_TOOLCHAIN, help="what compiles it")
    parser.addoption("--source", default=None, help="its source, as for ./inv")


def plain_target(config: pytest.Config) -> Target:
    """Return the kernel to test, not as a debug kernel."""
    source = config.getoption("--source")
    target = get_target(config.getoption("--kernel"))
    return replace(target, given_source=source).with_toolchain(config.getoption("--toolchain"))


@pytest.fixture(scope="session")
def plain(request: pytest.FixtureRequest) -> Target:
    return plain_target(request.config)


@pytest.fixture(scope="session")
def target(plain: Target, request: pytest.FixtureRequest) -> Target:
    return plain.checking_itself() if request.config.getoption("--debug-kernel") else plain


def _has_other_kernels(item: pytest.Item) -> bool:
    module = item.getparent(pytest.Module)
    return module is not None and getattr(module.obj, "OTHER_KERNELS", False)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip, with the reason, each test that needs what the kernel lacks.

    Those of a file that says `OTHER_KERNELS = True` come last: `./inv test` builds the stock kernel
    meanwhile (harness/jobs/ahead.py).
    """
    items.sort(key=_has_other_kernels)
    lacks = plain_target(config).lacks
    for item in items:
        for mark in item.iter_markers("needs"):
            if reason := lacks.get(mark.args[0]):
                item.add_marker(pytest.mark.skip(reason=f"no {mark.args[0]}: {reason}"))


@pytest.fixture(scope="session")
def kernel(workspace: Workspace, target: Target) -> KernelBuild:
    return kernels.build(workspace, target)


@pytest.fixture(scope="session")
def modules(workspace: Workspace, kernel: KernelBuild) -> ModuleBuild:
    return module_builds.build(workspace, kernel)


@pytest.fixture(scope="session")
def programs(workspace: Workspace, target: Target) -> ProgramBuild:
    return program_builds.build(workspace, target)


@pytest.fixture(scope="session")
def rootfs(workspace: Workspace, target: Target) -> Rootfs:
    return rootfs_builds.build(workspace, target)


@pytest.fixture(scope="session")
def booting(workspace: Workspace, kernel: KernelBuild, rootfs: Rootfs) -> Booting:
    """Return a context manager: within it a machine runs; its logs are in the folder."""

    def boot(target: Target, folder: Path) -> AbstractContextManager[Session]:
        booted = Boot(target, kernel.image, rootfs.initramfs, kernel.release)
        return open_session(workspace, booted, folder)

    return boot


class Shared:
    """The booted machine of all tests that leave it as they found it: one after the other."""

    def __init__(self, booting: Booting, folder: Callable[[str], Path]) -> None:
        self._booting, self._folder = booting, folder
        self._stack = ExitStack()
        self._of: tuple[Target, Session] | None = None
        self.is_equipped = False

    def session(self, target: Target) -> Session:
        """Return the session of a machine; the last one goes on if it is alike."""
        if self._of is not None and self._of[0] == target:
            return self._of[1]
        self.close()
        try:
            session = self._stack.enter_context(self._booting(target, self._folder("booted")))
        except BootError as error:
            # It did not die in a test, which would be the kernel's fault: see nothing_known.
            raise InfrastructureError(f"the kernel did not boot: {error}") from error
        self._of, self.is_equipped = (target, session), False
        return session

    def close(self) -> None:
        self._of = None
        self._stack.close()


@pytest.fixture(scope="session")
def shared(booting: Booting, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    found = Shared(booting, tmp_path_factory.mktemp)
    yield found
    found.close()


@pytest.fixture(scope="module")
def booted(shared: Shared, target: Target, request: pytest.FixtureRequest) -> Session:
    """Boot a machine, unless a file before has done so.

    It has one CPU for a file of tests that says `ONE_CPU = True`: it has nothing that could happen
    at the same time, and each CPU makes the emulation slower.
    """
    alone = getattr(request.module, "ONE_CPU", False)
    return shared.session(target.with_one_cpu() if alone else target)


def equip(
    device: Device, modules: ModuleBuild, programs: ProgramBuild, names: Sequence[str]
) -> None:
    """Load the modules, and push the programs with these names."""
    for name in MODULE_NAMES:
        device.push(modules.path(f"{name}.ko"), f"{DEVICE_FOLDER}/{name}.ko", 0o644)
    for name in names:
        device.push(programs.path(name), f"{DEVICE_FOLDER}/{name}")
    load_modules(device)


@pytest.fixture(scope="module")
def equipped(
    shared: Shared, booted: Session, modules: ModuleBuild, programs: ProgramBuild
) -> Device:
    """Return the booted device with the modules loaded and the programs on it."""
    if not shared.is_equipped:
        equip(booted.device, modules, programs, programs.names)
        shared.is_equipped = True
    return booted.device


def forget_limits(device: Device) -> None:
    """Remove the limits that a test has set, or that the kernel has set from a range."""
    left = [
        f"uid={entry.uid}-{entry.last_uid}" if entry.is_range else f"uid={entry.uid}"
        for entry in parse_limits(device)
    ]
    # Not one by one: on the debug kernel each shell takes half a second.
    for first in range(0, len(left), 100):
        users = " ".join(left[first : first + 100])
        # Twice: what root set, and what the user set itself.
        device.shell(f"for user in {users} {users}; do echo $user max=none > /proc/mm_limits; done")


@pytest.fixture
def allowed() -> tuple[Allowed, ...]:
    """Return the other messages that the kernel may print; files of tests override this."""
    return ()


@pytest.fixture
def device(equipped: Device, allowed: tuple[Allowed, ...]) -> Iterator[Device]:
    """Return the device: no limits, policy rss, trigger alloc. Check its log afterwards."""
    equipped.shell(
        "echo rss > /proc/sys/vm/mm_limits_policy &&"
        " echo alloc > /proc/sys/vm/mm_limits_trigger &&"
        " echo > /sys/module/my_oom_killer/parameters/policy"
    )
    nonce = secrets.token_hex(8)
    equipped.mark_kernel_log(marker("begin", nonce))
    yield equipped
    equipped.mark_kernel_log(marker("end", nonce))
    part = section(equipped.kernel_log(), nonce)
    # Other tests on this machine expect no limits.
    forget_limits(equipped)
    assert part.whole
    assert find_trouble(part.text, allowed) == ()


@pytest.fixture
def tracing(device: Device) -> Iterator[str]:
    """Return the tracing folder; the trace is empty, and none of our events is on."""
    device.shell(events_command())
    found = [
        folder
        for folder in TRACING
        if device.shell(f"test -e {folder}/trace", check=False).status == 0
    ]
    off = f"echo 0 > {found[0]}/events/mm_limits/enable; echo > {found[0]}/trace"
    device.shell(off)
    yield found[0]
    device.shell(off)


@pytest.fixture(scope="session")
def testing_modules(workspace: Workspace, kernel: KernelBuild) -> ModuleBuild:
    """Build the modules that are only for tests."""
    return module_builds.build(workspace, kernel, Path(__file__).parent / "modules")


@pytest.fixture
def room(device: Device) -> Device:
    """Return the device, with a pipe that fills up."""
    device.shell(f"rm -f {FULL}; mkfifo -m 666 {FULL}")
    return device


Sticking = Callable[..., AbstractContextManager[Process]]


@pytest.fixture
def sticking(room: Device, testing_modules: ModuleBuild) -> Sticking:
    """Return a context manager: within it a process of APP has STUCK MiB and cannot be killed.

    Its memory cannot be given back, either, unless `keeps` is false.
    """
    module = f"{DEVICE_FOLDER}/uninterruptible.ko"

    @contextmanager
    def stick(keeps: bool = True) -> Iterator[Process]:
        room.push(testing_modules.path("uninterruptible"), module, 0o644)
        room.shell(f"insmod {module} lock_mm={int(keeps)}")
        try:
            room.shell(f"chmod 666 {UNINTERRUPTIBLE}")
            with holder(room, APP, STUCK, into=UNINTERRUPTIBLE) as held:
                eventually(lambda: "State:\tD" in room.read_file(f"/proc/{held.pid}/status"))
                try:
                    yield held
                finally:
                    let_go(room, held)
        finally:
            room.shell(f"echo 0 > {HOLD}; rmmod uninterruptible")

    return stick


@pytest.fixture
def stuck(sticking: Sticking) -> Iterator[Process]:
    """Run a process of APP that has STUCK MiB and cannot be killed before the test is over."""
    with sticking() as held:
        yield held
