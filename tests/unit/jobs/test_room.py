# SPDX-License-Identifier: MIT
"""The cache keeps itself below its size, and takes nothing from any run that uses it."""

from __future__ import annotations

import errno
import fcntl
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from stand_ins import start_python, wait_for

from harness.core.cache import Cache
from harness.core.errors import UsageError
from harness.core.paths import REPO
from harness.jobs import entries as entries_module
from harness.jobs.entries import entries
from harness.jobs.room import keep_below, limit_of, make_room

SIZE = 100_000
# Room for two entries of SIZE, and for the folders.
TWO = 2.5 * SIZE


def fill(folder: Path, size: int = SIZE) -> None:
    (folder / "file").write_bytes(b"x" * size)


def age(folder: Path, days: float) -> None:
    when = time.time() - days * 86400
    os.utime(folder, (when, when))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A cache in which another run has left four entries: `a` is the longest unused."""
    cache = Cache(tmp_path / "cache")
    for days, key in zip((4, 3, 2, 1), "abcd", strict=True):
        age(cache.ensure("kernel", key, fill), days)
    return cache.root


@pytest.fixture
def cache(root: Path) -> Cache:
    return Cache(root)


def names(cache: Cache) -> str:
    """The keys of the kind `kernel`, with what was half made or removed."""
    return " ".join(sorted(path.name for path in (cache.root / "kernel").iterdir()))


def test_what_was_unused_for_longest_goes(cache: Cache) -> None:
    said: list[str] = []
    keep_below(cache, TWO, said.append)
    assert names(cache) == "c d"
    assert len(said) == 1
    assert said[0].startswith("the cache: 2 entries removed, ")
    keep_below(cache, TWO / 2, said.append)
    assert names(cache) == "c d", "nothing was put in since"
    cache.ensure("kernel", "e", fill)
    keep_below(cache, TWO, said.append)
    assert names(cache) == "d e"
    assert said[1].startswith("the cache: kernel/c removed, ")


def test_a_use_makes_an_entry_young(cache: Cache, root: Path) -> None:
    Cache(root).ensure("kernel", "a", lambda _: pytest.fail("it is there"))
    assert make_room(cache, TWO)
    assert names(cache) == "a d"


def test_what_fits_stays(cache: Cache) -> None:
    said: list[str] = []
    keep_below(cache, 10 * SIZE, said.append)
    keep_below(cache, math.inf, said.append)
    assert (names(cache), said) == ("a b c d", [])


def test_a_run_may_need_more_than_the_limit(cache: Cache) -> None:
    cache.ensure("kernel", "a", lambda _: pytest.fail("it is there"))
    assert cache.has("kernel", "b")
    cache.used(cache.path("kernel", "c"))
    cache.ensure("kernel", "e", fill)
    for run in (cache, Cache(cache.root)):
        assert make_room(run, 1) is not None
        assert names(cache) == "a b c e"
        assert cache.has_grown(), "the next run tries again"


def test_a_tree_in_which_a_run_builds_stays(cache: Cache, root: Path) -> None:
    tree = root / "trees" / "linux"
    tree.mkdir(parents=True)
    fill(tree)
    age(tree, 9)
    with Cache(root).lock("tree-linux"):
        make_room(cache, 1)
        assert tree.is_dir()
    make_room(cache, 1)
    assert not tree.exists()


def test_what_is_being_made_stays(cache: Cache, root: Path) -> None:
    partial = root / "kernel" / ".new.partial"
    partial.mkdir()
    with Cache(root).lock("kernel-new"):
        make_room(cache, 10 * SIZE)
        assert partial.is_dir()
    make_room(cache, 10 * SIZE)
    assert names(cache) == "a b c d"


# --- several processes -------------------------------------------------------

USER = """
import sys, time
from pathlib import Path
from harness.core.cache import Cache
cache = Cache(Path(sys.argv[1]))
cache.ensure("kernel", "a", lambda folder: sys.exit("it was there"))
Path(sys.argv[2]).touch()
time.sleep(600)
"""


def test_what_another_process_uses_stays_until_it_ends(
    cache: Cache, root: Path, tmp_path: Path
) -> None:
    user = start_python(USER, root, tmp_path / "begun")
    try:
        wait_for(tmp_path / "begun", user)
        age(root / "kernel" / "a", 9)
        make_room(cache, 1)
        assert names(cache) == "a"
    finally:
        user.send_signal(signal.SIGKILL)
        user.communicate()
    make_room(cache, 1)
    assert names(cache) == ""


def test_no_run_gets_a_lease_while_an_entry_is_moved(
    cache: Cache, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even the first lease: an older version of the harness takes none."""
    for file in (root / "locks").glob("*.use"):
        file.unlink()
    rename, refused = Path.rename, []

    def tried(path: Path, target: Path) -> Path:
        with (root / "locks" / f"kernel-{path.name}.use").open("a") as lease:
            try:
                fcntl.flock(lease, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                refused.append(path.name)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", tried)
    make_room(cache, 1)
    assert refused == ["a", "b", "c", "d"]


# A run that uses entries, and finds each whole for as long as it uses it.
WHOLE = """
import sys
from pathlib import Path
from harness.core.cache import Cache

def make(folder):
    for name in "abcdefgh":
        (folder / name).write_text("content")

for number in range(150):
    cache = Cache(Path(sys.argv[1]))
    entry = cache.ensure("kernel", f"shared{number % 3}", make)
    for _ in range(3):
        found = {path.name: path.read_text() for path in entry.iterdir() if path.name != ".seal"}
        assert found == dict.fromkeys("abcdefgh", "content"), (number, found)
"""

CLEANER = """
import sys
from pathlib import Path
from harness.core.cache import Cache
from harness.jobs.room import make_room

removed = 0
while not Path(sys.argv[2]).exists():
    made = make_room(Cache(Path(sys.argv[1])), 1)
    removed += len(made.removed) if made else 0
    assert made is None or not made.refused, made.refused
print(removed)
"""


@pytest.fixture
def cleaners(root: Path, tmp_path: Path) -> Iterator[list[subprocess.Popen[str]]]:
    """Two processes that remove all that they may, until there is the file `end`."""
    running = [
        start_python(CLEANER, root, tmp_path / "end", stdout=subprocess.PIPE) for _ in range(2)
    ]
    yield running
    (tmp_path / "end").touch()
    for one in running:
        one.wait(120)


def test_users_and_cleaners_at_once(
    root: Path, tmp_path: Path, cleaners: list[subprocess.Popen[str]]
) -> None:
    users = [start_python(WHOLE, root) for _ in range(2)]
    problems = [user.communicate(timeout=300)[1] for user in users]
    assert ([user.returncode for user in users], problems) == ([0, 0], ["", ""])
    (tmp_path / "end").touch()
    told = [cleaner.communicate(timeout=120) for cleaner in cleaners]
    assert [problem for _, problem in told] == ["", ""]
    # Not only the four that were there first.
    assert sum(int(removed) for removed, _ in told) > 4


INTERRUPTED = """
import shutil, sys, time
from pathlib import Path
from harness.core.cache import Cache
from harness.jobs.room import make_room

def half(path):
    next(Path(path).glob("f*")).unlink()
    Path(sys.argv[2]).touch()
    time.sleep(600)

shutil.rmtree = half
make_room(Cache(Path(sys.argv[1])), 1)
"""


def test_a_removal_that_was_interrupted_leaves_no_entry(
    cache: Cache, root: Path, tmp_path: Path
) -> None:
    process = start_python(INTERRUPTED, root, tmp_path / "begun")
    wait_for(tmp_path / "begun", process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    left = names(cache).split()
    assert left[0].startswith(".a.removed-")
    assert left[1:] == ["b", "c", "d"]
    assert not cache.has("kernel", "a", seal=False)
    assert (cache.ensure("kernel", "a", fill, seal=False) / "file").stat().st_size == SIZE
    make_room(Cache(root), 10 * SIZE)
    assert names(cache) == "a b c d", "the rest of it is gone, and the new one stays"


def test_only_one_run_makes_room(cache: Cache, root: Path) -> None:
    with Cache(root).lock("room"):
        assert make_room(cache, 1) is None
        keep_below(cache, 1, pytest.fail)
    assert names(cache) == "a b c d"
    assert cache.has_grown()


# --- what may be found in a cache ---------------------------------------------


def test_a_clock_that_was_set_back(cache: Cache, root: Path) -> None:
    """What seems to be of the future is not the youngest for ever."""
    age(root / "kernel" / "a", -1000)
    age(root / "kernel" / "b", -900)
    Cache(root).ensure("kernel", "c", lambda _: pytest.fail("it is there"))
    make_room(cache, 3.5 * SIZE)
    assert names(cache) == "a b c", "what is certainly old goes first"
    for key in "ab":
        assert (root / "kernel" / key).stat().st_mtime <= time.time()
    Cache(root).ensure("kernel", "c", lambda _: pytest.fail("it is there"))
    make_room(cache, TWO)
    assert names(cache) == "b c"


def test_entries_of_another_version(cache: Cache, root: Path) -> None:
    odd = root / "kernels2" / "long ago\nand far"
    (odd / "deep").mkdir(parents=True)
    fill(odd / "deep")
    age(odd, 50)
    (root / "kernels2" / "a file").touch()
    (root / "another file").touch()
    (root / "sizes.json").write_text('{"kernel/a": 7}')
    make_room(cache, 4.5 * SIZE)
    assert names(cache) == "a b c d"
    make_room(cache, 1)
    assert names(cache) == ""
    assert not odd.exists()
    assert (root / "kernels2" / "a file").exists()


def test_what_another_cache_lends_stays(cache: Cache, root: Path, tmp_path: Path) -> None:
    """The lender's runs use it under the lender's locks."""
    borrower = Cache(tmp_path / "borrower")
    (borrower.root / "modules").mkdir(parents=True)
    (borrower.root / "kernel").symlink_to(root / "kernel")
    (borrower.root / "modules" / "a").symlink_to(root / "kernel" / "a")
    make_room(borrower, 1)
    assert names(cache) == "a b c d"
    assert entries(borrower) == ()


UNREADABLE = """
import sys
from pathlib import Path
from harness.core.cache import Cache
from harness.jobs.room import keep_below
keep_below(Cache(Path(sys.argv[1])), 1, print)
"""


def test_a_folder_that_cannot_be_read(cache: Cache, root: Path) -> None:
    """It is no error; the others go, and what could not be removed is in nobody's way."""
    (root / "kernel" / "a").chmod(0)
    # Root may read everything, but not without these capabilities.
    powerless = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
    words = [*(powerless if os.geteuid() == 0 else []), sys.executable, "-c", UNREADABLE, str(root)]
    done = subprocess.run(words, cwd=REPO, capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert first.startswith("the cache: 3 entries removed, ")
    assert second.startswith("the cache: cannot remove ")
    assert "Permission denied" in second
    assert done.stderr == ""
    (left,) = names(cache).split()
    assert left.startswith(".a.removed-")
    cache.ensure("kernel", "a", fill)
    (root / "kernel" / left).chmod(0o700)
    make_room(Cache(root), 10 * SIZE)
    assert names(cache) == "a"


def test_what_cannot_be_removed_is_no_error(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    remove = shutil.rmtree

    def refuse(path: Path) -> None:
        if path.name.startswith(".a"):
            raise PermissionError(errno.EACCES, "not allowed", str(path))
        remove(path)

    monkeypatch.setattr(shutil, "rmtree", refuse)
    said: list[str] = []
    keep_below(cache, 3.5 * SIZE, said.append)
    assert len(said) == 2
    assert "kernel/b removed" in said[0]
    assert "cannot remove" in said[1]
    assert "not allowed" in said[1]
    monkeypatch.undo()
    make_room(cache, 10 * SIZE)
    assert names(cache) == "c d"


def test_a_cache_that_is_not_there(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("not a folder")
    for root in (in_the_way, tmp_path / "none"):
        keep_below(Cache(root), 1, pytest.fail)
    assert not (tmp_path / "none").exists()


def test_a_cache_that_cannot_be_written_to(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "rename", refuse)
    said: list[str] = []
    keep_below(cache, 1, said.append)
    assert names(cache) == "a b c d"
    assert "Read-only file system" in said[0]


# --- sizes ------------------------------------------------------------------


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the folders whose sizes are found by a walk, as they are."""
    names: list[str] = []
    measure = entries_module._measure

    def noting(paths: list[Path]) -> Iterator[tuple[Path, int]]:
        names.extend(path.name for path in paths)
        return measure(paths)

    monkeypatch.setattr(entries_module, "_measure", noting)
    return names


def test_no_size_is_found_twice(cache: Cache, root: Path, measured: list[str]) -> None:
    (root / "trees" / "linux").mkdir(parents=True)
    (root / "ccache").mkdir()
    first = entries(cache)
    assert sorted(measured) == ["a", "b", "c", "ccache", "d", "linux"]
    measured.clear()
    cache.ensure("kernel", "e", fill)
    (root / "kernel" / ".torn.partial").mkdir()
    again = {one.key: one.size for one in entries(cache)}
    assert sorted(measured) == [".torn.partial", "e"]
    assert again.pop("torn") < SIZE <= again.pop("e")
    assert again == {one.key: one.size for one in first}
    assert again["a"] >= SIZE


def test_the_size_of_what_changes_is_found_once_a_day(
    cache: Cache, root: Path, measured: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "trees" / "linux").mkdir(parents=True)
    entries(cache)
    measured.clear()
    now = time.time()
    for later, found in ((3600, []), (90_000, ["linux"]), (-90_000, ["linux"])):
        monkeypatch.setattr(time, "time", lambda later=later: now + later)
        measured.clear()
        entries(cache)
        assert measured == found
    measured.clear()
    entries(cache, fresh=True)
    assert measured == ["linux"]


# --- the setting ------------------------------------------------------------


@pytest.mark.parametrize(("value", "limit"), [("20", 20 << 30), (0.5, 1 << 29), ("0", math.inf)])
def test_the_limit(value: object, limit: float) -> None:
    assert limit_of(value) == limit


@pytest.mark.parametrize("value", ["", "-1", "much", "nan", None])
def test_what_is_no_limit(value: object) -> None:
    with pytest.raises(UsageError, match="no number of GiB"):
        limit_of(value)
