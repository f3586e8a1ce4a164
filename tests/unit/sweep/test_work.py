# SPDX-License-Identifier: MIT
"""What a worker does with an order, without a cluster."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections import namedtuple
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import bundles
import psutil
import pytest
from backports import tarfile
from hypothesis import given
from hypothesis import strategies as st
from sweep_processes import PROGRAM
from sweep_world import World, until

from harness.core.cache import Cache
from harness.core.errors import DiskFullError
from harness.core.lifetime import bound_to_us
from harness.core.scratch import HELD, remove_left
from harness.sweep import keeper, work
from harness.sweep.work import Ended, Here, Order, get_bundle, put_bundle

SHA = "ab" * 32


def order(world: World, kind: str, *more: str) -> Order:
    cell = world.cell("cell", kind, *more)
    return Order("key", "title", cell.task, words=cell.words)


@pytest.fixture
def here(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Here]:
    monkeypatch.setenv("TMPDIR", str(world.tmp))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield Here(Cache(world.cache), program=PROGRAM, grace=0.5)
    monkeypatch.undo()
    tempfile.tempdir = None


def never() -> bool:
    return False


def names_in(packed: bytes) -> set[str]:
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        return set(tar.getnames())


def nothing_is_left(world: World) -> None:
    assert world.left() == []
    assert world.left_behind() == []


def test_a_command_that_passes(world: World, here: Here) -> None:
    ended = work.perform(order(world, "daemon"), here, never)
    assert (ended.status, ended.line) == (0, "PASS: 2 scenarios")
    assert names_in(ended.packed) == {"report.html", "guest2/console.log", "output.txt"}
    assert ended.started is not None
    nothing_is_left(world)


def test_a_build(world: World, here: Here) -> None:
    done = Order("key", "title", work.BUILD, build=world.build.words)
    ended = work.perform(done, here, never)
    put_bundle(here.cache, ended.sha256, ended.packed)
    cell = Order("key", "t", "emulator-test", words=world.cell("c").words, bundle=ended.sha256)
    assert (work.perform(cell, here, never).status, ended.kernel) == (0, "")
    bad = Order("key", "title", work.BUILD, build=world.built_by("error").words)
    ended = work.perform(bad, here, never)
    assert (ended.status, ended.line, ended.sha256) == (3, "error: the compiler is missing", "")


def test_a_build_says_which_kernel_it_made(here: Here, tmp_path: Path) -> None:
    made = bundles.bundle(tmp_path / "made.tar.gz")
    copies = "import shutil, sys; print(shutil.copy(sys.argv[1], sys.argv[-1]))"
    copying = Here(here.cache, program=(PROGRAM[0], "-c", copies, str(made)), grace=0.5)
    ended = work.perform(Order("key", "title", work.BUILD), copying, never)
    assert (ended.kernel, ended.packed) == (bundles.RELEASE, made.read_bytes())


@pytest.mark.parametrize("kind", ["wait", "stubborn"])
def test_a_command_that_is_stopped(world: World, here: Here, kind: str) -> None:
    waits = world.trace / "waits-cell"
    ended = work.perform(order(world, kind), here, waits.exists)
    assert (ended.status, ended.packed) == (None, b"")
    nothing_is_left(world)


def in_thread(world: World, here: Here, kind: str) -> tuple[threading.Thread, list[Ended]]:
    found: list[Ended] = []
    target = lambda: found.append(work.perform(order(world, kind), here, never))  # noqa: E731
    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    until(lambda: world.waits("cell"))
    return thread, found


@pytest.mark.parametrize(
    ("killed", "line"),
    [
        (World.program_of, "ended by signal 9"),
        (World.keeper_of, "what watches over the command was killed"),
    ],
)
def test_kill_9_of_any_of_them_ends_all(
    world: World, here: Here, killed: Callable[[World, str], psutil.Process], line: str
) -> None:
    thread, found = in_thread(world, here, "wait")
    killed(world, "cell").kill()
    thread.join()
    assert found[0].line == line
    until(lambda: not world.left())


_ORPHANS = """
import subprocess, time
import psutil
from harness.sweep import keeper

