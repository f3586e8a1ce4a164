# SPDX-License-Identifier: MIT
"""A work tree follows the user's folder, whatever is done there, and never writes to it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from fakekernel import FakeRepository
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stand_ins import workspace

from harness.build.listing import Listing, list_folder, walk
from harness.build.pristine import UserFolder
from harness.build.tree_file import Overlay, TreeFile, read_file, write_file
from harness.build.work_tree import WorkTree
from harness.core.errors import (
    DiskFullError,
    InfrastructureError,
    SourceError,
    SourceMovedError,
)
from harness.ui.workspace import Workspace


def files_of(folder: Path) -> dict[str, TreeFile]:
    found = {file.name: read_file(folder / file.name) for file in walk(folder)}
    return {name: file for name, file in found.items() if file is not None}


def times_of(folder: Path) -> dict[str, int]:
    return {file.name: file.status.st_mtime_ns for file in walk(folder)}


def patched(folder: Path, overlay: Overlay) -> dict[str, TreeFile]:
    both: Mapping[str, TreeFile | None] = {**files_of(folder), **overlay}
    return {name: file for name, file in both.items() if file is not None}


def later(folder: Path) -> int:
    """Waits until the clock that files' times are taken from has gone on; returns its time."""
    probe = folder / "probe"
    probe.touch()
    before = now = probe.stat().st_mtime_ns
    while now == before:
        probe.touch()
        now = probe.stat().st_mtime_ns
    return now


class Folder:
    """A user's folder, and its work tree."""

    def __init__(self, place: Path) -> None:
        self.root = place / "mine"
        self.root.mkdir(parents=True)
        self.ws: Workspace = workspace(place / "cache")
        self.folder = place / "tree"
        self.folder.mkdir()

    def listing(self) -> Listing:
        return list_folder(self.ws, self.root, list(walk(self.root)), frozenset())[0]

    @property
    def work(self) -> WorkTree:
        return WorkTree(self.folder, UserFolder(self.listing()))

    def write(self, **texts: str) -> None:
        for name, text in texts.items():
            write_file(self.root / name.replace("__", "/"), TreeFile(text.encode(), "file"))

    def sync(self, overlay: Overlay | None = None) -> list[str]:
        """Synchronise, and check what is always so."""
        before, files = times_of(self.root), overlay or {}
        written = self.work.sync(files)
        assert times_of(self.root) == before
        assert files_of(self.work.tree) == patched(self.root, files)
        assert not self.work.half_applied()
        return written


@pytest.fixture
def mine(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "one")


# --- random edits --------------------------------------------------------------------

# Few names, so that files, folders and links take each other's places; a name that is no text.
NAMES = ("a", "a/b", "a/c.h", "d/c.h", "d/e/f", "d", "Makefile", os.fsdecode(b"d/\xff"))
Step = Callable[[Path], None]


def _clear(root: Path, name: str) -> Path:
    """Make room for a file: what is in its way goes."""
    place = root
    for part in name.split("/")[:-1]:
        place /= part
        if place.is_symlink() or place.is_file():
            place.unlink()
    place.mkdir(parents=True, exist_ok=True)
    place = root / name
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    return place


def _write(name: str, data: bytes, old: bool, program: bool) -> Step:
    def do(root: Path) -> None:
        place = _clear(root, name)
        place.write_bytes(data)
        place.chmod(0o755 if program else 0o664)
        if old:
            # As a checkout of tar or rsync sets it, long before what is there was built.
            os.utime(place, ns=(10**9, 10**9))

    return do


def _overwrite(name: str, data: bytes) -> Step:
    """In place, with the same inode and, as far as one can set it, the same times."""

    def do(root: Path) -> None:
        place = root / name
        if place.is_file() and not place.is_symlink():
            status = place.stat()
            place.write_bytes(data)
            os.utime(place, ns=(status.st_atime_ns, status.st_mtime_ns))

    return do


def _remove(name: str) -> Step:
    def do(root: Path) -> None:
        with suppress(NotADirectoryError):
            _clear(root, name) if os.path.lexists(root / name) else None

    return do


def _rename(name: str, to: str) -> Step:
    def do(root: Path) -> None:
        if os.path.lexists(root / name) and not to.startswith(f"{name}/") and name != to:
            kept = root / "kept"
            (root / name).rename(kept)
            kept.rename(_clear(root, to))

    return do


def _link(name: str, to: str) -> Step:
    return lambda root: _clear(root, name).symlink_to(to)


