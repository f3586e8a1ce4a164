# SPDX-License-Identifier: MIT
"""`emulator-test --watch`, with real saves and tests that are not real."""

from __future__ import annotations

import errno
import io
import json
import math
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from stand_ins import workspace
from summaries import summary, verdict

from harness.build.tree_file import TreeFile, content_id
from harness.core import paths
from harness.core.cache import Cache
from harness.core.errors import BuildError, InfrastructureError, SourceMovedError, UsageError
from harness.jobs import emulator_test, watch
from harness.jobs.inputs import Inputs, Place, concerns, places_of, read_inputs
from harness.jobs.options import EmulatorTestOptions
from harness.jobs.saves import Abandoned, Saves
from harness.results.run_result import RunResult
from harness.scenarios.verdict import Outcome
from harness.targets.linux_6_1 import LINUX_6_1
from harness.ui.progress import Reporter
from harness.ui.workspace import Workspace

# Much longer than anything here takes; without a failure it is never waited for.
LONG = 120.0
Seen = Callable[[RunResult], object]
Step = Callable[[Seen], int]


def result(*outcomes: Outcome) -> RunResult:
    """The result of a run with these verdicts."""
    return summary(
        *(verdict(scenario=f"case-{number}", outcome=one) for number, one in enumerate(outcomes))
    )