def children():
    found = psutil.Process().children(recursive=True)
    return [one.pid for one in found if one.status() != psutil.STATUS_ZOMBIE]

keeper.become_subreaper()
kept = subprocess.Popen(["sleep", "1000"])
killed = subprocess.Popen(["sh", "-c", "sleep 1001 & sleep 1002; true"])
while len(children()) < 4:
    time.sleep(0.05)
killed.kill()
killed.wait()
print(len(children()), keeper.kill_descendants(frozenset([kept.pid])), children() == [kept.pid])
kept.kill()
"""


def test_the_orphans_of_a_killed_keeper_are_killed() -> None:
    done = subprocess.run(
        [PROGRAM[0], "-c", _ORPHANS],
        cwd=Path(keeper.__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.split() == ["3", "True", "True"]


def test_the_folder_of_a_keeper_is_removed_when_it_was_killed_and_not_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = tmp_path / "goldfish-oom-cell-x"
    folder.mkdir()
    (folder / HELD).touch()
    words = [PROGRAM[0], "-I", keeper.__file__, "1", str(folder), *bound_to_us(["sleep", "1000"])]
    # Its worker has been killed.
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as kept:
        children = psutil.Process(kept.pid).children
        until(lambda: [one.name() for one in children()] == ["sleep"])
        remove_left()
        assert (folder / "stdout").exists()
        kept.kill()
    remove_left()
    assert not folder.exists()


def test_a_full_disk_is_one_line(world: World, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1000))
    ended = work.perform(order(world, "pass"), here, never)
    assert (ended.status, ended.full) == (3, True)
    assert ended.line == f"no space left on the worker's disk ({world.tmp})"


def test_a_disk_that_fills_up(world: World, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Path) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device", "/some/file")

    monkeypatch.setattr(work, "pack", full)
    ended = work.perform(order(world, "pass"), here, never)
    assert (ended.status, ended.full) == (3, True)
    assert ended.line == "no space left on the worker's disk (/some/file)"
    monkeypatch.undo()
    ended = work.perform(order(world, "full"), here, never)
    assert (ended.status, ended.full) == (3, True)
    nothing_is_left(world)


_NO_CACHE = """
import sys
from pathlib import Path
from harness.core.cache import Cache
from harness.jobs import cli

