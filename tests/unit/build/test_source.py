# SPDX-License-Identifier: MIT
"""Kernel sources: what is accepted, what is refused, and what the errors say."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import shutil
import socket
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from archive import Archive, make_deb
from fakekernel import TREE, FakeRepository
from hypothesis import given
from hypothesis import strategies as st
from stand_ins import script

from harness.build import debian, git_source
from harness.build.git_source import checkout, fetch_argv, ls_remote_argv, parse_git_source
from harness.build.listing import FoundFile, shown
from harness.build.source import (
    KernelSource,
    check_version,
    fetch,
    tree_version,
)
from harness.build.tree_file import read_file
from harness.build.work_tree import WorkTree
from harness.core.cache import digest
from harness.core.errors import (
    CommandError,
    DownloadError,
    HarnessError,
    SourceError,
    SourceMovedError,
    UsageError,
)
from harness.targets.linux_6_1 import LINUX_6_1
from harness.targets.model import GitSource

PutOnPath = Callable[[str, str], Path]


def files_of(folder: Path) -> dict[str, object]:
    return {
        path.relative_to(folder).as_posix(): read_file(path)
        for path in folder.rglob("*")
        if not path.is_dir() or path.is_symlink()
    }


def fetched(fake: FakeRepository, source: object = None) -> KernelSource:
    """The source of the target: its own, or what `source` names."""
    return fetch(fake.ws, fake.target, None if source is None else str(source))


def key_of(fake: FakeRepository) -> str:
    """The key of the tree in the repository."""
    return fetched(fake, fake.pristine).key


def copied(fake: FakeRepository, source: KernelSource) -> Path:
    """The unpatched copy of a directory."""
    tree = WorkTree.of(fake.ws, source)
    with tree.lock(fake.ws):
        tree.sync({})
    return tree.tree


def refused(
    fake: FakeRepository,
    source: object,
    message: str | None = None,
    error: type[HarnessError] = SourceError,
) -> HarnessError:
    """The error for a source, which leaves no entry."""
    with pytest.raises(error, match=message) as caught:
        fetched(fake, source)
    assert not list((fake.ws.cache.root / "sources").glob("*"))
    return caught.value


# --- versions ---------------------------------------------------------------


def test_the_version_is_read_from_the_makefile(tmp_path: Path) -> None:
    assert tree_version(TREE) == "6.1.99"
    (tmp_path / "Makefile").write_text("VERSION = 3\nPATCHLEVEL = 4\nSUBLEVEL = 67\n")
    assert tree_version(tmp_path) == "3.4.67"
    (tmp_path / "Makefile").write_text(
        "VERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 0\nEXTRAVERSION = -rc1\n"
    )
    assert tree_version(tmp_path) == "6.1.0-rc1"


def test_a_folder_that_is_no_kernel_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="not a kernel tree"):
        tree_version(tmp_path)
    (tmp_path / "Makefile").write_text("all:\n")
    with pytest.raises(SourceError, match="not a kernel tree"):
        tree_version(tmp_path)


@pytest.mark.parametrize("version", ["6.1", "6.1.0", "6.1.192", "6.1-rc8", "6.1.9-x"])
def test_versions_of_the_target(version: str) -> None:
    check_version(version, LINUX_6_1, "it")


@pytest.mark.parametrize("version", ["6.12.1", "6.10", "5.6.1", "16.1.1", "3.4.67"])
def test_other_versions_are_named_together_with_the_right_one(version: str) -> None:
    with pytest.raises(SourceError) as caught:
        check_version(version, LINUX_6_1, "/some/tree")
    assert caught.value.message == f"/some/tree is Linux {version}, but linux-6.1 needs 6.1"


# --- a directory ------------------------------------------------------------


def test_a_directory_is_copied_without_git_and_left_alone(
    fake: FakeRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.build.listing._SETTLED_NS", -(10**12))
    given_tree = fake.pristine
    (given_tree / ".git").mkdir()
    (given_tree / ".git" / "config").write_text("x")
    before = files_of(given_tree)
    source = fetched(fake, given_tree)
    assert source.version == "6.1.99"
    assert files_of(copied(fake, source)) == files_of(TREE)
    assert files_of(given_tree) == before
    assert copied(fake, source).is_relative_to(fake.ws.cache.root)
    assert fetched(fake, given_tree) == source
    assert "fetch kernel source: up to date" in fake.said.getvalue()


def test_a_changed_directory_is_another_source(fake: FakeRepository) -> None:
    keys = {fetched(fake, fake.pristine).key}
    file = fake.pristine / "mm/page_alloc.c"
    text, times = file.read_text(), file.stat()
    # As long, and as old, as before: only the content tells.
    file.write_text(text.replace("taken", "TAKEN"))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    keys.add(fetched(fake, fake.pristine).key)
    file.chmod(0o755)
    keys.add(fetched(fake, fake.pristine).key)
    (fake.pristine / "link").symlink_to("mm")
    keys.add(fetched(fake, fake.pristine).key)
    assert len(keys) == 4


def test_a_directory_that_has_settled_is_read_once(
    fake: FakeRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.build.listing._SETTLED_NS", -(10**12))
    key = key_of(fake)
    (memory,) = (fake.ws.cache.root / "directories").iterdir()
    known = json.loads(memory.read_text())
    read: list[Path] = []

    def content(root: Path, found: FoundFile) -> str:
        read.append(root / found.name)
        return "file changed"

    with monkeypatch.context() as patched:
        patched.setattr("harness.build.listing._content", content)
        assert (key_of(fake), read) == (key, [])
        (fake.pristine / "mm/page_alloc.c").write_text("x")
        assert key_of(fake) != key
        assert read == [fake.pristine / "mm/page_alloc.c"]
    (fake.pristine / "mm/page_alloc.c").write_bytes((TREE / "mm/page_alloc.c").read_bytes())
    for text in ("damaged", "[]", json.dumps(dict.fromkeys(known, "x"))):
        memory.write_text(text)
        assert key_of(fake) == key


def test_a_file_that_was_just_written_is_read_each_time(
    fake: FakeRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = key_of(fake)
    # It may be written to again within the grain of the clock.
    monkeypatch.setattr("harness.build.listing._content", lambda *_: "file changed")
    assert key_of(fake) != key


@pytest.mark.parametrize(
    "more", ["", "\n$(error this make is too new)\n"], ids=["mrproper works", "mrproper fails"]
)
def test_the_leftovers_of_a_build_are_cleaned_in_the_copy(fake: FakeRepository, more: str) -> None:
    (fake.pristine / "Makefile").open("a").write(more)
    clean = files_of(fake.pristine)
    (fake.pristine / ".config").write_text("CONFIG_X=y\n")
    folders = [fake.pristine / "include" / name for name in ("config", "generated")]
    for folder in folders:
        folder.mkdir()
    tree = copied(fake, fetched(fake, fake.pristine))
    assert files_of(tree) == clean
    assert [path.name for path in (tree / "include").iterdir()] == ["linux"]
    assert all(path.exists() for path in (fake.pristine / ".config", *folders))


def test_a_directory_of_another_version_is_refused(fake: FakeRepository) -> None:
    makefile = fake.pristine / "Makefile"
    makefile.write_text(makefile.read_text().replace("PATCHLEVEL = 1", "PATCHLEVEL = 12"))
    refused(fake, fake.pristine, r"is Linux 6\.12\.99, but linux-6\.1 needs 6\.1")


# --- what else may be in a directory ---------------------------------------------


def make_socket(path: Path) -> None:
    # A socket's path is at most 107 bytes long.
    folder = os.open(path.parent, os.O_PATH)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"/proc/self/fd/{folder}/{path.name}")
    os.close(folder)


@pytest.mark.parametrize("make", [os.mkfifo, make_socket])
def test_what_is_no_file_is_left_out_and_told(
    fake: FakeRepository, make: Callable[[Path], None]
) -> None:
    before = key_of(fake)
    make(fake.pristine / "mm/odd")
    make(fake.pristine / "odd\n")
    source = fetched(fake, fake.pristine)
    assert files_of(copied(fake, source)) == files_of(TREE)
    assert source.key == before
    told = "2 pipe(s), socket(s) or device(s) left out: mm/odd, odd\\n"
    assert told in " ".join(fake.said.getvalue().split())


def test_a_pipe_for_a_makefile_is_not_waited_for(fake: FakeRepository) -> None:
    (fake.pristine / "Makefile").unlink()
    os.mkfifo(fake.pristine / "Makefile")
    refused(fake, fake.pristine, "has no Makefile with a VERSION")


def test_links_are_copied_and_not_followed(fake: FakeRepository) -> None:
    links = {"dangling": "nowhere", "loop": "loop", "top": ".", "mm/up": "../include"}
    for name, goal in links.items():
        (fake.pristine / name).symlink_to(goal)
    tree = copied(fake, fetched(fake, fake.pristine))
    for name, goal in links.items():
        assert str((tree / name).readlink()) == goal
    assert "left out" not in fake.said.getvalue()


def test_a_link_to_a_file_elsewhere_is_that_file(fake: FakeRepository, tmp_path: Path) -> None:
    mine = tmp_path / "elsewhere/mine.c"
    mine.parent.mkdir()
    mine.write_text("int x;\n")
    (fake.pristine / "mm/mine.c").symlink_to(mine)
    (fake.pristine / "mm/by.c").symlink_to(os.path.relpath(mine, fake.pristine / "mm"))
    (fake.pristine / "mm/again.c").symlink_to("mine.c")
    # It is in the tree, but a copy of the link would lead to the user's own.
    (fake.pristine / "mm/own.c").symlink_to(fake.pristine / "mm/page_alloc.c")
    names = [f"mm/{name}.c" for name in ("mine", "by", "again", "own")]
    source = fetched(fake, fake.pristine)
    tree = copied(fake, source)
    assert [(tree / name).is_symlink() for name in names] == [False] * 4
    assert (tree / "mm/own.c").read_text() == (TREE / "mm/page_alloc.c").read_text()
    # As long, and as old, as before.
    times = mine.stat()
    mine.write_text("int y;\n")
    os.utime(mine, ns=(times.st_atime_ns, times.st_mtime_ns))
    after = fetched(fake, fake.pristine)
    assert after.key != source.key
    assert source.listing is not None
    assert source.listing.moved() == ["mm/again.c", "mm/by.c", "mm/mine.c"]
    copied(fake, after)
    assert [(tree / name).read_text() for name in names[:3]] == ["int y;\n"] * 3
    assert "left out" not in fake.said.getvalue()


def test_a_link_that_leads_out_and_to_no_file_is_left_out_and_told(
    fake: FakeRepository, tmp_path: Path
) -> None:
    before = key_of(fake)
    (tmp_path / "elsewhere").mkdir()
    os.mkfifo(tmp_path / "elsewhere/pipe")
    for name in ("elsewhere", "nowhere", "elsewhere/pipe"):
        (fake.pristine / Path(name).name).symlink_to(tmp_path / name)
    # A folder of the tree, but not of the copy.
    (fake.pristine / "own").symlink_to(fake.pristine / "mm")
    source = fetched(fake, fake.pristine)
    assert source.key == before
    assert files_of(copied(fake, source)) == files_of(TREE)
    told = "4 link(s) that lead out of it left out: elsewhere, nowhere, own, pipe"
    assert told in " ".join(fake.said.getvalue().split())
    assert "pipe(s)" not in fake.said.getvalue()


def test_a_link_to_a_directory_is_the_directory(fake: FakeRepository, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(fake.pristine)
    by_link = fetched(fake, tmp_path / "link")
    assert by_link == fetched(fake, fake.pristine)


def test_names_need_not_be_text(fake: FakeRepository) -> None:
    odd = os.fsdecode(b"mm/\xff\xfe.c")
    (fake.pristine / odd).write_text("int x;\n")
    os.mkfifo(fake.pristine / os.fsdecode(b"\xff"))
    source = fetched(fake, fake.pristine)
    assert (copied(fake, source) / odd).read_text() == "int x;\n"
    assert "left out: \\xff" in " ".join(fake.said.getvalue().split())


@contextmanager
def another_user() -> Iterator[None]:
    """Has root, too, be a user who may not read everything."""
    user = os.geteuid()
    os.seteuid(user or 65534)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.mark.parametrize(
    ("locked", "given_name", "named"),
    [
        ("mm/page_alloc.c", "", "mm/page_alloc.c"),
        ("mm", "", "mm"),
        ("Makefile", "", "Makefile"),
        ("", "x", "x"),
        ("Makefile", "Makefile", "Makefile"),
    ],
    ids=["a file", "a folder", "the Makefile", "a source in a locked folder", "an archive"],
)
def test_what_cannot_be_read_is_named(
    fake: FakeRepository, locked: str, given_name: str, named: str
) -> None:
    # Not in the test's own folder, which is closed to other users.
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        tree = shutil.copytree(TREE, Path(name) / "tree")
        (tree / locked).chmod(0)
        with another_user(), pytest.raises(SourceError) as caught:
            fetched(fake, tree / given_name)
    assert caught.value.message == f"{tree / named} cannot be read: Permission denied"


def test_a_file_that_vanishes_meanwhile_is_named(
    fake: FakeRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = fake.pristine / "mm/page_alloc.c"
    read = Path.read_bytes

    def read_late(path: Path) -> bytes:
        victim.unlink(missing_ok=True)
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", read_late)
    refused(fake, fake.pristine, r"mm/page_alloc\.c was gone before it was read")


@pytest.mark.parametrize("name", ["missing", "x" * 5000, "a\0b", "loop", "pipe"])
def test_a_source_that_is_not_there_or_can_be_no_file_is_wrong_usage(
    fake: FakeRepository, name: str
) -> None:
    (fake.folder / "loop").symlink_to("loop")
    os.mkfifo(fake.folder / "pipe")
    why = "neither a folder nor a file" if name == "pipe" else "there is no such file or directory"
    refused(fake, f"{fake.folder}/{name}", f": {why}", UsageError)


# --- a tar archive ----------------------------------------------------------


def zstd(data: bytes) -> bytes:
    if shutil.which("zstd") is None:
        pytest.skip("an archive is made with zstd")
    return subprocess.run(["zstd", "-q"], input=data, capture_output=True, check=True).stdout


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstd,
}


def pack(path: Path, kind: str = "", top: str = "linux-6.1.99") -> Path:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:") as tar:
        tar.add(TREE, top)
    path.write_bytes(COMPRESSORS[kind](buffer.getvalue()))
    return path


@pytest.mark.parametrize("kind", COMPRESSORS)
def test_archives_of_each_kind(fake: FakeRepository, kind: str) -> None:
    # The content tells what it is, not the name.
    source = fetched(fake, pack(fake.folder / "kernel", kind))
    assert files_of(source.tree) == files_of(TREE)
    assert {path.name for path in source.tree.parent.iterdir()} == {"tree", "origin.json"}


@pytest.mark.parametrize("kind", COMPRESSORS)
@pytest.mark.parametrize("part", [0.3, 0.9])
def test_a_truncated_archive_is_named(fake: FakeRepository, kind: str, part: float) -> None:
    path = pack(fake.folder / "kernel.tar", kind)
    data = path.read_bytes().rstrip(b"\0")
    path.write_bytes(data[: int(len(data) * part)])
    refused(fake, path, r"kernel\.tar is truncated or not a tar archive")


def test_a_file_that_is_no_archive_is_named(fake: FakeRepository) -> None:
    (fake.folder / "kernel.tar").write_text("<html>not found</html>\n" * 100)
    refused(fake, fake.folder / "kernel.tar", r"kernel\.tar is truncated or not a tar archive")


def member(name: str, link: str = "", kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    """A file of four bytes, a link, or what `kind` says."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE if link else kind, link
    info.size = 4 if info.isreg() else 0
    return info


