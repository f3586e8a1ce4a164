# SPDX-License-Identifier: MIT
"""`git bisect` in a clone of ours: what it finds, and that the user's repository stays as it is."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from git_history import NUMBER, digest_of, git, history, line_of

from harness.build import bisection
from harness.build.bisection import (
    Bisected,
    Clone,
    Repository,
    Verdict,
    cloned,
    parse_log,
    steps_left,
)
from harness.core.errors import InfrastructureError, SourceError, UsageError
from harness.ui.workspace import Workspace

A, B, C = ("a" * 40, "b" * 40, "c" * 64)
GOOD, BAD, SKIPPED = Verdict.GOOD, Verdict.BAD, Verdict.SKIPPED


@pytest.mark.parametrize(
    ("log", "found"),
    [
        ("", None),
        (f"# good: [{A}] x\ngit bisect start '{A}' '{B}'\n", None),
        (f"git bisect bad {A}\n# first bad commit: [{A}] text\n", Bisected((A,))),
        (f"# first bad commit: [{C}]\n", Bisected((C,))),
        (
            f"# possible first bad commit: [{A}] x\n# possible first bad commit: [{B}] y\n",
            Bisected((A, B)),
        ),
        # What a subject says is not at a line's beginning.
        (f"# bad: [{A}] # first bad commit: [{B}] x\n", None),
    ],
)
def test_parse_log(log: str, found: Bisected | None) -> None:
    assert parse_log(log) == found


@pytest.mark.parametrize(
    ("count", "steps"), [(0, 0), (1, 0), (2, 0), (3, 1), (7, 2), (8, 2), (30, 4), (1000, 9)]
)
def test_steps_left(count: int, steps: int) -> None:
    assert steps_left(count) == steps


def number(clone: Clone) -> int:
    return int((clone.folder / NUMBER).read_text())


def judging(
    clone: Clone, bad_from: int, skipped: Callable[[int], bool] = lambda _: False
) -> Callable[[], Verdict]:
    def judge() -> Verdict:
        at = number(clone)
        if skipped(at):
            return SKIPPED
        return BAD if at >= bad_from else GOOD

    return judge


@contextmanager
def started(ws: Workspace, folder: Path, bad: str, good: str) -> Iterator[Clone]:
    """A clone in which a bisect has begun."""
    repository = Repository.at(folder)
    with cloned(ws, repository) as clone:
        clone.check_out(repository.hash_of(good))
        clone.start(repository.hash_of(bad), repository.hash_of(good))
        yield clone


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, dict[int, str]]:
    folder = tmp_path / "linux"
    return folder, history(folder, line_of(30))


@pytest.mark.parametrize("first", [2, 3, 17, 29, 30])
def test_finds_the_first_bad_commit(
    ws: Workspace, made: tuple[Path, dict[int, str]], first: int
) -> None:
    folder, hashes = made
    with started(ws, folder, "main", hashes[1]) as clone:
        assert clone.left() == 29
        judged: list[int] = []

        def judge() -> Verdict:
            judged.append(number(clone))
            return BAD if judged[-1] >= first else GOOD

        assert clone.run(judge) == Bisected((hashes[first],))
        assert len(judged) <= 5
        assert len(set(judged)) == len(judged)
        commit = clone.commit(hashes[first])
        assert commit.title == f"{hashes[first][:12]} commit {first}"
        assert commit.author == "An Author <author@invalid>"
        assert commit.date.startswith("2023-11-14T")


def test_skips_what_gives_no_verdict(ws: Workspace, made: tuple[Path, dict[int, str]]) -> None:
    folder, hashes = made
    skipped = {14, 15, 16, 22}
    with started(ws, folder, "main", hashes[1]) as clone:
        found = clone.run(judging(clone, 20, skipped.__contains__))
        assert found.first_bad == hashes[20]


def test_only_skipped_commits_left(ws: Workspace, made: tuple[Path, dict[int, str]]) -> None:
    folder, hashes = made
    with started(ws, folder, "main", hashes[1]) as clone:
        found = clone.run(judging(clone, 16, lambda at: 13 <= at <= 16))
        assert found.first_bad is None
        assert set(found.suspects) == {hashes[at] for at in (13, 14, 15, 16, 17)}


def test_neighbours_need_no_step(ws: Workspace, made: tuple[Path, dict[int, str]]) -> None:
    folder, hashes = made
    with started(ws, folder, hashes[9], hashes[8]) as clone:
        assert clone.found() == Bisected((hashes[9],))


def test_merges(ws: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "linux"
    # 2 to 5 and 6 to 9 are two branches; 10 merges them.
    parents = line_of(14) | {6: [1], 10: [5, 9]}
    hashes = history(folder, parents)
    # A fault that came with the second branch: good are 1 to 5 and 6.
    with started(ws, folder, "main", hashes[1]) as clone:
        assert clone.run(judging(clone, 7)) == Bisected((hashes[7],))
    with started(ws, folder, "main", hashes[1]) as clone:
        assert clone.run(judging(clone, 10)) == Bisected((hashes[10],))
    # The good end is on the other branch: git has their merge base tested as well.
    judged = []
    with started(ws, folder, hashes[9], hashes[5]) as clone:

        def judge() -> Verdict:
            judged.append(number(clone))
            return judging(clone, 8)()

        assert clone.run(judge) == Bisected((hashes[8],))
    assert 1 in judged


def test_a_merge_base_that_is_bad_is_what_git_says(ws: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "linux"
    hashes = history(folder, line_of(9) | {6: [1]})
    with started(ws, folder, hashes[9], hashes[5]) as clone:
        with pytest.raises(SourceError, match="came to no end") as error:
            clone.run(lambda: BAD)
        assert "merge base" in error.value.tail
        assert "fixed between" in error.value.tail


def test_ends_the_wrong_way_round(ws: Workspace, made: tuple[Path, dict[int, str]]) -> None:
    folder, hashes = made
    began = started(ws, folder, hashes[2], hashes[9])
    with pytest.raises(UsageError, match="cannot bisect") as error, began:
        pass
    assert "good revs are not ancestors of the bad rev" in error.value.tail


@pytest.mark.parametrize("raised", [InfrastructureError("no compiler"), KeyboardInterrupt()])
def test_what_the_judge_raises_ends_the_bisect(
    ws: Workspace, made: tuple[Path, dict[int, str]], raised: BaseException
) -> None:
    folder, hashes = made
    judged = []
    with started(ws, folder, "main", hashes[1]) as clone:

        def judge() -> Verdict:
            judged.append(number(clone))
            if len(judged) == 2:
                raise raised
            return GOOD

        with pytest.raises(type(raised)) as error:
            clone.run(judge)
        assert error.value is raised
        assert len(judged) == 2
        # The log up to then can still be saved.
        assert clone.log_text().count("git bisect good") == 1
        assert clone.found() is None
        assert not _programs_in(clone.folder)
    assert not clone.folder.exists()


def _programs_in(folder: Path) -> list[int]:
    """The programs that run in a folder, by their pid."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            here = (process / "cwd").readlink()
            if folder in (here, *here.parents):
                found.append(int(process.name))
    return found


