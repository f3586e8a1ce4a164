# SPDX-License-Identifier: MIT
"""The `bisect` task: ends, steps, what it says and leaves, and which verdict a run's end means."""

from __future__ import annotations

import io
import re
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from emulator_bench import Bench
from git_history import NUMBER, digest_of, git, history, line_of
from stand_ins import start_python, wait_for

from harness.build.bisection import Verdict
from harness.core.errors import (
    BootError,
    BuildError,
    CommandError,
    DeviceError,
    DiskFullError,
    DownloadError,
    HarnessError,
    InfrastructureError,
    KconfigError,
    PatchError,
    SourceError,
    SourceMovedError,
    ToolMissingError,
    UsageError,
)
from harness.jobs import bisect
from harness.jobs.bisect import Judge, Judged, emulated
from harness.jobs.options import BisectOptions, EmulatorTestOptions
from harness.results.bisect_result import BISECT, BISECT_LOG, BisectResult, read_bisect
from harness.results.folder import ResultFolder
from harness.results.run_result import RunResult, ScenarioResult
from harness.scenarios.verdict import Outcome
from harness.targets.linux_6_1 import LINUX_6_1
from harness.ui.workspace import Workspace

GOOD, BAD, SKIPPED = Verdict.GOOD, Verdict.BAD, Verdict.SKIPPED
TEST = EmulatorTestOptions(target=LINUX_6_1, policy="rss", trigger="alloc", scenarios=("report",))
WRONG = "wrong victim in report (policy rss)"


class Fixture:
    """A repository of 30 commits, and bisects of it."""

    def __init__(self, ws: Workspace, said: io.StringIO, folder: Path) -> None:
        self.ws = ws
        self.said = said
        self.source = folder / "linux"
        self.hashes = history(self.source, line_of(30))
        self.before = digest_of(self.source)
        self.results = folder / "results"
        self.judged: list[int] = []

    def run(self, judge: Judge, **options: Any) -> int:
        words = {"good": self.hashes[1], "bad": "main", "source": str(self.source), **options}
        return bisect.run(self.ws, BisectOptions(test=TEST, results=self.results, **words), judge)

    def judge(self, bad_from: int, skipped: Callable[[int], bool] = lambda _: False) -> Judge:
        def judge(ws: Workspace, test: EmulatorTestOptions) -> Judged:
            at = int((Path(test.source or "") / NUMBER).read_text())
            self.judged.append(at)
            ws.reporter.say(f"this is said of commit {at}")
            if skipped(at):
                return Judged(SKIPPED, "mm/x.c:1:1: error: no C")
            run = ResultFolder.create(test.results, "linux-6.1", "rss", datetime.now())
            run.put("report.html", "")
            run.put("command.txt", " ".join(test.command()))
            return Judged(BAD, WRONG, run.path) if at >= bad_from else Judged(GOOD, "", run.path)

        return judge

    @property
    def folder(self) -> Path:
        return (self.results / "latest").resolve()

    @property
    def result(self) -> BisectResult:
        return read_bisect((self.folder / BISECT).read_text())

    @property
    def lines(self) -> list[str]:
        return self.said.getvalue().splitlines()

    def is_clean(self) -> bool:
        """Whether no clone is left, and the repository is as it was."""
        left = list((self.ws.cache.root / "bisects").iterdir())
        return not left and digest_of(self.source) == self.before


@pytest.fixture
def fixture(ws: Workspace, said: io.StringIO, tmp_path: Path) -> Fixture:
    return Fixture(ws, said, tmp_path)


def test_what_is_said_and_left(fixture: Fixture) -> None:
    assert fixture.run(fixture.judge(17, {14, 15}.__contains__)) == 0
    short = {number: name[:12] for number, name in fixture.hashes.items()}
    assert fixture.lines[-1] == f"first bad commit: {short[17]} commit 17"
    assert "author: An Author <author@invalid>" in fixture.lines
    text = fixture.said.getvalue()
    assert re.search(rf"^good end: {short[1]} commit 1 … good, \d+ s$", text, re.M)
    assert re.search(rf"^bad end: {short[30]} commit 30 … bad \({re.escape(WRONG)}\)", text, re.M)
    assert re.search(r"^step 1 of about 5: .* … (good|bad|skipped)", text, re.M)
    assert "skipped (mm/x.c:1:1: error: no C)" in text
    assert re.search(rf"^first bad that was tested: {short[17]} .*/report\.html$", text, re.M)
    assert re.search(rf"^last good that was tested: {short[16]} .*/report\.html$", text, re.M)
    # The steps' own output is in their logs.
    assert "this is said of" not in text
    logs = sorted(fixture.folder.glob("*.log"))
    assert (fixture.folder / f"00-{short[1]}.log").read_text() == "this is said of commit 1\n"
    assert len(logs) == len(fixture.judged) + 1
    assert fixture.folder.name.endswith("-bisect-linux-6.1")
    result = fixture.result
    assert result.suspects == (fixture.hashes[17],)
    assert [one.commit for one in result.steps] == [fixture.hashes[at] for at in fixture.judged]
    assert [one.end for one in result.steps[:3]] == ["good end", "bad end", ""]
    assert result.first_bad is not None
    assert (fixture.folder / result.first_bad.folder / "report.html").is_file()
    assert result.problem == ""
    log = (fixture.folder / BISECT_LOG).read_text()
    assert f"# first bad commit: [{fixture.hashes[17]}] commit 17" in log
    assert fixture.is_clean()