def pack_with(fake: FakeRepository, *members: tarfile.TarInfo) -> Path:
    """Packs the tree and `members`."""
    path = pack(fake.folder / "kernel.tar")
    with tarfile.open(path, "a:") as tar:
        for one in members:
            tar.addfile(one, io.BytesIO(b"evil"))
    return path


@pytest.mark.parametrize(
    "odd",
    [
        member("../outside"),
        member("linux-6.1.99/../../outside"),
        member("linux-6.1.99/link", "../../outside"),
        member("linux-6.1.99/link", "/etc/passwd"),
        member("linux-6.1.99/mm/odd", kind=tarfile.FIFOTYPE),
        member("linux-6.1.99/mm/odd", kind=tarfile.CHRTYPE),
        member("linux-6.1.99/mm/odd", kind=tarfile.BLKTYPE),
    ],
)
def test_a_member_that_leads_outside_or_is_no_file_is_refused(
    fake: FakeRepository, odd: tarfile.TarInfo
) -> None:
    refused(fake, pack_with(fake, odd), rf"kernel\.tar is refused: .*{Path(odd.name).name}")
    assert not list(fake.folder.rglob("outside"))


@pytest.mark.parametrize(
    "members",
    [
        [member("linux-6.1.99/loop", "loop"), member("linux-6.1.99/loop/x")],
        [member("linux-6.1.99/Makefile/x")],
        [member("linux-6.1.99/mm")],
    ],
)
def test_members_that_are_in_each_others_way_are_named(
    fake: FakeRepository, members: list[tarfile.TarInfo]
) -> None:
    path = pack_with(fake, *members)
    refused(fake, path, r"kernel\.tar (?:cannot be unpacked|is refused): .*lin")