class Watched:
    """A folder that is watched, and tests that do what they are told, one after the other."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder / "edited"
        self.folder.mkdir()
        self.file = self.folder / "x.c"
        self.file.write_text("0")
        self.said = io.StringIO()
        self.ws: Workspace = workspace(folder / "cache", self.said)
        self.options = EmulatorTestOptions(target=LINUX_6_1, policy="rss", trigger="alloc")
        self.limit = math.inf
        self.tests = 0
        # What is done when a save is waited for, for the first time, the second, …
        self.when_idle: list[Callable[[], object]] = []
        self.steps: Sequence[Step] = ()
        monkeypatch.setattr(watch, "places_of", lambda _options: [Place("our C", self.folder)])
        monkeypatch.setattr(emulator_test, "run", self._test)
        real = Saves.wait

        def wait(saves: Saves) -> None:
            self.when_idle.pop(0)()
            real(saves)

        monkeypatch.setattr(Saves, "wait", wait)

    def _test(self, _ws: Workspace, _options: EmulatorTestOptions, seen: Seen) -> int:
        self.tests += 1
        return self.steps[self.tests - 1](seen)

    def save(self, text: str, name: str = "x.c") -> None:
        (self.folder / "new").write_text(text)
        (self.folder / "new").rename(self.folder / name)

    def run(self, *steps: Step) -> str:
        """Watch until a step interrupts; return what was said."""
        self.steps = (*steps, interrupt)
        with pytest.raises(KeyboardInterrupt):
            watch.run(self.ws, self.options, self.limit)
        return " ".join(self.said.getvalue().split())


def interrupt(_seen: Seen) -> int:
    raise KeyboardInterrupt


def judged(*outcomes: Outcome, status: int = 0) -> Step:
    def step(seen: Seen) -> int:
        seen(result(*outcomes))
        return status

    return step


def fails(_seen: Seen) -> int:
    raise BuildError("make failed", hint="look there")


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(tmp_path, monkeypatch)


PASS, WRONG = Outcome.PASSED, Outcome.WRONG_VICTIM


def test_each_save_is_tested_and_compared(watched: Watched) -> None:
    watched.when_idle = [
        lambda: watched.save("1"),
        lambda: watched.save("2", "y.c"),
        lambda: watched.file.unlink(),
    ]
    said = watched.run(judged(PASS, PASS), judged(PASS, WRONG, status=1), judged(PASS, PASS))
    assert watched.tests == 4
    first, second, third, *_ = said.split("waiting for a save in")
    assert "changed:" not in first
    place = "case-1 rss"
    assert f"changed: our C: x.c verdict: {place}: {PASS.value} → {WRONG.value}" in second
    assert f"changed: our C: y.c verdict: {place}: {WRONG.value} → {PASS.value}" in third


def test_a_save_during_a_test_gives_it_up(watched: Watched) -> None:
    ended: list[str] = []

    def saves_and_goes_on(_seen: Seen) -> int:
        watched.save("1")
        try:
            threading.Event().wait(LONG)
        except Abandoned:
            ended.append("cleaned up")
            raise
        pytest.fail("nobody ended it")

    watched.when_idle = [lambda: watched.save("2")]
    said = watched.run(saves_and_goes_on, judged(PASS))
    assert ended == ["cleaned up"]
    assert said.count("a file was saved: the test begins again") == 1
    assert watched.tests == 3


def test_each_test_is_a_run_with_its_own_status(
    watched: Watched, capsys: pytest.CaptureFixture[str]
) -> None:
    watched.ws = replace(watched.ws, reporter=Reporter(mode="json"))
    begun = threading.Event()

    def saves_and_goes_on(_seen: Seen) -> int:
        watched.ws.reporter.run_begin(("test",))
        watched.save("2")
        begun.wait(LONG)
        pytest.fail("nobody ended it")

    def wrong(_seen: Seen) -> int:
        watched.ws.reporter.run_begin(("test",))
        return 1

    watched.when_idle = [
        lambda: watched.save("1"),
        lambda: watched.save("3"),
        lambda: watched.save("4"),
    ]
    watched.run(wrong, saves_and_goes_on, fails, judged(PASS))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["status"] for one in lines if one["event"] == "run_end"] == [1, 130, 3, 0]


def test_a_save_that_is_taken_back_is_not_tested(watched: Watched) -> None:
    def saves_and_takes_back(_seen: Seen) -> int:
        watched.save("2")
        try:
            threading.Event().wait(LONG)
        except Abandoned:
            watched.save("1")
            raise
        pytest.fail("nobody ended it")

    watched.when_idle = [
        lambda: watched.save("1"),
        lambda: watched.save("3"),
        # After the test that was given up, there is nothing new to test.
        lambda: watched.save("4"),
    ]
    watched.run(judged(PASS), judged(PASS), saves_and_takes_back)
    assert watched.tests == 4
    assert not watched.when_idle


def test_a_build_that_fails_is_told_and_the_next_save_tested(
    watched: Watched, capsys: pytest.CaptureFixture[str]
) -> None:
    watched.when_idle = [
        lambda: watched.save("1"),
        lambda: watched.save("2"),
        lambda: watched.save("3"),
    ]
    said = watched.run(judged(PASS), fails, judged(WRONG, status=1))
    assert "error: make failed\n  try: look there" in capsys.readouterr().err
    _, second, third, *_ = said.split("waiting for a save in")
    assert "changed: our C: x.c verdict: none" in second
    # Compared with the last kernel that had verdicts.
    assert f"{PASS.value} → {WRONG.value}" in third


FULL = OSError(errno.ENOSPC, "No space left on device", "/tmp/x")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (SourceMovedError("x.c was gone before it was read"), "x.c was gone"),
        (FULL, "error: no space left: /tmp/x"),
    ],
)
def test_a_file_that_goes_away_while_it_is_read_ends_nothing(
    watched: Watched,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    told: str,
) -> None:
    real, read = read_inputs, []

    def vanishing(ws: Workspace, options: EmulatorTestOptions, places: Sequence[Place]) -> Inputs:
        read.append(1)
        if len(read) == 1:
            watched.save("1")
            raise error
        return real(ws, options, places)

    monkeypatch.setattr(watch, "read_inputs", vanishing)
    watched.when_idle = [lambda: None, lambda: watched.save("2")]
    watched.run(judged(PASS))
    assert told in capsys.readouterr().err
    assert watched.tests == 2


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (FULL, "error: no space left: /tmp/x\n  try: free some space\n"),
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "x.c"),
            "error: [Errno 2] No such file or directory: 'x.c'\n",
        ),
    ],
)
def test_what_the_system_refuses_ends_only_one_test(
    watched: Watched, capsys: pytest.CaptureFixture[str], error: OSError, told: str
) -> None:
    def refused(_seen: Seen) -> int:
        raise error

    watched.when_idle = [lambda: watched.save("1"), lambda: watched.save("2")]
    watched.run(refused, judged(PASS))
    assert capsys.readouterr().err == told
    assert watched.tests == 3


def test_each_test_makes_room_of_what_only_earlier_ones_used(watched: Watched) -> None:
    root = watched.ws.cache.root

    def fill(folder: Path) -> None:
        (folder / "file").write_bytes(b"x" * 200_000)

    def builds(*keys: str) -> Step:
        def step(_seen: Seen) -> int:
            for key in keys:
                watched.ws.cache.ensure("kernel", key, fill)
            return 0

        return step

    def stored() -> list[str]:
        return sorted(path.name for path in (root / "kernel").iterdir())

    def after_first() -> None:
        assert stored() == ["a", "b"]
        watched.save("1")

    def after_second() -> None:
        assert stored() == ["b", "c"]
        assert not Cache(root).leased(root / "kernel" / "a")
        watched.save("2")

    watched.limit = 500_000
    watched.when_idle = [after_first, after_second]
    said = watched.run(builds("a", "b"), builds("b", "c"))
    assert said.count("the cache: kernel/a removed") == 1


@pytest.mark.parametrize(("text", "read_again"), [("0", False), ("1", True)])
def test_what_is_saved_while_the_files_are_read_is_compared_afterwards(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, text: str, read_again: bool
) -> None:
    real_read, real_tell = read_inputs, Saves._tell
    read, told = [], threading.Event()

    def tell(saves: Saves) -> None:
        real_tell(saves)
        told.set()

    def late(ws: Workspace, options: EmulatorTestOptions, places: Sequence[Place]) -> Inputs:
        read.append(1)
        found = real_read(ws, options, places)
        if len(read) == 1:
            # One event, in one step.
            (watched.folder.parent / "new").write_text(text)
            (watched.folder.parent / "new").rename(watched.file)
            assert told.wait(LONG)
        return found

    monkeypatch.setattr(Saves, "_tell", tell)
    monkeypatch.setattr(watch, "read_inputs", late)
    watched.when_idle = [lambda: watched.save("2")]
    said = watched.run(judged(PASS))
    assert "the test begins again" not in said
    # The last time, after the save in between.
    assert len(read) == (3 if read_again else 2)


def test_wrong_usage_ends_it(watched: Watched) -> None:
    def wrong(_seen: Seen) -> int:
        raise UsageError("no such scenario")

    watched.steps = [wrong]
    with pytest.raises(UsageError):
        watch.run(watched.ws, watched.options)


def test_a_given_file_that_is_gone_at_a_later_test_ends_only_that_test(
    watched: Watched, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it is for a moment where an editor or a script makes it anew."""

    def gone(_seen: Seen) -> int:
        raise UsageError("no patch my.patch")

    watched.when_idle = [lambda: watched.save("1"), lambda: watched.save("2")]
    said = watched.run(judged(PASS), gone)
    assert "error: no patch my.patch" in capsys.readouterr().err
    assert watched.tests == 3
    assert "verdict: none" in said


