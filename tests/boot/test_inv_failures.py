# SPDX-License-Identifier: MIT
"""`./inv` when things around it fail: status, message, and nothing left behind.

These tests run the real tasks. A test's own cache borrows the downloads of the user's cache, so
that nothing is downloaded twice.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from harness.build import equipment, rootfs
from harness.build.kernel import KernelBuild
from harness.build.modules import ModuleBuild
from harness.build.programs import ProgramBuild
from harness.build.rootfs import Rootfs
from harness.core.cache import file_sha256
from harness.core.paths import REPO, cache_root
from harness.targets.model import DEFAULT_TARGET, Target
from harness.ui.workspace import Workspace

INV = [sys.executable, str(REPO / "inv_program.py")]
LONG = 3600.0
# What a cache borrows: downloads, and the compiler's cache, but nothing that our tasks build.
# A kernel whose source is Debian's, whatever kernel and source the other tests have.
DEBIANS = {"INVOKE_GOLDFISH_OOM_KERNEL": DEFAULT_TARGET, "INVOKE_GOLDFISH_OOM_SOURCE": ""}
DOWNLOADED = ("downloads", "sources", "guest-packages", "ccache")


@pytest.fixture(autouse=True)
def _warm(
    kernel: KernelBuild, modules: ModuleBuild, programs: ProgramBuild, rootfs: Rootfs
) -> None:
    """Fill the user's cache, from which the tests borrow."""


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Return an XDG_CACHE_HOME in which nothing has been built."""
    own = tmp_path / "cache" / cache_root().name
    own.mkdir(parents=True)
    for name in DOWNLOADED:
        if (cache_root() / name).is_dir():
            (own / name).symlink_to(cache_root() / name)
    return own.parent


def inv(
    *words: str,
    cache: Path | None = None,
    env: dict[str, str] | None = None,
    before: Sequence[str] = (),
) -> subprocess.CompletedProcess[str]:
    """Run tasks to their end, with stdout and stderr together; `before` are words before ./inv."""
    return subprocess.run(
        [*before, *INV, *words],
        env=environment(cache, env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LONG,
        check=False,
    )


def environment(cache: Path | None, more: dict[str, str] | None = None) -> dict[str, str]:
    home = {"XDG_CACHE_HOME": str(cache)} if cache else {}
    return {**os.environ, "CI": "true", **home, **(more or {})}


class Running:
    """Running tasks; a test can wait for a line of their output, and then interfere."""

    def __init__(
        self, *words: str, cache: Path | None = None, env: dict[str, str] | None = None
    ) -> None:
        self.process = subprocess.Popen(
            [*INV, *words],
            env=environment(cache, {"PYTHONUNBUFFERED": "1", **(env or {})}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.output = ""
        self._timer = threading.Timer(LONG, self.process.kill)
        self._timer.start()

    def until(self, line: str) -> None:
        """Read up to the first line that begins with `line`."""
        assert self.process.stdout is not None
        for text in self.process.stdout:
            self.output += text
            if text.startswith(line):
                return
        pytest.fail(f"no line {line!r} in:\n{self.output}")

    def descendants(self, name: str = "") -> list[psutil.Process]:
        """Return the running descendants; those whose names begin with `name`."""
        found = []
        for one in psutil.Process(self.process.pid).children(recursive=True):
            # Short-lived programs come and go while this looks.
            with suppress(psutil.NoSuchProcess):
                if one.name().startswith(name):
                    found.append(one)
        return found

    def end(self) -> int:
        assert self.process.stdout is not None
        self.output += self.process.stdout.read()
        status = self.process.wait()
        self._timer.cancel()
        return status


@pytest.fixture
def running() -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def start(*words: str, cache: Path | None = None, env: dict[str, str] | None = None) -> Running:
        started.append(Running(*words, cache=cache, env=env))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()


def half_made(cache: Path) -> list[Path]:
    """Return the files that a run must not leave behind."""
    return [*cache.rglob("*.partial"), *cache.rglob(".scratch-*")]


@pytest.mark.parametrize(
    ("words", "phase", "child"),
    [
        (["build-kernel"], "patch kernel …", ""),
        (["build-kernel"], "build kernel …", "make"),
        (["emulator-test", "--no-snapshot", "--jobs", "1"], "boot …", ""),
        (["emulator-test", "--jobs", "2"], "scenarios", "qemu"),
    ],
)
def test_ctrl_c_ends_everything(
    words: list[str], phase: str, child: str, cache: Path, running: Callable[..., Running]
) -> None:
    own = cache if words == ["build-kernel"] else None
    run = running(*words, cache=own)
    run.until(phase)
    while child and not run.descendants(child):
        assert run.process.poll() is None
    children = run.descendants()
    run.process.send_signal(signal.SIGINT)
    assert run.end() == 130
    assert run.output.rstrip().endswith("interrupted")
    assert psutil.wait_procs(children, timeout=120)[1] == []
    assert half_made(cache) == []


def test_ctrl_c_during_a_download(tmp_path: Path, running: Callable[..., Running]) -> None:
    run = running("fetch-kernel", cache=tmp_path, env=DEBIANS)
    run.until("fetch kernel source …")
    while not run.descendants("apt-get"):
        assert run.process.poll() is None
    run.process.send_signal(signal.SIGINT)
    assert run.end() == 130
    assert half_made(tmp_path) == []


def test_qemu_is_killed_in_mid_test(running: Callable[..., Running]) -> None:
    run = running("--json", "emulator-test", "--policy", "rss", "--no-snapshot")
    # Wait for the second scenario: the first one is the verdict on the boot.
    run.until('{"event": "scenario_end"')
    run.until('{"event": "scenario_begin"')
    machines: list[psutil.Process] = []
    while not machines:
        machines = run.descendants("qemu")
    machines[0].kill()
    assert run.end() == 3
    assert "QEMU" in run.output
    found = re.search(r'"status": 3, "results": "([^"]+)"', run.output)
    assert found is not None
    assert {"verdict.json", "junit.xml", "console.log", "command.txt"} <= {
        path.name for path in Path(found[1]).iterdir()
    }


def test_a_damaged_cache_entry_is_made_once_more(
    workspace: Workspace, target: Target, cache: Path, running: Callable[..., Running]
) -> None:
    files, guest = equipment.build(workspace, target).bootable, rootfs.build(workspace, target)
    own = cache / workspace.cache.root.name
    for file in (files.image, guest.initramfs, files.initramfs):
        entry = file.parent.relative_to(workspace.cache.root)
        shutil.copytree(workspace.cache.root / entry, own / entry)
    damaged = own / files.initramfs.relative_to(workspace.cache.root)
    damaged.write_bytes(damaged.read_bytes()[:-4096])
    run = running(
        *("emulator-test", "--policy", "rss", "--scenario", "report", "--no-snapshot"),
        cache=cache,
    )
    assert run.end() == 0, run.output
    assert f"{damaged.parent} is damaged ({damaged.name}): made once more" in run.output
    assert "build kernel: up to date" in run.output
    assert file_sha256(damaged) == file_sha256(files.initramfs)


def test_a_missing_cross_compiler_is_named(tmp_path: Path, cache: Path, target: Target) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for folder in os.environ["PATH"].split(os.pathsep):
        for tool in Path(folder).glob("*"):
            if not tool.name.startswith("arm-linux-") and not (tools / tool.name).exists():
                (tools / tool.name).symlink_to(tool)
    for task, compiler in (
        ("build-kernel", target.cross_compile),
        ("build-ndk-tests", target.programs_cross_compile),
        ("emulator-test", target.cross_compile),
    ):
        done = inv(task, cache=cache, env={"PATH": str(tools)})
        assert done.returncode == 3
        assert f"{compiler}gcc" in done.stdout
        assert "./inv setup" in done.stdout


@pytest.mark.parametrize("task", ["fetch-kernel", "build-rootfs"])
def test_no_network(task: str, tmp_path: Path) -> None:
    nobody = "http://127.0.0.1:9/"
    proxies = {f"{scheme}_proxy": nobody for scheme in ("http", "https")}
    done = inv(task, cache=tmp_path, env={**DEBIANS, **proxies})
    assert done.returncode == 3
    assert done.stdout.count("\n") < 20
    assert "try: " in done.stdout
    assert half_made(tmp_path) == []


def test_a_full_disk(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    downloads = cache_root() / "downloads"
    script = (
        'mount -t tmpfs -o size=64m none "$1" && mkdir "$1/$2" && ln -s "$3" "$1/$2/downloads" && '
        'disk=$1 && shift 3 && "$@"; status=$?; '
        'find "$disk" -name "*.partial" -o -name ".scratch-*"; umount "$disk"; exit $status'
    )
    # A user who is not root may only mount in a namespace of its own.
    namespace = [] if os.geteuid() == 0 else ["unshare", "-rm"]
    shell = ["sh", "-c", script, "sh", str(disk), cache_root().name, str(downloads)]
    done = inv("fetch-kernel", cache=disk, before=[*namespace, *shell])
    assert done.returncode == 3, done.stdout
    assert "no space left" in done.stdout
    assert ".partial" not in done.stdout.split("try:")[1]


def test_two_runs_at_once_both_pass(running: Callable[..., Running]) -> None:
    runs = [running("emulator-test", "--policy", policy) for policy in ("rss", "runtime")]
    statuses = [run.end() for run in runs]
    assert statuses == [0, 0], "\n".join(run.output for run in runs)


def test_a_half_patched_tree_is_done_again(cache: Path) -> None:
    first = inv("patch-kernel", cache=cache)
    assert first.returncode == 0, first.stdout
    tree = Path(first.stdout.splitlines()[-1])
    victim = tree / "mm" / "page_alloc.c"
    patched = victim.read_bytes()
    victim.write_bytes(b"half")
    assert inv("patch-kernel", cache=cache).returncode == 0
    assert victim.read_bytes() == patched
    shutil.rmtree(cache)


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["emulator-test", "--policy", "oldest"], "rss, runtime, badness"),
        (["emulator-test", "--trigger", "timer"], "alloc, daemon"),
        (["build-kernel", "--kernel", "linux-1.0"], "linux-6.1"),
        (["build-kernel", "--source", "/nonexistent"], ""),
        (["no-such-task"], ""),
        (["boot", "--user", "nobody-of-ours"], ""),
    ],
)
def test_wrong_usage(words: list[str], hint: str) -> None:
    done = inv(*words)
    assert done.returncode == 2, done.stdout
    assert hint in done.stdout
    assert "Traceback" not in done.stdout