names = st.sampled_from(NAMES)
data = st.sampled_from([b"", b"x", b"y"])
edit = st.one_of(
    st.builds(_write, names, data, st.booleans(), st.booleans()),
    st.builds(_overwrite, names, data),
    st.builds(_remove, names),
    st.builds(_rename, names, names),
    st.builds(_link, names, st.sampled_from(["d", "a", ".", "nowhere", "c.h"])),
)
# What the patches put there; one may take the place of a folder of the user's.
overlays = st.dictionaries(
    st.sampled_from(["Makefile", "d/c.h", "new/x.c", "a/c.h"]),
    st.one_of(st.none(), data.map(lambda one: TreeFile(one, "file"))),
    max_size=2,
)


def fits(root: Path, overlay: Overlay) -> bool:
    """Whether a patch could give that: no file of the user's is where a folder has to be."""
    return all(
        not (root / path).is_dir()
        and all(
            ((root / parent).is_dir() and not (root / parent).is_symlink())
            or not os.path.lexists(root / parent)
            for parent in Path(path).parents
        )
        for path in overlay
    )


def make(work: WorkTree) -> None:
    """As make does it: an object that is older than its source, through all links, is made anew."""
    for name in NAMES:
        source, made = work.tree / name, work.build / f"{name}.o"
        if source.is_file() and (
            not made.is_file() or made.stat().st_mtime_ns < source.stat().st_mtime_ns
        ):
            made.parent.mkdir(parents=True, exist_ok=True)
            made.write_bytes(source.read_bytes())


def texts(folder: Path, end: str = "") -> dict[str, bytes]:
    """What is read by each name, through all links."""
    places = {name: folder / f"{name}{end}" for name in NAMES}
    return {name: place.read_bytes() for name, place in places.items() if place.is_file()}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(st.tuples(st.lists(edit, max_size=4), overlays, st.integers(-1, 4)), max_size=5))
def test_a_work_tree_is_what_a_fresh_one_would_be(
    tmp_path: Path, rounds: list[tuple[list[Step], Overlay, int]]
) -> None:
    shutil.rmtree(tmp_path / "any", ignore_errors=True)
    mine = Folder(tmp_path / "any")
    for edits, overlay, killed_after in rounds:
        for step in edits:
            step(mine.root)
        files = overlay if fits(mine.root, overlay) else {}
        before = times_of(mine.work.tree) if mine.work.tree.is_dir() else {}
        contents = files_of(mine.work.tree) if before else {}
        started = later(tmp_path)
        with killed(killed_after) as was_killed:
            mine.work.sync(files)
        if was_killed:
            continue
        mine.sync(files)
        for name, file in files_of(mine.work.tree).items():
            # make has to see what changed, whatever time it has in the user's folder.
            if before and contents.get(name) != file:
                assert times_of(mine.work.tree)[name] >= started
        make(mine.work)
        assert texts(mine.work.build, ".o") == texts(mine.work.tree)
        assert mine.sync(files) == []


class Killed(BaseException):
    pass


class killed:  # noqa: N801
    """A run that is killed before it writes its `count`th file; -1: it is not."""

    def __init__(self, count: int) -> None:
        self._left = count
        self._patch = pytest.MonkeyPatch()
        self._was: list[bool] = []

    def __enter__(self) -> list[bool]:
        def write(path: Path, file: TreeFile, scratch: Path | None = None) -> None:
            if self._left == 0:
                raise Killed
            self._left -= 1
            write_file(path, file, scratch)

        self._patch.setattr("harness.build.work_tree.write_file", write)
        return self._was

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        self._patch.undo()
        if kind is Killed:
            self._was.append(True)
        return kind is Killed


def test_a_link_in_a_folders_place_leads_to_nobody_elses_files(mine: Folder) -> None:
    mine.write(foo__a="1", bar__a="1")
    mine.sync()
    shutil.rmtree(mine.root / "foo")
    (mine.root / "foo").symlink_to("bar")
    mine.write(z="1")
    with killed(1) as was_killed:
        mine.work.sync({})
    assert was_killed
    # The link is there, and foo/a in doubt: it is not bar/a.
    assert (mine.work.tree / "foo").is_symlink()
    mine.sync()


@pytest.mark.parametrize("place", ["mm/x.c", "foo/x.c", "mm/y.c"])
def test_a_link_that_leads_elsewhere_leaves_no_stale_object(mine: Folder, place: str) -> None:
    for name in ("mm/a.c", "mm/b.c", "mm/y.c", "bar/x.c", "baz/x.c"):
        _write(name, b"b" if "b.c" in name or "baz" in name else b"a", True, False)(mine.root)
    _link("mm/x.c", "a.c")(mine.root)
    _link("foo", "bar")(mine.root)
    mine.sync()
    mine.work.build.mkdir()
    link, goal = ("foo", "baz") if place == "foo/x.c" else (place, "b.c")
    _link(link, goal)(mine.root)
    mine.sync()
    assert (mine.work.tree / place).read_text() == "b"
    assert not mine.work.build.exists()