def test_git_that_is_killed_is_an_error(ws: Workspace, made: tuple[Path, dict[int, str]]) -> None:
    folder, hashes = made
    with started(ws, folder, "main", hashes[1]) as clone:

        def judge() -> Verdict:
            for pid in _programs_in(clone.folder):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return GOOD

        with pytest.raises(SourceError, match="came to no end"):
            clone.run(judge)


def test_the_space_of_one_work_tree(ws: Workspace, made: tuple[Path, dict[int, str]]) -> None:
    folder, hashes = made
    with started(ws, folder, "main", hashes[1]) as clone:
        clone.run(judging(clone, 7))
        objects = [path for path in (clone.folder / ".git/objects").rglob("*") if path.is_file()]
        assert [path.name for path in objects] == ["alternates"]
        assert not any((clone.folder / ".git/refs/heads").iterdir())
        assert clone.folder.is_relative_to(ws.cache.root)
    assert not clone.folder.exists()


def test_two_bisects_of_one_repository_use_the_same_place(
    ws: Workspace, made: tuple[Path, dict[int, str]], tmp_path: Path
) -> None:
    folder, _ = made
    with cloned(ws, Repository.at(folder)) as first:
        # What a killed run left behind.
        (first.folder / "left").touch()
        kept = first.folder.with_name("kept")
        first.folder.rename(kept)
    kept.rename(first.folder)
    with cloned(ws, Repository.at(folder)) as second:
        assert second.folder == first.folder
        assert not (second.folder / "left").exists()
    other = tmp_path / "other"
    history(other, line_of(1))
    with cloned(ws, Repository.at(other)) as third:
        assert third.folder != first.folder


# --- the user's repository ---------------------------------------------------


def whole_bisect(ws: Workspace, folder: Path, hashes: dict[int, str]) -> None:
    before = digest_of(folder)
    with started(ws, folder, hashes[30], hashes[1]) as clone:
        assert clone.run(judging(clone, 17)) == Bisected((hashes[17],))
    assert digest_of(folder) == before


def test_the_repository_stays_as_it_is(ws: Workspace, made: tuple[Path, dict[int, str]]) -> None:
    folder, hashes = made
    # Loose objects, and changes that are not committed.
    (folder / NUMBER).write_text("my own work")
    (folder / "new").write_text("new")
    (folder / "staged").write_text("staged")
    git(folder, "add", "staged")
    whole_bisect(ws, folder, hashes)


def test_a_repository_in_the_middle_of_its_own_bisect(
    ws: Workspace, made: tuple[Path, dict[int, str]]
) -> None:
    folder, hashes = made
    git(folder, "bisect", "start", hashes[20], hashes[2])
    log = git(folder, "bisect", "log")
    whole_bisect(ws, folder, hashes)
    assert git(folder, "bisect", "log") == log