def test_git_can_replay_the_log(fixture: Fixture) -> None:
    fixture.run(fixture.judge(17))
    git(fixture.source, "bisect", "replay", str(fixture.folder / BISECT_LOG))
    assert "first bad commit" in git(fixture.source, "bisect", "log")


def test_a_steps_command_outlives_the_clone(fixture: Fixture) -> None:
    fixture.run(fixture.judge(2), bad=fixture.hashes[2])
    (text,) = {path.read_text() for path in fixture.folder.glob("latest/command.txt")}
    assert text.endswith(f"--source {fixture.source}@{fixture.hashes[2]} --scenario report")


def test_no_commit_is_judged_twice(fixture: Fixture) -> None:
    fixture.run(fixture.judge(9))
    assert len(set(fixture.judged)) == len(fixture.judged)
    assert fixture.judged[:2] == [1, 30]


def test_neighbours(fixture: Fixture) -> None:
    assert fixture.run(fixture.judge(8), good=fixture.hashes[7], bad=fixture.hashes[8]) == 0
    assert fixture.judged == [7, 8]
    assert "commit 8" in fixture.lines[-1]


def test_a_merge_base_that_is_an_end_is_not_judged_again(fixture: Fixture, tmp_path: Path) -> None:
    # 1 to 5 and, from 1, 6 to 9: their merge base is 1.
    folder = tmp_path / "forked"
    hashes = history(folder, line_of(9) | {6: [1]})
    judge = fixture.judge(8)
    assert fixture.run(judge, source=str(folder), good=hashes[5], bad=hashes[9]) == 0
    assert fixture.lines[-1].endswith("commit 8")
    assert fixture.judged.count(1) == 1


