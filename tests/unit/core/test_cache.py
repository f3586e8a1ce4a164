# SPDX-License-Identifier: MIT
"""Cache entries are whole or not there, whatever happens while they are made."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stand_ins import start_python, wait_for

from harness.core import cache as cache_module
from harness.core.cache import Cache, digest, disk_full_named, file_sha256, tree_digest
from harness.core.errors import DiskFullError, InfrastructureError, RunEndedError
from harness.core.lifetime import stopped_by


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def fill(folder: Path) -> None:
    (folder / "file").write_text("content")


def failing(error: BaseException) -> Callable[[Path], None]:
    """Return what fills an entry in part, and fails."""

    def make(folder: Path) -> None:
        fill(folder)
        raise error

    return make


def left_behind(cache: Cache) -> list[str]:
    return [path.name for path in cache.root.glob("kind/*")]


def test_an_entry_is_made_once(cache: Cache) -> None:
    made: list[Path] = []

    def make(folder: Path) -> None:
        made.append(folder)
        fill(folder)

    first = cache.ensure("kind", "key", make)
    assert cache.ensure("kind", "key", make) == first
    assert (first / "file").read_text() == "content"
    assert len(made) == 1
    assert not made[0].exists()


@pytest.mark.parametrize(
    ("culprit", "content"),
    [
        ("folder/large", b""),
        ("folder/large", b"x" * 1_500_000 + b"y" + b"x" * 499_999),
        ("file", None),
        (".seal", b""),
        (".seal", b"[]"),
    ],
    ids=["cut short", "changed", "taken away", "an empty seal", "another seal"],
)
def test_a_damaged_entry_is_made_once_more(
    tmp_path: Path, culprit: str, content: bytes | None
) -> None:
    def make(folder: Path) -> None:
        fill(folder)
        (folder / "folder").mkdir()
        (folder / "folder" / "large").write_bytes(b"x" * 2_000_000)
        (folder / "link").symlink_to("/nowhere")

    entry = Cache(tmp_path).ensure("kind", "key", make)
    (entry / culprit).unlink()
    if content is not None:
        (entry / culprit).write_bytes(content)
    said: list[str] = []
    cache = Cache(tmp_path, said.append)
    assert not cache.has("kind", "key")
    assert cache.ensure("kind", "key", make) == entry
    assert said == [f"{entry} is damaged ({culprit}): made once more"]
    assert cache.has("kind", "key")
    assert Cache(tmp_path).has("kind", "key")
    assert left_behind(cache) == ["key"]


def test_an_entry_without_a_seal_is_as_it_is(tmp_path: Path) -> None:
    entry = Cache(tmp_path).ensure("kind", "key", fill, seal=False)
    (entry / "file").unlink()
    assert Cache(tmp_path).has("kind", "key", seal=False)
    assert Cache(tmp_path).ensure("kind", "key", fill, seal=False) == entry
    assert not (entry / "file").exists()
    assert not Cache(tmp_path).has("kind", "key")


def test_a_cache_that_cannot_be_read_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = Cache(tmp_path).ensure("kind", "key", fill)

    def refuse(_: Path) -> str:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(cache_module, "file_sha256", refuse)
    with pytest.raises(InfrastructureError, match="cannot read the cache"):
        Cache(tmp_path).ensure("kind", "key", fill)
    assert (entry / "file").exists()


def test_what_editors_keep_beside_a_file_is_in_no_digest(tmp_path: Path) -> None:
    (tmp_path / "x.c").touch()
    before = tree_digest(tmp_path)
    for name in (".x.c.swp", "x.c~", "#x.c#", "4913", "tags", ".vscode/settings.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    assert tree_digest(tmp_path) == before
    (tmp_path / "y.c").touch()
    assert tree_digest(tmp_path) != before


def test_a_thread_may_take_a_lock_again_that_it_holds(tmp_path: Path) -> None:
    other: list[bool] = []

    def take() -> None:
        with Cache(tmp_path).lock("a-lock", wait=False, again=True) as ours:
            other.append(ours)

    with Cache(tmp_path).lock("a-lock", again=True):
        with Cache(tmp_path).lock("a-lock", again=True) as ours:
            assert ours
        # It is held still: neither another thread gets it, nor somebody who does not say "again".
        thread = threading.Thread(target=take)
        thread.start()
        thread.join()
        with Cache(tmp_path).lock("a-lock", wait=False) as ours:
            assert not ours
    assert other == [False]
    with Cache(tmp_path).lock("a-lock", wait=False) as ours:
        assert ours


def test_who_is_ended_waits_for_no_other_run(tmp_path: Path) -> None:
    said: list[str] = []
    event = threading.Event()

    def say(text: str) -> None:
        said.append(text)
        event.set()

    with (
        Cache(tmp_path).lock("a-lock"),
        stopped_by(event),
        pytest.raises(RunEndedError),
        Cache(tmp_path, say).lock("a-lock"),
    ):
        pytest.fail("the lock is not ours")
    assert said == ["waiting for another run (a-lock)"]


@pytest.mark.parametrize("error", [ValueError(), KeyboardInterrupt(), SystemExit()])
def test_a_make_that_fails_leaves_nothing(cache: Cache, error: BaseException) -> None:
    with pytest.raises(type(error)):
        cache.ensure("kind", "key", failing(error))
    assert left_behind(cache) == []
    assert cache.ensure("kind", "key", fill).is_dir()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named(cache: Cache, number: int) -> None:
    with pytest.raises(DiskFullError, match="no space left") as caught:
        cache.ensure("kind", "key", failing(OSError(number, os.strerror(number))))
    assert str(cache.root) in caught.value.message
    assert left_behind(cache) == []


def test_other_errors_of_the_system_are_not_called_a_full_disk(cache: Cache) -> None:
    inside = str(cache.path("kind", ".key.partial"))
    with pytest.raises(OSError, match="no"):
        cache.ensure("kind", "key", failing(OSError(errno.EIO, "no", inside)))
    with pytest.raises(InfrastructureError, match="cannot write to the cache") as caught:
        cache.ensure("kind", "key", failing(OSError(errno.EACCES, "no", inside)))
    assert not isinstance(caught.value, DiskFullError)


def test_a_really_full_disk(tmp_path: Path) -> None:
    """/dev/full answers every write with ENOSPC, as a full disk does."""

    def make(folder: Path) -> None:
        (folder / "link").symlink_to("/dev/full")
        with (folder / "link").open("wb", buffering=0) as stream:
            stream.write(b"x")

    with pytest.raises(DiskFullError):
        Cache(tmp_path).ensure("kind", "key", make)
    assert left_behind(Cache(tmp_path)) == []


def test_what_cannot_be_removed_is_named(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "no", str(path))

    monkeypatch.setattr(shutil, "rmtree", refuse)
    with pytest.raises(InfrastructureError, match="half-made") as caught:
        cache.ensure("kind", "key", fill)
    assert ".key.partial" in caught.value.hint


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("not a folder")
    with pytest.raises(InfrastructureError, match="cannot write to the cache"):
        Cache(in_the_way).ensure("kind", "key", fill)


PROGRAM = """
import sys, time
from pathlib import Path
from harness.core.cache import Cache