def test_a_bare_repository(ws: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "linux.git"
    whole_bisect(ws, folder, history(folder, line_of(30), bare=True))


def test_a_linked_work_tree(
    ws: Workspace, made: tuple[Path, dict[int, str]], tmp_path: Path
) -> None:
    folder, hashes = made
    git(folder, "worktree", "add", "-q", "--detach", str(tmp_path / "linked"), hashes[5])
    before = digest_of(folder)
    whole_bisect(ws, tmp_path / "linked", hashes)
    assert digest_of(folder) == before


def test_a_repository_that_borrows_its_objects(
    ws: Workspace, made: tuple[Path, dict[int, str]], tmp_path: Path
) -> None:
    folder, hashes = made
    borrower = tmp_path / "borrower"
    git(tmp_path, "clone", "-q", "--shared", str(folder), str(borrower))
    whole_bisect(ws, borrower, hashes)


def test_a_shallow_repository(
    ws: Workspace, made: tuple[Path, dict[int, str]], tmp_path: Path
) -> None:
    folder, hashes = made
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "-q", "--depth=20", f"file://{folder}", str(shallow))
    before = digest_of(shallow)
    with started(ws, shallow, "HEAD", "HEAD~12") as clone:
        assert clone.run(judging(clone, 23)) == Bisected((hashes[23],))
    assert digest_of(shallow) == before


@pytest.mark.parametrize("name", ['a "quoted" name', "a\\nb", "#c", "ü", "a:b"])
def test_names_of_folders(ws: Workspace, tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    hashes = history(folder, line_of(30))
    whole_bisect(ws, folder, hashes)


def test_another_users_repository(
    ws: Workspace, made: tuple[Path, dict[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git refuses a repository of another user; here, for lack of one, in any case."""
    folder, hashes = made
    # Git's own means for its tests.
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    if os.getuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.lchown(path, 4711, 4711)
        refused = subprocess.run(["git", "-C", folder, "log"], capture_output=True, check=False)
        assert b"dubious ownership" in refused.stderr
    else:
        added = bisection._ENVIRONMENT | {"GIT_TEST_ASSUME_DIFFERENT_OWNER": "1"}
        monkeypatch.setattr(bisection, "_ENVIRONMENT", added)
    whole_bisect(ws, folder, hashes)


def test_hooks_filters_and_settings_of_the_repository_do_nothing(
    ws: Workspace, made: tuple[Path, dict[int, str]], tmp_path: Path
) -> None:
    folder, hashes = made
    trace = tmp_path / "trace"
    hook = folder / ".git/hooks/post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {trace}\n")
    hook.chmod(0o755)
    git(folder, "config", "core.fsmonitor", f"touch {trace}")
    git(folder, "config", "filter.f.smudge", f"touch {trace}")
    (folder / ".git/info/attributes").write_text("* filter=f\n")
    whole_bisect(ws, folder, hashes)
    assert not trace.exists()


def test_no_repository(ws: Workspace, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UsageError, match="is no git repository"):
        Repository.at(empty)


def test_a_folder_inside_a_repository(made: tuple[Path, dict[int, str]]) -> None:
    folder, _ = made
    inner = folder / "a" / "b"
    inner.mkdir(parents=True)
    with pytest.raises(UsageError, match="not its top") as error:
        Repository.at(inner)
    assert error.value.hint == f"--source {folder}"


def test_names_of_commits(made: tuple[Path, dict[int, str]]) -> None:
    folder, hashes = made
    git(folder, "tag", "-a", "-m", "a tag", "v6.1.20", hashes[20])
    repository = Repository.at(folder)
    for name in ("v6.1.20", hashes[20][:12], "main~10", "HEAD~10"):
        assert repository.hash_of(name) == hashes[20]
    for name in ("none", "0" * 40, "--all", "", "main:number"):
        with pytest.raises(UsageError, match="has no commit"):
            repository.hash_of(name)


def test_a_subject_is_made_printable(ws: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "linux"
    hashes = history(folder, line_of(2), subject="\x1b[31m red\x07 {}".format)
    with started(ws, folder, hashes[2], hashes[1]) as clone:
        assert clone.commit(hashes[2]).subject == r"\x1b[31m red\x07 2"


def test_an_object_that_is_missing_is_an_error(
    ws: Workspace, made: tuple[Path, dict[int, str]]
) -> None:
    folder, hashes = made
    git(folder, "unpack-objects", "-q", stdin=_moved_pack(folder))
    blob = git(folder, "rev-parse", f"{hashes[15]}:{NUMBER}")
    (folder / f".git/objects/{blob[:2]}/{blob[2:]}").unlink()
    with started(ws, folder, hashes[30], hashes[1]) as clone, pytest.raises(SourceError):
        clone.check_out(hashes[15])


def _moved_pack(folder: Path) -> bytes:
    """Remove the pack of a repository, and return it."""
    (pack,) = (folder / ".git/objects/pack").glob("*.pack")
    content = pack.read_bytes()
    for path in pack.parent.iterdir():
        path.unlink()
    return content