# --- what happens in a kernel's tree -------------------------------------------------


def test_only_what_changed_is_written(mine: Folder) -> None:
    mine.write(a__x="1", a__y="1", b="1")
    mine.sync()
    before = times_of(mine.work.tree)
    mine.write(a__x="2")
    assert mine.sync() == ["a/x"]
    after = times_of(mine.work.tree)
    assert {name for name in after if after[name] != before[name]} == {"a/x"}


def test_a_touched_file_is_not_built_again(mine: Folder) -> None:
    mine.write(a="1")
    mine.sync()
    before = times_of(mine.work.tree)
    (mine.root / "a").touch()
    assert mine.sync() == []
    assert times_of(mine.work.tree) == before


def test_a_file_that_our_patch_touches_is_edited(mine: Folder) -> None:
    mine.write(a="1", b="1")
    mine.sync({"a": TreeFile(b"1 and ours", "file")})
    mine.write(a="2")
    # The patched file is as it was: the edit is part of it only if the patch says so.
    assert mine.sync({"a": TreeFile(b"1 and ours", "file")}) == []
    assert mine.sync({"a": TreeFile(b"2 and ours", "file")}) == ["a"]
    assert mine.sync() == ["a"]
    assert (mine.work.tree / "a").read_text() == "2"


def test_an_edit_that_is_undone_is_written_again(mine: Folder) -> None:
    mine.write(a="1")
    mine.sync()
    key = mine.listing().key
    mine.write(a="2")
    assert mine.sync() == ["a"]
    before = times_of(mine.work.tree)["a"]
    later(mine.folder)
    mine.write(a="1")
    os.utime(mine.root / "a", ns=(1, 1))
    assert mine.sync() == ["a"]
    assert times_of(mine.work.tree)["a"] > before
    assert mine.listing().key == key


