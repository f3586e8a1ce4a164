# SPDX-License-Identifier: MIT
"""How runs end: exit statuses and what is said on stderr."""

from __future__ import annotations

import codecs
import errno
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from stand_ins import start_python, wait_for

from harness.core.errors import HarnessError, InfrastructureError, UsageError, VerdictError
from harness.core.paths import REPO
from harness.jobs import cli
from harness.ui.events import Error, Event, Message, PhaseBegin, PhaseEnd, RunBegin, RunEnd, decode
from harness.ui.progress import Reporter


def raising(error: BaseException) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (VerdictError("wrong victim"), 1),
        (UsageError("what?"), 2),
        (InfrastructureError("no tool"), 3),
        (HarnessError("something"), 3),
    ],
)
def test_errors_have_their_status_and_a_short_text(
    error: HarnessError, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.guarded(raising(error)) == status
    said = capsys.readouterr()
    assert said.err == f"error: {error}\n"
    assert said.out == ""


@pytest.mark.parametrize("status", [None, 0, 1, 3])
def test_a_status_is_passed_on_without_a_word(
    status: int | None, capsys: pytest.CaptureFixture[str]
) -> None:
    work = (lambda: None) if status is None else lambda: cli.finish(status)
    assert cli.guarded(work) == (status or 0)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("error", "done"),
    [
        (None, True),
        (cli.StatusError(1), True),
        (UsageError("what?"), True),
        (KeyboardInterrupt(), False),
        (cli.Terminated(signal.SIGTERM), False),
    ],
)
def test_what_is_done_at_the_end(
    error: BaseException | None, done: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    def work() -> None:
        cli.at_end(lambda say: say("made room"))
        sys.stdout.write("PASS\n")
        if error is not None:
            raise error

    for _ in range(2):
        cli.guarded(work)
        said = capsys.readouterr()
        assert said.err.splitlines().count("made room") == done
        assert said.out == "PASS\n"


def test_what_nobody_foresaw_is_one_line_and_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.guarded(raising(KeyError("a\nb"))) == 3
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("internal error: KeyError:")
    assert "--debug" in second


@pytest.mark.parametrize("error", [KeyError("x"), UsageError("x"), KeyboardInterrupt()])
def test_debug_adds_the_traceback(error: BaseException, capsys: pytest.CaptureFixture[str]) -> None:
    cli.guarded(raising(error), debug=lambda: True)
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_system_exit_passes() -> None:
    with pytest.raises(SystemExit):
        cli.guarded(raising(SystemExit(5)))


def test_a_broken_pipe_to_someone_else_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.guarded(raising(BrokenPipeError("adb"))) == 3
    assert "BrokenPipeError" in capsys.readouterr().err


def test_the_handlers_of_before_come_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    cli.guarded(lambda: None)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


PROGRAM = """
import sys, time
from pathlib import Path
from harness.jobs import cli

def work():
    try:
        Path(sys.argv[1], "begun").touch()
        # Python sleeps on if a signal arrives just before a sleep begins.
        while True:
            time.sleep(0.01)
    finally:
        Path(sys.argv[1], "cleaning").touch()
        while not Path(sys.argv[1], "clean").exists():
            time.sleep(0.01)
        Path(sys.argv[1], "cleaned").touch()

sys.exit(cli.guarded(work))
"""


def start(folder: Path) -> subprocess.Popen[str]:
    """The program: its clean-up ends when there is a file `clean`."""
    program = start_python(PROGRAM, folder)
    wait_for(folder / "begun")
    return program


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (signal.SIGINT, "interrupted\n"),
        (signal.SIGTERM, "terminated (SIGTERM)\n"),
        (signal.SIGHUP, "terminated (SIGHUP)\n"),
    ],
)
def test_signals_clean_up(tmp_path: Path, number: signal.Signals, said: str) -> None:
    (tmp_path / "clean").touch()
    program = start(tmp_path)
    program.send_signal(number)
    assert program.communicate(timeout=120)[1] == said
    assert program.returncode == 128 + number
    assert (tmp_path / "cleaned").exists()