def make(folder):
    with open(sys.argv[2], "a") as made:
        made.write("made\\n")
    (folder / "half").write_text("half")
    Path(sys.argv[2] + ".begun").touch()
    time.sleep(float(sys.argv[3]))
    (folder / "file").write_text("content")

print(Cache(Path(sys.argv[1])).ensure("kind", "key", make))
"""


def start(cache: Cache, journal: Path, seconds: float) -> subprocess.Popen[str]:
    return start_python(PROGRAM, cache.root, journal, seconds, stdout=subprocess.PIPE)


def test_two_runs_at_once_make_it_once(cache: Cache, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    runs = [start(cache, journal, 0.5) for _ in range(2)]
    answers = {run.communicate(timeout=120)[0].strip() for run in runs}
    assert [run.returncode for run in runs] == [0, 0]
    assert answers == {str(cache.path("kind", "key"))}
    assert journal.read_text() == "made\n"


def test_kill_9_leaves_no_entry_and_no_lock(cache: Cache, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    run = start(cache, journal, 60)
    wait_for(Path(f"{journal}.begun"))
    run.send_signal(signal.SIGKILL)
    run.communicate(timeout=120)
    assert left_behind(cache) == [".key.partial"]
    entry = cache.ensure("kind", "key", fill)
    assert sorted(path.name for path in entry.iterdir()) == [".seal", "file"]
    assert left_behind(cache) == ["key"]


@given(st.lists(st.binary(max_size=4)), st.lists(st.binary(max_size=4)))
def test_digest_tells_lists_apart(one: list[bytes], other: list[bytes]) -> None:
    assert (digest(*one) == digest(*other)) == (one == other)


def test_digest_of_text_is_that_of_its_bytes() -> None:
    assert digest("é") == digest("é".encode())


def test_file_sha256(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    assert file_sha256(path).startswith("ba7816bf8f01cfea")


def test_tree_digest_follows_names_and_contents(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "file").write_text("one")
    before = tree_digest(tree)
    (tree / "__pycache__").mkdir()
    (tree / "__pycache__" / "x.pyc").write_text("compiled")
    assert tree_digest(tree) == before
    (tree / "sub" / "file").write_text("two")
    changed = tree_digest(tree)
    (tree / "sub" / "file").rename(tree / "sub" / "other")
    assert len({before, changed, tree_digest(tree)}) == 3


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_folder_of_somebody_else_is_named(number: int, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    for refused in (tmp_path, cache / "locks"):
        with (
            pytest.raises(InfrastructureError, match="cannot write to the cache: ") as caught,
            disk_full_named(cache),
        ):
            raise OSError(number, os.strerror(number), str(refused))
        assert "XDG_CACHE_HOME" in caught.value.hint
    with pytest.raises(OSError, match="elsewhere"), disk_full_named(cache):
        raise OSError(number, os.strerror(number), "/elsewhere")