@pytest.mark.parametrize(
    ("bad_from", "message"),
    [
        (1, "the good end is bad"),
        (31, "the bad end is good"),
    ],
)
def test_wrong_ends(fixture: Fixture, bad_from: int, message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        fixture.run(fixture.judge(bad_from))
    assert [line.partition(":")[0] for line in error.value.tail.splitlines()] == [
        "good end",
        "bad end",
    ]
    assert fixture.judged == [1, 30]
    assert message in fixture.result.problem
    assert fixture.is_clean()


@pytest.mark.parametrize("end", [1, 30])
def test_an_end_without_a_verdict(fixture: Fixture, end: int) -> None:
    with pytest.raises(InfrastructureError, match=r"no verdict on the (good|bad) end") as error:
        fixture.run(fixture.judge(17, {end}.__contains__))
    assert "skipped (mm/x.c:1:1: error: no C)" in error.value.tail
    assert error.value.exit_status == 3


def test_only_skipped_commits_left(fixture: Fixture) -> None:
    with pytest.raises(InfrastructureError, match="only skipped commits are left") as error:
        fixture.run(fixture.judge(16, lambda at: 13 <= at <= 16))
    short = {number: name[:12] for number, name in fixture.hashes.items()}
    assert error.value.exit_status == 3
    assert error.value.message.endswith(f"one of 5, after {short[12]} and up to {short[17]}")
    assert sorted(error.value.tail.splitlines()) == sorted(
        f"{short[at]} commit {at}" for at in range(13, 18)
    )
    assert set(fixture.result.suspects) == {fixture.hashes[at] for at in range(13, 18)}
    assert fixture.result.first_bad is None
    assert "only skipped" in fixture.result.problem
    assert fixture.is_clean()


def test_an_error_that_is_not_the_commits_ends_it(fixture: Fixture) -> None:
    inner = fixture.judge(17)

    def judge(ws: Workspace, test: EmulatorTestOptions) -> Judged:
        if len(fixture.judged) == 4:
            raise ToolMissingError("not installed: gcc")
        return inner(ws, test)

    with pytest.raises(ToolMissingError):
        fixture.run(judge)
    assert len(fixture.judged) == 4
    assert fixture.result.problem == "not installed: gcc"
    assert len(fixture.result.steps) == 4
    log = (fixture.folder / BISECT_LOG).read_text()
    assert len(re.findall("^git bisect (?:good|bad) ", log, re.M)) == 2
    assert fixture.is_clean()


def test_files_that_change_between_the_steps_end_it(fixture: Fixture, tmp_path: Path) -> None:
    inner, patch = fixture.judge(17), tmp_path / "a.patch"
    patch.write_text("before")
    test = replace(TEST, patches=(patch,))

    def judge(ws: Workspace, test: EmulatorTestOptions) -> Judged:
        if len(fixture.judged) == 2:
            patch.write_text("behind")
        return inner(ws, test)

    told = BisectOptions(
        test=test,
        source=str(fixture.source),
        good=fixture.hashes[1],
        bad="main",
        results=fixture.results,
    )
    with pytest.raises(InfrastructureError, match="have changed") as ended:
        bisect.run(fixture.ws, told, judge)
    assert ended.value.tail == "given file: a.patch"
    # The step is no step: nobody knows what it has tested.
    assert (len(fixture.judged), len(fixture.result.steps)) == (3, 2)
    assert fixture.is_clean()


def test_another_reason_is_told(fixture: Fixture) -> None:
    inner = fixture.judge(17)

    def judge(ws: Workspace, test: EmulatorTestOptions) -> Judged:
        judged = inner(ws, test)
        if fixture.judged[-1] == 30:
            return replace(judged, reason="kernel died in x")
        return judged

    assert fixture.run(judge) == 0
    assert "note: the bad end failed otherwise: kernel died in x" in fixture.lines


def test_texts_of_a_commit_are_shown_printable(fixture: Fixture, tmp_path: Path) -> None:
    folder = tmp_path / "hostile"
    hashes = history(folder, line_of(2), subject="[bold]\x1b[2Jgone\x07 \u202e{}".format)
    fixture.run(fixture.judge(2), source=str(folder), good=hashes[1], bad=hashes[2])
    text = fixture.said.getvalue()
    assert r"[bold]\x1b[2Jgone\x07 \u202e2" in text
    assert "\x1b" not in text
    assert "\u202e" not in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"good": "none"}, "has no commit none"),
        ({"bad": "--all"}, "has no commit --all"),
        ({"good": "main"}, "both ends are the same commit"),
        ({"good": "main", "bad": "main~3"}, "git cannot bisect"),
        ({"source": "/nowhere"}, "no such directory"),
        ({"source": "/etc/passwd"}, "needs a git repository"),
        ({"source": "/etc"}, "is no git repository"),
    ],
)
def test_wrong_usage(fixture: Fixture, options: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        fixture.run(fixture.judge(17), **options)
    assert fixture.judged == []


def test_a_wrong_scenario_is_known_before_anything_is_cloned(fixture: Fixture) -> None:
    options = BisectOptions(
        test=replace(TEST, scenarios=("none",)),
        source=str(fixture.source),
        good=fixture.hashes[1],
        bad="main",
        results=fixture.results,
    )
    with pytest.raises(UsageError, match="none"):
        bisect.run(fixture.ws, options, fixture.judge(17))
    assert not fixture.results.exists()


def test_a_url(fixture: Fixture) -> None:
    git(fixture.source, "tag", "first", fixture.hashes[3])
    url = f"file://{fixture.source}"
    assert fixture.run(fixture.judge(17), source=url, good="first") == 0
    assert fixture.lines[-1].endswith("commit 17")
    # New commits are fetched into the same copy.
    assert fixture.run(fixture.judge(9), source=url, good="first", bad=fixture.hashes[12]) == 0
    assert fixture.lines[-1].endswith("commit 9")
    assert len(list((fixture.ws.cache.root / "mirrors").iterdir())) == 1
    with pytest.raises(SourceError, match="git fetch of file://"):
        fixture.run(fixture.judge(9), source=url, good="nothing")
    for name in ("main~3", "+main:refs/heads/x", "--upload-pack=x", "^main"):
        with pytest.raises(UsageError, match="no name that a server can be asked for"):
            fixture.run(fixture.judge(9), source=url, good=name)


_INTERRUPTED = """
import sys, time
from pathlib import Path
from harness.core.cache import Cache
from harness.jobs import bisect, cli
from harness.jobs.bisect import Judged
from harness.jobs.options import BisectOptions, EmulatorTestOptions
from harness.build.bisection import Verdict
from harness.targets.linux_6_1 import LINUX_6_1
from harness.ui.workspace import Workspace

source, folder, good = sys.argv[1:]
folder = Path(folder)

def judge(ws, test):
    number = int((Path(test.source) / "number").read_text())
    if number not in (1, 30):
        (folder / "judging").touch()
        time.sleep(600)
    return Judged(Verdict.BAD if number > 1 else Verdict.GOOD)

test = EmulatorTestOptions(target=LINUX_6_1, policy="rss", trigger="alloc")
options = BisectOptions(test=test, source=source, good=good, bad="main", results=folder / "results")
sys.exit(cli.guarded(lambda: bisect.run(Workspace(Cache(folder / "cache")), options, judge)))
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_and_leaves_nothing_running(
    fixture: Fixture, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    words = (fixture.source, tmp_path, fixture.hashes[1])
    program = start_python(_INTERRUPTED, *words)
    try:
        wait_for(tmp_path / "judging", program)
        program.send_signal(number)
        program.communicate(timeout=120)
    finally:
        program.kill()
        program.wait()
    assert program.returncode == status
    assert len(fixture.result.steps) == 2
    assert fixture.result.problem in ("KeyboardInterrupt", "Terminated")
    assert "git bisect start" in (fixture.folder / BISECT_LOG).read_text()
    assert fixture.is_clean()
    assert not _programs_below(tmp_path)


def test_a_killed_bisect_leaves_no_program_and_the_next_one_cleans_up(
    fixture: Fixture, tmp_path: Path
) -> None:
    program = start_python(_INTERRUPTED, fixture.source, tmp_path, fixture.hashes[1])
    try:
        wait_for(tmp_path / "judging", program)
    finally:
        program.kill()
        program.wait()
    # The step that waits for an answer gets none.
    deadline = time.monotonic() + 60
    while _programs_below(tmp_path):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert len(list((fixture.ws.cache.root / "bisects").iterdir())) == 1
    assert fixture.run(fixture.judge(17)) == 0
    assert fixture.is_clean()


def _programs_below(folder: Path) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            here = (process / "cwd").readlink()
        except OSError:
            continue
        if folder in (here, *here.parents):
            found.append(process.name)
    return found


# --- how a commit is judged --------------------------------------------------


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (PatchError("x"), SKIPPED),
        (KconfigError("x"), SKIPPED),
        (BuildError("x"), SKIPPED),
        (DeviceError("x"), SKIPPED),
        (BootError("x"), SKIPPED),
        (ToolMissingError("x"), None),
        (DiskFullError("x"), None),
        (CommandError("x"), None),
        (DownloadError("x"), None),
        (SourceMovedError("x"), None),
        (InfrastructureError("x"), None),
        (UsageError("x"), None),
    ],
    ids=lambda one: type(one).__name__ if isinstance(one, HarnessError) else "",
)
def test_which_errors_are_the_commits(error: HarnessError, verdict: Verdict | None) -> None:
    seen = [RunResult("linux-6.1", "rss", "alloc", problem="x")]
    assert bisect._verdict_of(error, seen, boot_fails_is_bad=False) == verdict
    assert bisect._verdict_of(error, [], boot_fails_is_bad=False) == verdict
    wanted = BAD if isinstance(error, BootError) else verdict
    assert bisect._verdict_of(error, seen, boot_fails_is_bad=True) == wanted


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    history(folder, line_of(1))
    return folder


def judged(bench: Bench, tree: Path, **options: Any) -> Judged:
    test = replace(TEST, source=str(tree), jobs="1", results=bench.results, **options)
    return emulated(boot_fails_is_bad=False)(bench.ws, test)


def test_a_run_that_passes_is_good(bench: Bench, tree: Path) -> None:
    found = judged(bench, tree)
    assert (found.verdict, found.reason) == (GOOD, "")
    assert found.folder is not None
    assert (found.folder / "verdict.json").is_file()


def test_a_build_that_fails_is_skipped(bench: Bench, tree: Path) -> None:
    bench.build_error = BuildError("make zImage failed: mm/x.c:1:1: error: no C")
    found = judged(bench, tree)
    assert (found.verdict, found.reason) == (SKIPPED, bench.build_error.message)
    bench.build_error = ToolMissingError("not installed: gcc")
    with pytest.raises(ToolMissingError):
        judged(bench, tree)


def test_another_version_is_skipped(bench: Bench, tree: Path) -> None:
    (tree / "Makefile").write_text("VERSION = 6\nPATCHLEVEL = 2\nSUBLEVEL = 0\n")
    found = judged(bench, tree)
    assert found == Judged(SKIPPED, "this commit is Linux 6.2.0, but linux-6.1 needs 6.1")
    (tree / "Makefile").unlink()
    assert judged(bench, tree).verdict is SKIPPED


def test_a_scenario_without_a_verdict_is_skipped(bench: Bench) -> None:
    error = InfrastructureError("FAIL: no verdict in report")
    passed = Outcome.INFRASTRUCTURE_FAILED
    one = ScenarioResult("report", "rss", "alloc", passed)
    seen = [RunResult("linux-6.1", "rss", "alloc", judged=(one,))]
    assert bisect._verdict_of(error, seen, boot_fails_is_bad=False) is SKIPPED