@pytest.mark.parametrize(("number", "third"), [(signal.SIGINT, False), (signal.SIGTERM, True)])
def test_a_second_signal_does_not_cut_the_clean_up_short_and_a_third_does(
    tmp_path: Path, number: signal.Signals, third: bool
) -> None:
    program = start(tmp_path)
    program.send_signal(number)
    wait_for(tmp_path / "cleaning")
    program.send_signal(number)
    # Two that come before the first is taken are one.
    assert program.stderr is not None
    assert program.stderr.readline() == "cleaning up; once more to leave it undone\n"
    if third:
        program.send_signal(number)
    else:
        (tmp_path / "clean").touch()
    _, said = program.communicate(timeout=120)
    assert program.returncode == 128 + number
    assert third or said == "interrupted\n"
    assert (tmp_path / "cleaned").exists() != third


@pytest.mark.parametrize(
    ("mode", "say"),
    [
        ("auto", "print('x' * 99, flush=True)"),
        ("auto", "reporter.say('x' * 99)"),
        ("json", "reporter.say('x' * 99)"),
    ],
)
def test_a_reader_that_went_away_is_no_error(mode: str, say: str) -> None:
    program = (
        "import sys; from harness.jobs import cli; from harness.ui.progress import Reporter\n"
        f"reporter = Reporter(mode='{mode}')\n"
        f"def work():\n    while True: {say}\n"
        "sys.exit(cli.guarded(work, reporter=lambda: reporter))\n"
    )
    read, write = os.pipe()
    started = start_python(program, stdout=write)
    os.close(write)
    os.read(read, 10)
    os.close(read)
    assert started.communicate(timeout=120)[1] == ""
    assert started.returncode == 128 + signal.SIGPIPE


# --- what a program is told --------------------------------------------------------------


def told(work: Callable[[Reporter], object], capsys: pytest.CaptureFixture[str]) -> list[Event]:
    """What goes to stdout as JSON when `work` ends."""
    reporter = Reporter(mode="json", command=["./inv", "task"])
    cli.guarded(lambda: work(reporter), reporter=lambda: reporter)
    return [decode(line).event for line in capsys.readouterr().out.splitlines()]


BEGIN = RunBegin(("./inv", "task"))