def test_a_folder_that_cannot_be_watched_is_an_error(tmp_path: Path) -> None:
    with (
        pytest.raises(InfrastructureError, match="cannot watch"),
        Saves([tmp_path / "none/none"], lambda _: True),
    ):
        pytest.fail("it is not there")


def test_a_given_file_that_an_editor_replaces_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "my.patch"
    file.write_text("1")
    with Saves([file], lambda path: path == file) as saves:
        for text in "23":
            (tmp_path / "new").write_text(text)
            (tmp_path / "new").rename(file)
            saves.wait()
            saves.forget()


def test_a_test_that_is_over_is_not_given_up(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    with Saves([tmp_path], lambda _: True) as saves:
        with saves.giving_up():
            pass
        (tmp_path / "x").touch()
        saves.wait()
        # As if the thread had been late.
        signal.raise_signal(signal.SIGUSR1)
        with pytest.raises(Abandoned), saves.giving_up():
            pytest.fail("there was a save already")
    assert signal.getsignal(signal.SIGUSR1) == before


# --- the inputs ----------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path) -> Place:
    for name in ("mm/a.c", "mm/b.c", "Makefile"):
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_text(name)
    return Place("our C", tmp_path / "tree")


def read(place: Place) -> Inputs:
    options = EmulatorTestOptions(target=LINUX_6_1, policy="rss", trigger="alloc")
    return read_inputs(workspace(place.path.parent / "cache"), options, [place])


@pytest.mark.parametrize("title", ["our C", "kernel source"])
def test_only_another_content_is_a_save(place: Place, title: str) -> None:
    place = replace(place, title=title)
    before = read(place)
    file = place.path / "mm/a.c"
    file.touch()
    assert not before.differs(file)
    file.write_text("changed")
    assert before.differs(file)
    assert before.differs(place.path / "none.c") is False
    (place.path / "new.c").touch()
    assert before.differs(place.path / "new.c")
    (place.path / "mm/b.c").unlink()
    assert before.differs(place.path / "mm/b.c")
    assert read(place).changes_since(before) == [f"{title}: mm/a.c, mm/b.c, new.c"]
    assert read(place).changes_since(read(place)) == []


def test_only_what_may_be_an_input_counts_while_the_inputs_are_read(place: Place) -> None:
    """What was in the files is not known then."""
    given = Place("given file", place.path.parent / "my.patch")
    for path, counts in (
        (place.path / "mm/a.c", True),
        (place.path / "none.c", True),
        (given.path, True),
        (given.path.with_name("log"), False),
        (place.path / "mm/.a.c.swp", False),
        (place.path / "mm/a.o", False),
        (place.path / ".git/index", False),
    ):
        assert concerns([place, given], path) == counts
    # Of what is above a place, nothing counts.
    within = Place("our C", place.path / ".cache/tree")
    assert concerns([within], within.path / "a.c")


def test_what_is_beside_a_given_file_is_no_save(place: Place) -> None:
    given = Place("given file", place.path / "mm/a.c")
    before = read(given)
    assert before.files == {given: {given.path: content_id(TreeFile(b"mm/a.c", "file"))}}
    for name in ("mm/b.c", "mm/log"):
        (place.path / name).write_text("x")
        assert not before.differs(place.path / name)
    given.path.write_text("x")
    assert before.differs(given.path)
    assert read(given).changes_since(before) == ["given file: a.c"]


def test_a_folder_that_is_renamed_is_a_save(place: Place) -> None:
    before = read(place)
    (place.path / "mm").rename(place.path / "nn")
    assert before.differs(place.path / "mm")
    assert before.differs(place.path / "nn")


@pytest.mark.parametrize(
    "name",
    [
        *(".a.c.swp", ".a.c.swx", "4913", "a.c~", "#a.c#", ".#a.c", "a.c___jb_tmp___"),
        *(".goutputstream-AB12", ".a.c.kate-swp", "a.o", ".a.o.cmd", "a.ko", "a.mod.c"),
        *(".git/index", ".git/refs/heads/x"),
        *("tags", "cscope.out", ".vscode/settings.json", ".cache/clangd/index/a.idx"),
    ],
)
@pytest.mark.parametrize("title", ["our C", "kernel source"])
def test_what_editors_and_builds_write_is_no_save(place: Place, name: str, title: str) -> None:
    place = replace(place, title=title)
    before = read(place)
    (place.path / "mm" / name).parent.mkdir(parents=True, exist_ok=True)
    (place.path / "mm" / name).write_text("x")
    assert not before.differs(place.path / "mm" / name)


def test_what_a_make_in_the_tree_makes_is_no_save(place: Place) -> None:
    place = replace(place, title="kernel source")
    names = ("scripts/basic/fixdep", ".config", "include/config/SMP", "vmlinux", "made/version.h")
    text = f"mrproper:\n\t@rm -rf {' '.join(names)}\n"
    (place.path / "Makefile").write_text(text)
    before = read(place)
    for name in names:
        (place.path / name).parent.mkdir(parents=True, exist_ok=True)
        (place.path / name).write_text("built")
        assert not before.differs(place.path / name)
        assert not before.differs((place.path / name).parent)
    assert read(place) == before
    (place.path / "vmlinux").write_text("built again")
    (place.path / "made/version.h").unlink()
    for inputs in (before, read(place)):
        assert not inputs.differs(place.path / "vmlinux")
        assert not inputs.differs(place.path / "made/version.h")
    (place.path / "made/mine.h").write_text("mine")
    assert before.differs(place.path / "made/mine.h")
    assert before.differs(place.path / "made")


@pytest.mark.parametrize("title", ["our C", "kernel source"])
def test_of_a_folder_only_its_files_count(place: Place, title: str) -> None:
    place = replace(place, title=title)
    before = read(place)
    (place.path / "new/empty").mkdir(parents=True)
    (place.path / "mm").chmod(0o700)
    assert not before.differs(place.path / "new")
    assert not before.differs(place.path / "mm")
    (place.path / "new/empty/a.c").touch()
    assert before.differs(place.path / "new")
    (place.path / "mm").rename(place.path.parent / "elsewhere")
    assert before.differs(place.path / "mm")
    (place.path / "mm").mkdir()
    assert before.differs(place.path / "mm")


def test_many_changes_are_counted(place: Place) -> None:
    before = read(place)
    for number in range(8):
        (place.path / f"{number}.c").touch()
    assert read(place).changes_since(before) == ["our C: 0.c, 1.c, 2.c, 3.c, 4.c and 3 more"]


def test_the_places_of_a_run(tmp_path: Path) -> None:
    options = EmulatorTestOptions(
        target=LINUX_6_1,
        policy="rss",
        trigger="alloc",
        source=str(tmp_path),
        patches=(Path("a.patch"),),
        config=Path("up.config"),
    )
    titles = {one.path: one.title for one in places_of(options)}
    assert titles == {
        paths.COMMON: "our C",
        LINUX_6_1.patches: "patches and configuration",
        paths.MODULES: "modules",
        paths.NDK_TESTS: "programs",
        Path("a.patch").absolute(): "given file",
        Path("up.config").absolute(): "given file",
        tmp_path: "kernel source",
    }
    for source in (None, "https://host.invalid/x@1", str(tmp_path / "x.tar")):
        assert len(places_of(replace(options, source=source))) == 6


def test_our_own_files_are_named_by_their_path_in_the_repository() -> None:
    options = EmulatorTestOptions(target=LINUX_6_1, policy="rss", trigger="alloc")
    now = read_inputs(workspace(Path("/nonexistent")), options, places_of(options))
    (line,) = now.changes_since(
        replace(now, files={**now.files, Place("modules", paths.MODULES): {}})
    )
    assert line.startswith("modules: module/Kbuild, ")