def test_a_save_in_the_middle_of_the_copy_is_seen(
    mine: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine.write(a="1", b="1")
    mine.sync()
    mine.write(a="2", b="2")

    def save(path: Path, file: TreeFile, scratch: Path | None = None) -> None:
        write_file(path, file, scratch)
        mine.write(a="3")

    work = mine.work
    with monkeypatch.context() as patch:
        patch.setattr("harness.build.work_tree.write_file", save)
        with pytest.raises(SourceMovedError, match=r"mine changed while it was read: a\n"):
            work.sync({})
    assert work.half_applied()
    # Also where it is taken back before somebody looks.
    mine.write(a="1", b="1")
    mine.sync()


def test_a_save_in_the_middle_of_the_first_copy_is_seen(
    mine: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine.write(a="1", b="1")
    listing = mine.listing()
    real = Listing.moved
    looked: list[int] = []

    def moved(self: Listing) -> list[str]:
        looked.append(1)
        if len(looked) == 1:
            # It was copied in this state, which is gone again when the next listing is made.
            mine.write(a="2")
            (mine.folder / "source.new/a").write_text("2")
        return real(self)

    monkeypatch.setattr(Listing, "moved", moved)
    with pytest.raises(SourceMovedError):
        WorkTree(mine.folder, UserFolder(listing)).sync({})
    monkeypatch.undo()
    mine.write(a="1")
    assert mine.listing().key == listing.key
    assert mine.sync() == ["a"]


@pytest.mark.parametrize("instead", ["b2", "b/c"], ids=["another name", "a folder"])
def test_a_file_that_goes_in_the_middle_of_the_first_copy_leaves_the_tree(
    mine: Folder, monkeypatch: pytest.MonkeyPatch, instead: str
) -> None:
    mine.write(a="1", b="1")
    work, real = mine.work, Listing.moved

    def moved(listing: Listing) -> list[str]:
        # It has been copied by now.
        monkeypatch.undo()
        assert (mine.folder / "source.new/b").is_file()
        (mine.root / "b").unlink()
        write_file(mine.root / instead, TreeFile(b"1", "file"))
        return real(listing)

    monkeypatch.setattr(Listing, "moved", moved)
    with pytest.raises(SourceMovedError):
        work.sync({})
    mine.sync()


@pytest.mark.parametrize("text", [None, "", "[]"])
def test_a_tree_of_which_nothing_is_known_is_made_anew(mine: Folder, text: str | None) -> None:
    mine.write(a="1", b="1")
    mine.sync()
    mine.work.build.mkdir()
    (mine.root / "b").unlink()
    record = mine.folder / "pristine.json"
    record.unlink() if text is None else record.write_text(text)
    mine.sync()
    assert not mine.work.build.exists()


def test_the_copy_of_a_read_only_folder_can_be_written_to(
    mine: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Several commands copy to one folder.
    monkeypatch.setattr("harness.build.pristine._NAMES_AT_ONCE", 1)
    mine.write(d__e__x="1", d__e__y="1", d__z="1")
    (mine.root / "d/e/y").chmod(0o555)
    folders = [mine.root / name for name in ("d/e", "d", ".")]
    for path in (mine.root / "d/z", *folders):
        path.chmod(0o555 if path.is_dir() else 0o444)
    mine.sync()
    copies = [mine.work.tree / path.relative_to(mine.root) for path in folders]
    assert [path.stat().st_mode & 0o700 for path in copies] == [0o700] * 3
    assert (mine.work.tree / "d/e/y").stat().st_mode & 0o100


@pytest.mark.parametrize(
    ("said", "error"),
    [("Input/output error", SourceError), ("No space left on device", DiskFullError)],
)
def test_a_copy_that_fails_for_another_reason_is_told(
    mine: Folder, put_on_path: Callable[[str, str], Path], said: str, error: type[Exception]
) -> None:
    mine.write(a="1")
    put_on_path("cp", f"echo cp: a: {said}; exit 1")
    with pytest.raises(error) as caught:
        mine.work.sync({})
    assert caught.type is error


def test_a_copy_that_cannot_be_removed_is_named(mine: Folder) -> None:
    mine.write(a="1")
    (mine.folder / "source.new").write_text("no folder")
    with pytest.raises(InfrastructureError, match=r"cannot remove .*source\.new"):
        mine.work.sync({})


# --- make's view of it ---------------------------------------------------------------


@pytest.fixture
def built(mine: Folder) -> Folder:
    """A folder whose work tree has a build folder with an object for each file."""
    mine.write(fs__one_c="1", include__x_h="1", fs__x_h="1", scripts__s="1", lib__x_sh="1")
    for place in list(mine.root.rglob("*_*")):
        place.rename(place.with_name(place.name.replace("_", ".")))
    mine.sync()
    for name in ("fs/one.o", "fs/.one.o.cmd", "fs/built-in.a", "fs/ones.o"):
        write_file(mine.work.build / name, TreeFile(b"", "file"))
    return mine


def objects(mine: Folder) -> set[str]:
    return {file.name for file in walk(mine.work.build)} if mine.work.build.exists() else set()


def test_the_objects_of_a_removed_file_go(built: Folder) -> None:
    (built.root / "fs/one.c").unlink()
    built.sync()
    assert objects(built) == {"fs/built-in.a", "fs/ones.o"}


def test_the_objects_go_before_the_file(built: Folder) -> None:
    """Otherwise nobody would know of them after a run that was killed in between."""
    (built.root / "fs/one.c").unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WorkTree, "_remove", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            built.work.sync({})
    assert (built.work.tree / "fs/one.c").is_file()
    assert "fs/one.o" not in objects(built)
    built.sync()


def test_a_header_that_a_new_one_hides_counts_as_changed(built: Folder) -> None:
    before = times_of(built.work.tree)
    later(built.folder)
    write_file(built.root / "drivers/x.h", TreeFile(b"1", "file"))
    assert built.sync() == ["drivers/x.h"]
    after = times_of(built.work.tree)
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {"include/x.h", "fs/x.h"}


@pytest.mark.parametrize("name", ["build/fs/one.o", "state.json"])
def test_what_was_built_before_the_clock_was_set_back_goes(built: Folder, name: str) -> None:
    """An edit of now would look older than an object of then."""
    hour_ahead = later(built.folder) + 3600 * 10**9
    os.utime(built.folder / name, ns=(hour_ahead, hour_ahead))
    built.sync()
    assert objects(built) == set()
    write_file(built.work.build / "fs/one.o", TreeFile(b"", "file"))
    built.sync()
    assert objects(built) == {"fs/one.o"}


@pytest.mark.parametrize("name", ["scripts/s", "lib/x.sh"])
def test_another_script_has_everything_built_anew(built: Folder, name: str) -> None:
    (built.root / name).write_text("2")
    built.sync()
    assert objects(built) == set()


def test_two_folders_have_two_trees_and_one_key(fake: FakeRepository) -> None:
    from harness.build.source import fetch

    copy = fake.folder / "copy"
    shutil.copytree(fake.pristine, copy, symlinks=True)
    one, two = (fetch(fake.ws, fake.target, str(path)) for path in (fake.pristine, copy))
    assert one.key == two.key
    trees = {WorkTree.of(fake.ws, source).folder for source in (one, two)}
    assert len(trees) == 2
    (fake.pristine / "Kconfig").open("a").write("# more\n")
    changed = fetch(fake.ws, fake.target, str(fake.pristine))
    assert changed.key != one.key
    assert WorkTree.of(fake.ws, changed).folder in trees