@pytest.mark.parametrize(
    ("error", "event"),
    [
        (UsageError("what?", hint="that"), Error("what?", "that", 2)),
        (
            InfrastructureError("no tool", log=Path("a.log"), tail="b\nc"),
            Error("no tool", "", 3, "a.log", "b\nc"),
        ),
        (KeyboardInterrupt(), Error("interrupted", "", 130)),
        (cli.Terminated(signal.SIGTERM), Error("terminated (SIGTERM)", "", 143)),
        (
            KeyError("x"),
            Error("internal error: KeyError: 'x'", "the same command with --debug shows where", 3),
        ),
    ],
)
def test_an_error_is_an_event_too(
    error: BaseException, event: Error, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(reporter: Reporter) -> None:
        with reporter.phase("x"):
            raise error

    begin, phase, end, *rest = told(work, capsys)
    assert (begin, phase) == (BEGIN, PhaseBegin(1, "x"))
    assert isinstance(end, PhaseEnd)
    assert end.stopped
    assert rest == [event, RunEnd("", event.status)]


@pytest.mark.parametrize("status", [0, 1])
def test_the_status_is_in_the_last_event(status: int, capsys: pytest.CaptureFixture[str]) -> None:
    def work(reporter: Reporter) -> None:
        reporter.result("the result")
        cli.finish(status)

    assert told(work, capsys) == [
        BEGIN,
        Message("the result", result=True),
        RunEnd("the result", status),
    ]


def inv(words: str, cache: Path) -> subprocess.CompletedProcess[str]:
    """Run `inv` with these words and redirections, and catch what is not redirected."""
    return subprocess.run(
        ["sh", "-c", f"({sys.executable} {REPO}/inv_program.py {words})"],
        env={**os.environ, "XDG_CACHE_HOME": str(cache)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("--json cache", 3, "error: no space left on the disk"),
        ("--json doctor --kernel none", 2, "error: no kernel is called 'none'"),
    ],
)
def test_a_full_disk_behind_stdout(words: str, status: int, said: str, tmp_path: Path) -> None:
    done = inv(f"{words} >/dev/full", tmp_path)
    assert done.returncode == status
    assert done.stderr.startswith(said)
    assert len(done.stderr.splitlines()) <= 2


# --- where the output goes, and where files are ------------------------------------------

PRINTS = """
import sys
from harness.jobs import cli
from harness.core.errors import UsageError
cli.fit_output()
def work():
    print("patch kernel … ä ≤ \udce4")
    raise UsageError("ä …")
sys.exit(cli.guarded(work))
"""


@pytest.mark.parametrize(
    ("encoding", "out"),
    [
        ("latin-1", b"patch kernel ... \xe4 <= ?\n"),
        ("gbk", b"patch kernel \xa1\xad ? \xa1\xdc ?\n"),
        ("ascii", b"patch kernel ... ? <= ?\n"),
        ("", "patch kernel … ä ≤ ?\n".encode()),
    ],
)
def test_what_an_encoding_has_not_is_printed_plainly(encoding: str, out: bytes) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", PRINTS.replace("\udce4", r"\udce4")],
        cwd=REPO,
        env={**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": encoding},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, out)


@pytest.mark.parametrize(
    ("codeset", "expected"),
    [("ISO-8859-1", "iso8859-1"), ("EUC-JP", "euc_jp"), ("UTF-8", "utf-8"), ("ASCII", "utf-8")],
)
def test_a_terminal_is_what_its_locale_says(
    codeset: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    monkeypatch.setattr("sys.stdout", stream)
    monkeypatch.setattr("locale.getencoding", lambda: codeset)
    monkeypatch.delenv("PYTHONIOENCODING", raising=False)
    cli.fit_output()
    assert codecs.lookup(stream.encoding).name == expected


@pytest.mark.parametrize("command", ["doctor --none", "--list"])
@pytest.mark.parametrize(
    "streams",
    [">&-", "2>&-", "<&-", "<&- >&- 2>&-", ">/dev/full", "2>/dev/full", ">/dev/full 2>&1"],
)
def test_a_stream_that_takes_nothing(command: str, streams: str, tmp_path: Path) -> None:
    done = inv(f"{command} {streams}", tmp_path)
    full = streams.startswith(">/dev/full")
    assert done.returncode == (2 if "--none" in command else 3 if full else 0)
    assert "Traceback" not in done.stderr
    assert "internal error" not in done.stderr
    if command == "--list" and streams == ">/dev/full":
        assert done.stderr.startswith("error: no space left: standard output")


def refused(path: Path, number: int = errno.EACCES) -> Callable[[], None]:
    return raising(OSError(number, os.strerror(number), str(path)))


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("{cache}/goldfish-oom/locks", "set XDG_CACHE_HOME to a folder that you may write to"),
        ("{cache}", "set XDG_CACHE_HOME to a folder that you may write to"),
        ("{repo}/results", "clone the repository to a folder that you may write to"),
        ("/elsewhere", ""),
    ],
)
@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_what_a_user_may_not_write(
    path: str,
    hint: str,
    number: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = path.format(cache=tmp_path, repo=REPO)
    assert cli.guarded(refused(Path(path), number)) == 3
    first, *rest = capsys.readouterr().err.splitlines()
    assert first == f"error: this user may not write to or read {path} ({os.strerror(number)})"
    assert rest == ([f"  try: {hint}"] if hint else [])


def test_a_disk_that_is_full_is_no_internal_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.guarded(refused(Path("/x"), errno.ENOSPC)) == 3
    assert capsys.readouterr().err == "error: no space left: /x\n  try: free some space\n"