def test_links_that_lead_nowhere_and_odd_names_are_unpacked(fake: FakeRepository) -> None:
    odd = os.fsdecode(b"linux-6.1.99/\xff.c")
    links = member("linux-6.1.99/dangling", "nowhere")
    tree = fetched(fake, pack_with(fake, links, member(odd))).tree
    assert str((tree / "dangling").readlink()) == "nowhere"
    assert (tree / Path(odd).name).read_bytes() == b"evil"


def test_an_archive_without_a_kernel_is_refused(fake: FakeRepository) -> None:
    with tarfile.open(fake.folder / "x.tar", "w:") as tar:
        tar.addfile(member("a"), io.BytesIO(b"evil"))
    refused(fake, fake.folder / "x.tar", "not a kernel tree")


# --- git --------------------------------------------------------------------


def git(folder: Path, *words: str, text: str = "") -> str:
    """Runs git with `text` as its input; returns what it prints."""
    settings = ["-c", "user.name=x", "-c", "user.email=x@invalid", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *settings, *words]
    done = subprocess.run(command, input=text, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repository(fake: FakeRepository) -> Path:
    git(fake.pristine, "init", "-q")
    git(fake.pristine, "add", ".")
    git(fake.pristine, "commit", "-qm", "one")
    return fake.pristine


def test_a_commit_is_fetched_also_when_it_is_not_the_newest(
    fake: FakeRepository, repository: Path
) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    (repository / "Makefile").write_text("broken")
    git(repository, "commit", "-qam", "two")
    source = fetched(fake, f"file://{repository}@{commit}")
    assert files_of(source.tree) == files_of(TREE)
    assert source.key == f"git-{commit[:16]}"
    assert fetched(fake, f"{repository}@{commit}") == source


def test_a_commit_that_is_not_there_is_an_error(fake: FakeRepository, repository: Path) -> None:
    refused(fake, f"{repository}@{'0' * 39}1", r"git fetch of .* failed")


def test_a_branch_is_what_it_is_at(fake: FakeRepository, repository: Path) -> None:
    git(repository, "branch", "android-goldfish-3.4")
    first = git(repository, "rev-parse", "HEAD")
    target = replace(fake.target, source=GitSource(f"file://{repository}", "android-goldfish-3.4"))
    assert fetch(fake.ws, target).commit == first
    git(repository, "checkout", "-q", "android-goldfish-3.4")
    (repository / "new").write_text("x")
    git(repository, "add", "new")
    git(repository, "commit", "-qm", "two")
    second = git(repository, "rev-parse", "HEAD")
    assert fetch(fake.ws, target).commit == second
    pinned = replace(target, source=GitSource(f"file://{repository}", "no-such", first))
    assert fetch(fake.ws, pinned).key == f"git-{first[:16]}"


def test_without_a_network_the_branch_is_what_it_was(
    fake: FakeRepository, repository: Path, tmp_path: Path
) -> None:
    git(repository, "branch", "b")
    target = replace(fake.target, source=GitSource(f"file://{repository}", "b"))
    before = fetch(fake.ws, target)
    repository.rename(tmp_path / "elsewhere")
    assert fetch(fake.ws, target) == before
    assert f"cannot be asked; b was at {before.commit[:12] if before.commit else ''}" in (
        fake.said.getvalue()
    )
    other = replace(fake.target, source=GitSource(f"file://{repository}", "c"))
    with pytest.raises(SourceError, match=r"git ls-remote .* failed") as error:
        fetch(fake.ws, other)
    assert "look at the network" in str(error.value)


def test_a_branch_that_is_not_there_is_an_error(fake: FakeRepository, repository: Path) -> None:
    target = replace(fake.target, source=GitSource(f"file://{repository}", "no-such"))
    with pytest.raises(SourceError, match="git ls-remote"):
        fetch(fake.ws, target)


def test_a_changed_work_tree_is_named_and_built_as_it_is(
    fake: FakeRepository, repository: Path
) -> None:
    (repository / "Makefile").write_text((repository / "Makefile").read_text() + "# mine\n")
    before = key_of(fake)
    source = fetched(fake, repository)
    assert source.changed == ("Makefile",)
    assert source.commit == git(repository, "rev-parse", "HEAD")
    assert "with 1 changed file(s): Makefile\n" in fake.said.getvalue()
    assert (copied(fake, source) / "Makefile").read_text().endswith("# mine\n")
    assert key_of(fake) == before
    assert git(repository, "status", "--porcelain") == "M Makefile"


def test_what_git_says_is_about_the_files_that_are_built(
    fake: FakeRepository, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = git_source.state_of

    def late(path: Path, built: Iterable[str]) -> git_source.TreeState | None:
        (repository / "Makefile").open("a").write("# mine\n")
        return real(path, built)

    monkeypatch.setattr(git_source, "state_of", late)
    refused(fake, repository, "changed while it was read: Makefile", SourceMovedError)


def test_new_files_in_a_work_tree_are_named_and_built(
    fake: FakeRepository, repository: Path
) -> None:
    (repository / "drivers").mkdir()
    names = [f"drivers/ä {number}.c" for number in range(6)]
    for name in names:
        (repository / name).touch()
    (repository / ".gitignore").write_text("*.o\n")
    (repository / "built.o").touch()
    source = fetched(fake, repository)
    # git ignores an object, but nothing says that a build made it.
    assert source.changed == (".gitignore", "built.o", *names)
    said = " ".join(fake.said.getvalue().split())
    assert "with 8 changed file(s): .gitignore, built.o, drivers/ä 0.c, " in said
    assert "drivers/ä 2.c, … " in f"{said} "
    assert (copied(fake, source) / names[5]).is_file()


@pytest.mark.parametrize("mark", ["--assume-unchanged", "--skip-worktree"])
def test_changes_that_git_was_told_not_to_look_at_are_named(
    fake: FakeRepository, repository: Path, mark: str
) -> None:
    git(repository, "update-index", mark, "mm/page_alloc.c")
    (repository / "mm/page_alloc.c").open("a").write("/* mine */\n")
    assert fetched(fake, repository).changed == ("mm/page_alloc.c",)


@pytest.mark.parametrize("name", ["a b", 'a"\\', "a\n\t", "ä", os.fsdecode(b"\xff\x01")])
def test_any_name_in_git_is_known(fake: FakeRepository, repository: Path, name: str) -> None:
    (repository / name).write_text("1")
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "two")
    assert fetched(fake, repository).changed == ()
    (repository / name).write_text("2")
    assert fetched(fake, repository).changed == (shown(name),)


def test_git_runs_nothing_that_a_work_tree_names(fake: FakeRepository, repository: Path) -> None:
    program = script(fake.folder / "program", f"touch {fake.folder}/was-run; cat")
    settings = ("core.fsmonitor", "filter.a=b.clean", "filter.a=b.process", "core.pager")
    for setting in settings:
        git(repository, "config", setting, str(program))
    git(repository, "config", "filter.a=b.required", "true")
    (repository / ".git/info/attributes").write_text("*.c filter=a=b\n")
    # As long as before: git has to read it.
    file = repository / "mm/page_alloc.c"
    file.write_text(file.read_text().replace("taken", "TAKEN"))
    assert fetched(fake, repository).changed == ("mm/page_alloc.c",)
    assert not (fake.folder / "was-run").exists()


def test_a_work_tree_as_it_was_committed_has_no_changes(
    fake: FakeRepository, repository: Path
) -> None:
    source = fetched(fake, repository)
    assert (source.commit, source.changed) == (git(repository, "rev-parse", "HEAD"), ())
    assert "changed file" not in fake.said.getvalue()


def test_the_repository_of_a_hook_is_left_alone(
    fake: FakeRepository, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    mine = tmp_path / "mine"
    mine.mkdir()
    git(mine, "init", "-q")
    git(mine, "commit", "-q", "--allow-empty", "-m", "mine")
    before = files_of(mine)
    places = {"DIR": ".git", "WORK_TREE": "", "INDEX_FILE": ".git/index"}
    with monkeypatch.context() as hook:
        for name, place in {**places, "OBJECT_DIRECTORY": ".git/objects"}.items():
            hook.setenv(f"GIT_{name}", str(mine / place))
        source = fetched(fake, f"file://{repository}@{commit}")
        assert fetched(fake, repository).commit == commit
    assert files_of(source.tree) == files_of(TREE)
    assert files_of(mine) == before


def test_malformed_objects_of_old_commits_do_not_stop_a_strict_git(
    fake: FakeRepository, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = git(repository, "cat-file", "commit", "HEAD").replace(" <x@invalid>", "<x@invalid>")
    words = ["hash-object", "-t", "commit", "-w", "--stdin", "--literally"]
    commit = git(repository, *words, text=f"{raw}\n")
    git(repository, "update-ref", "refs/heads/old", commit)
    strict = tmp_path / "strict"
    strict.write_text("[transfer]\n\tfsckObjects = true\n[fetch]\n\tfsckObjects = true\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(strict))
    assert fetched(fake, f"file://{repository}@{commit}").commit == commit


@pytest.fixture
def silent_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server that takes every connection and never says a word."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/kernel"


def test_a_server_that_never_answers_is_not_waited_for(
    fake: FakeRepository, repository: Path, silent_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(git_source, "_ASK_SECONDS", 0.2)
    target = replace(fake.target, source=GitSource(silent_server, "b"))
    with pytest.raises(CommandError, match=r"git ls-remote .* did not end within 0\.2 s") as error:
        fetch(fake.ws, target)
    assert "look at the network" in error.value.hint
    # What it told when it was asked last, by the time that it is silent.
    memory = fake.ws.cache.root / "branches" / f"{digest(silent_server, 'b')}.json"
    memory.parent.mkdir(parents=True)
    memory.write_text("{}")
    with pytest.raises(CommandError, match=r"did not end within 0\.2 s"):
        git_source.commit_of(fake.ws, GitSource(silent_server, "b"))
    memory.write_text(json.dumps({"commit": HASH}))
    assert git_source.commit_of(fake.ws, GitSource(silent_server, "b")) == HASH
    said = " ".join(fake.said.getvalue().split())
    assert f"{silent_server} cannot be asked; b was at {HASH[:12]}" in said


def test_a_commit_is_not_waited_for_without_end(
    fake: FakeRepository, silent_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(git_source, "_SILENT_SECONDS", 1)
    refused(fake, f"{silent_server}@{HASH}", r"git fetch of http://127\.0\.0\.1")


def test_the_commands_for_git(tmp_path: Path) -> None:
    fetch_words = fetch_argv(tmp_path, "https://host.invalid/k", HASH)
    assert fetch_words[-7:] == [
        *("fetch", "--progress", "--depth=1", "--no-tags", "--end-of-options"),
        *("https://host.invalid/k", HASH),
    ]
    assert fetch_words[:5] == [
        *("git", "-c", "core.hooksPath=/dev/null", "-c", "core.autocrlf=false"),
    ]
    assert ls_remote_argv("https://host.invalid/k", "refs/heads/b") == [
        *("git", "ls-remote", "--exit-code", "--end-of-options"),
        *("https://host.invalid/k", "refs/heads/b"),
    ]


def test_a_server_that_gives_out_tips_only_is_told_of(
    fake: FakeRepository, put_on_path: PutOnPath
) -> None:
    refusal = "error: Server does not allow request for unadvertised object"
    put_on_path("git", f'case "$*" in *" fetch "*) echo "{refusal}"; exit 128;; esac')
    error = refused(fake, f"https://host.invalid/k@{HASH}", r"git fetch of https://host\.invalid/k")
    assert "clone the repository" in error.hint


def test_what_git_warns_of_is_no_commit(fake: FakeRepository, put_on_path: PutOnPath) -> None:
    text = f"echo warning: redirecting to https://x/; printf '{HASH}\\trefs/heads/b\\n'"
    put_on_path("git", text)
    assert git_source.commit_of(fake.ws, GitSource("https://host.invalid/k", "b")) == HASH


def test_a_clone_shows_how_far_it_is(fake: FakeRepository, put_on_path: PutOnPath) -> None:
    text = r"""case "$*" in *" fetch "*)
        printf 'Receiving objects:   7%% (1/14)\rReceiving objects: 100%% (14/14), done.\n';; esac
    mkdir -p "$6/.git" """
    put_on_path("git", text)
    notes: list[str] = []
    checkout(fake.ws, "u", HASH, fake.folder / "tree", notes.append)
    assert notes == ["receiving objects: 7 %", "receiving objects: 100 %"]


HASH = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    "url",
    ["https://host.invalid/a/linux.git", "git@host.invalid:linux.git", "/srv/linux", "ssh://u@h/x"],
)
def test_url_and_commit(url: str) -> None:
    assert parse_git_source(f"{url}@{HASH}") == (url, HASH)


@pytest.mark.parametrize(
    "source",
    [
        "https://host.invalid/linux.git",
        "https://host.invalid/linux.git@master",
        f"https://host.invalid/linux.git@{HASH[:12]}",
        "git@host.invalid:linux.git",
        "ssh://user@host/linux",
    ],
)
def test_a_url_without_a_full_commit_is_wrong_usage(source: str) -> None:
    with pytest.raises(UsageError, match="needs @ and a full commit hash"):
        parse_git_source(source)


@given(st.text())
def test_any_text_is_a_git_source_or_wrong_usage(text: str) -> None:
    try:
        url, commit = parse_git_source(text)
    except UsageError:
        return
    assert f"{url}@{commit}" == text


# --- Debian -----------------------------------------------------------------


@pytest.fixture
def archive(fake: FakeRepository, monkeypatch: pytest.MonkeyPatch) -> Archive:
    """An archive that offers a kernel's source."""
    made = Archive(fake.folder / "archive")
    made.folder.mkdir()
    made.offer(kernel_deb(made, "6.1.99-1"))
    made.is_all_there_is(monkeypatch)
    return made


def kernel_deb(archive: Archive, version: str) -> Path:
    root = archive.folder / f"root-{version}"
    (root / "usr/src").mkdir(parents=True)
    pack(root / "usr/src/linux-source-6.1.tar.xz", "xz", "linux-source-6.1")
    return make_deb(archive.folder, "linux-source-6.1", version, root)


def downloads(fake: FakeRepository) -> list[Path]:
    return [path for path in (fake.ws.cache.root / "downloads").rglob("*") if path.is_file()]


def test_the_package_is_downloaded_and_unpacked_once(
    fake: FakeRepository, archive: Archive
) -> None:
    source = fetched(fake)
    assert files_of(source.tree) == files_of(TREE)
    assert source.origin == "Debian's linux-source-6.1 6.1.99-1"
    assert source.key.startswith("linux-source-6.1-6.1.99-1-")
    # What is here already needs no archive, nor what it has by now.
    shutil.rmtree(archive.folder)
    assert fetched(fake) == source
    shutil.rmtree(source.tree.parent)
    assert fetched(fake) == source


def test_a_stored_file_that_is_damaged_is_named_and_fetched_again(
    fake: FakeRepository, archive: Archive
) -> None:
    source = fetched(fake)
    shutil.rmtree(source.tree.parent)
    (stored,) = downloads(fake)
    stored.write_bytes(stored.read_bytes()[:1000])
    assert fetched(fake) == source
    said = " ".join(fake.said.getvalue().split())
    assert "linux-source-6.1_6.1.99-1_all.deb is damaged (1000 bytes)" in said
    assert stored.stat().st_size > 1000


def test_what_is_not_what_the_lists_state_does_not_come(
    fake: FakeRepository, archive: Archive
) -> None:
    (deb,) = archive.debs
    deb.write_bytes(deb.read_bytes()[:-1] + b"x")
    error = refused(fake, None, r"could not download linux-source-6\.1 6\.1\.99-1", DownloadError)
    # apt 2 and 3 tell it in other words.
    assert deb.name in error.tail
    assert error.log is not None
    assert not downloads(fake)


def test_a_version_that_has_been_replaced_is_asked_for_anew(
    fake: FakeRepository, archive: Archive
) -> None:
    debian.ask(fake.ws, "linux-source-6.1", "bookworm")
    (old,) = archive.debs
    old.unlink()
    archive.debs.clear()
    archive.offer(kernel_deb(archive, "6.1.99-2"))
    assert fetched(fake).origin == "Debian's linux-source-6.1 6.1.99-2"
    assert f"{old.name} cannot be had; Debian is asked again" in fake.said.getvalue()


def test_no_network_is_a_short_error(fake: FakeRepository, archive: Archive) -> None:
    shutil.rmtree(archive.folder)
    error = refused(fake, None)
    assert error.message == "Debian's bookworm could not be asked for linux-source-6.1"
    assert error.hint.startswith(f"{debian.LOOK_AT_NETWORK}; or give a source by hand: --source")
    assert len(error.tail.splitlines()) <= 3
    assert error.log is not None


def test_a_system_without_apt(fake: FakeRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(fake.folder))
    error = refused(fake, None, "no apt-get on this machine")
    assert error.hint.startswith("give a source by hand: --source")