cache = Cache(Path(sys.argv[1]))
sys.exit(cli.guarded(lambda: cache.ensure("kind", "key", lambda _: None)))
"""


@pytest.mark.parametrize("task", [work.BUILD, "bench"])
def test_a_worker_that_cannot_write_to_its_cache_is_as_one_with_a_full_disk(
    world: World, here: Here, task: str
) -> None:
    file = world.folder / "file"
    file.touch()
    told = replace(here, program=(PROGRAM[0], "-c", _NO_CACHE, str(file / "cache")))
    ended = work.perform(Order("key", "title", task), told, never)
    assert (ended.status, ended.full) == (3, True)
    assert ended.line.startswith("error: cannot write to the cache: ")


@pytest.mark.parametrize("already", [True, False])
def test_a_command_of_changed_files_has_no_verdict(world: World, here: Here, already: bool) -> None:
    looks = iter([already, True])
    told = work.perform(order(world, "pass"), replace(here, changed=lambda: next(looks)), never)
    assert (told.status, told.changed, told.packed) == (None, True, b"")
    assert told.line == "the files of this project were changed on the worker"
    # Without need nothing is run.
    assert world.lines_of("started") == ([] if already else ["cell"])
    nothing_is_left(world)


def test_what_is_too_large_is_left_out(
    world: World, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "MOST_BYTES", 1 << 16)
    ended = work.perform(order(world, "pass"), here, never)
    assert ended.left_out == ("guest2/console.log",)
    assert names_in(ended.packed) == {"report.html", "left_out.txt", "output.txt"}


def test_a_damaged_bundle_is_asked_for_again(world: World, here: Here) -> None:
    data = f"bundle of {world.trace}".encode() * 1000
    sha256 = hashlib.sha256(data).hexdigest()
    put_bundle(here.cache, sha256, data)
    path = get_bundle(here.cache, sha256)
    assert path is not None
    path.write_bytes(data[:-1])
    asked: list[str] = []

    def ask(digest: str) -> None:
        asked.append(digest)
        put_bundle(here.cache, digest, data)

    cell = Order("key", "t", "emulator-test", words=world.cell("c").words, bundle=sha256)
    asking = Here(here.cache, ask, PROGRAM, grace=0.5)
    assert work.perform(cell, asking, never).status == 0
    assert asked == [sha256]


@pytest.mark.parametrize(
    ("number", "line"),
    [
        (errno.EDQUOT, "no space left on the disk that holds {root}"),
        (errno.EIO, "the worker cannot keep the bundle: [Errno 5] Input/output error: 'x'"),
    ],
)
def test_a_bundle_that_cannot_be_kept_is_not_waited_for(
    world: World, here: Here, monkeypatch: pytest.MonkeyPatch, number: int, line: str
) -> None:
    def broken(*_: object) -> NoReturn:
        raise OSError(number, os.strerror(number), "x")

    monkeypatch.setattr(work, "_write", broken)
    asking = replace(here, ask=lambda sha256: work.receive(asking, sha256, b"bundle"))
    cell = Order("key", "t", "emulator-test", words=world.cell("c").words, bundle=SHA)
    ended = work.perform(cell, asking, never)
    # In both cases the worker gets no more cells: they would end as fast.
    assert (ended.status, ended.full) == (3, True)
    assert ended.line == line.format(root=here.cache.root)
    # Another order asks again.
    monkeypatch.undo()
    data = f"bundle of {world.trace}".encode() * 1000
    sha256 = hashlib.sha256(data).hexdigest()
    asking.refused[sha256] = DiskFullError("as it was before")
    again = replace(asking, ask=lambda _: work.receive(again, sha256, data))
    assert work.perform(replace(cell, bundle=sha256), again, never).status == 0


def test_a_bundle_may_be_removed_when_its_order_has_ended(world: World, here: Here) -> None:
    data = f"bundle of {world.trace}".encode() * 1000
    sha256 = hashlib.sha256(data).hexdigest()
    work.receive(here, sha256, data)
    leased: list[bool] = []

    def look() -> bool:
        if world.waits("cell"):
            leased.append(is_leased())
            (world.trace / "go-cell").touch()
        return False

    def is_leased() -> bool:
        return here.cache.leased(here.cache.path("sent-bundles", sha256))

    assert not is_leased()
    waits = replace(order(world, "wait"), bundle=sha256)
    assert work.perform(waits, here, look).status == 0
    assert leased[0]
    assert not is_leased()


def test_a_bundle_that_is_not_what_was_asked_for_is_not_used(here: Here) -> None:
    put_bundle(here.cache, SHA, b"something else")
    assert get_bundle(here.cache, SHA) is None


def test_a_bundle_that_does_not_come(
    world: World, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = Order("key", "t", "emulator-test", words=world.cell("c").words, bundle=SHA)
    assert work.perform(cell, here, lambda: True).status is None
    monkeypatch.setattr(work, "_SENT_SECONDS", 0.0)
    ended = work.perform(cell, here, never)
    assert (ended.status, ended.line) == (
        3,
        "the bundle of the kernel did not come from the sweep",
    )


@pytest.mark.parametrize(
    ("status", "out", "err", "line"),
    [
        (0, "a\nPASS: 1\n\n", "warning\n", "PASS: 1"),
        (1, "FAIL: 1\n", "error: not passed\n", "FAIL: 1"),
        (1, "", "error: not passed\n", "error: not passed"),
        (3, "phase …\n", "error: broken\n  | log\n  try: this\n", "error: broken"),
        (3, "phase …\n", "", "phase …"),
        (-9, "", "", "ended by signal 9"),
        (7, "", "", "ended with status 7"),
        (3, "", "Traceback\nKeyError: 'x\x1b'\n", "KeyError: 'x\\x1b'"),
    ],
)
def test_the_line_of_a_command(tmp_path: Path, status: int, out: str, err: str, line: str) -> None:
    (tmp_path / "out").write_text(out)
    (tmp_path / "err").write_text(err)
    assert work.last_line(status, tmp_path / "out", tmp_path / "err") == line


@given(
    ended=st.builds(
        Ended,
        status=st.none() | st.integers(-64, 255),
        line=st.text(),
        started=st.none(),
        left_out=st.lists(st.text()).map(tuple),
        packed=st.binary(),
    ),
    asked=st.builds(Order, st.text(), st.text(), st.text(), words=st.just(("a", "\udcff"))),
)
def test_the_wire(ended: Ended, asked: Order) -> None:
    assert work.read_ended(work.ended_parts(ended)) == ended
    assert work.read_order(work.order_text(asked)) == asked


@pytest.mark.parametrize("sha256", [SHA, "../../outside", "/etc/passwd"])
def test_a_bundle_is_what_its_digest_says(sha256: str) -> None:
    good = Ended(0, "built", sha256=hashlib.sha256(b"bundle").hexdigest(), packed=b"bundle")
    assert work.read_ended(work.ended_parts(good)) == good
    with pytest.raises(ValueError, match="the bundle is damaged"):
        work.read_ended(work.ended_parts(replace(good, sha256=sha256)))


def test_the_words_of_commands() -> None:
    words = work._words(Order("k", "t", "fuzz", ("--kernel", "x"), ("--seed", "1")), None, Path())
    assert words == ("fuzz", "--kernel", "x", "--seed", "1", "--jobs", "1")
    cell = Order("k", "t", "emulator-test", ("--kernel", "x"), ("--jobs=2",), bundle=SHA)
    assert work._words(cell, Path("/b"), Path()) == (
        *("emulator-test", "--bundle", "/b"),
        "--jobs=2",
    )
    assert work._words(Order("k", "t", "bench"), None, Path()) == ("bench",)


def test_what_is_built_is_not_told_by_the_configuration_of_a_worker(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"SOURCE": "/elsewhere", "DEBUG": "1", "TOOLCHAIN": "llvm", "JOBS": "3", "TLS_KEY": "/k"}
    for name, value in told.items():
        monkeypatch.setenv(f"INVOKE_GOLDFISH_OOM_{name}", value)
    monkeypatch.setenv("INVOKE_RUNTIME_CONFIG", "/elsewhere.yaml")
    shows = "import os; print(*(f'{k}={v}' for k, v in os.environ.items() if 'INVOKE_' in k))"
    shown = Here(here.cache, program=(PROGRAM[0], "-c", shows), grace=0.5)
    line = work.perform(Order("k", "t", ""), shown, never).line
    found = {
        name.removeprefix("INVOKE_GOLDFISH_OOM_"): value
        for name, _, value in (word.partition("=") for word in line.split())
    }
    for name in ("RESULTS", "OUTPUT", "CACHE_GIB", "KCIDB_ORIGIN"):
        found.pop(name, None)
    built = {"SOURCE": "", "EMULATOR": "qemu", "CROSS_COMPILE": "", "TOOLCHAIN": "gnu"}
    assert found == {**built, "DEBUG": "0", "JOBS": "3"}


def test_a_keeper_passes_no_ignored_signal_on(world: World, here: Here) -> None:
    with_signal = (PROGRAM[0], "-c", "import signal;print(signal.getsignal(signal.SIGTERM).name)")
    shown = Here(here.cache, program=with_signal, grace=0.5)
    assert work.perform(Order("k", "t", ""), shown, never).line == signal.SIG_DFL.name
