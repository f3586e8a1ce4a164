# SPDX-License-Identifier: MIT
"""How runs end: exit statuses and what is said on stderr."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import cli
from harness.errors import HarnessError, InfrastructureError, UsageError, VerdictError
from harness.paths import REPO


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


def test_nothing_is_said_of_success(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.guarded(lambda: None) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("status", [0, 1, 3])
def test_a_status_is_passed_on(status: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.guarded(lambda: cli.finish(status)) == status
    assert capsys.readouterr().err == ""


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


def test_ctrl_c(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.guarded(raising(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "interrupted\n"


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
from harness import cli

def work():
    try:
        Path(sys.argv[1], "begun").touch()
        time.sleep(60)
    finally:
        Path(sys.argv[1], "cleaning").touch()
        time.sleep(float(sys.argv[2]))
        Path(sys.argv[1], "cleaned").touch()

sys.exit(cli.guarded(work))
"""


def start(folder: Path, cleaning: float) -> subprocess.Popen[str]:
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder), str(cleaning)],
        cwd=REPO,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(folder / "begun")
    return program


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (signal.SIGINT, "interrupted\n"),
        (signal.SIGTERM, "terminated (SIGTERM)\n"),
        (signal.SIGHUP, "terminated (SIGHUP)\n"),
    ],
)
def test_signals_clean_up(tmp_path: Path, number: signal.Signals, said: str) -> None:
    program = start(tmp_path, 0)
    program.send_signal(number)
    assert program.communicate(timeout=20)[1] == said
    assert program.returncode == 128 + number
    assert (tmp_path / "cleaned").exists()


def test_a_second_signal_does_not_cut_the_clean_up_short(tmp_path: Path) -> None:
    program = start(tmp_path, 0.5)
    program.send_signal(signal.SIGINT)
    wait_for(tmp_path / "cleaning")
    program.send_signal(signal.SIGINT)
    _, said = program.communicate(timeout=20)
    assert said.splitlines() == ["cleaning up; once more to leave it undone", "interrupted"]
    assert (tmp_path / "cleaned").exists()


def test_a_third_signal_does(tmp_path: Path) -> None:
    program = start(tmp_path, 60)
    program.send_signal(signal.SIGTERM)
    wait_for(tmp_path / "cleaning")
    for _ in range(2):
        program.send_signal(signal.SIGTERM)
        time.sleep(0.2)
    program.communicate(timeout=20)
    assert program.returncode == 143
    assert not (tmp_path / "cleaned").exists()


@pytest.mark.parametrize("how", ["print", "reporter"])
def test_a_reader_that_went_away_is_no_error(how: str) -> None:
    say = {
        "print": "print('x' * 99, flush=True)",
        "reporter": "reporter.say('x' * 99)",
    }[how]
    program = (
        "import sys; from harness import cli; from harness.progress import Reporter\n"
        "reporter = Reporter()\n"
        f"def work():\n    while True: {say}\n"
        "sys.exit(cli.guarded(work))\n"
    )
    read, write = os.pipe()
    started = subprocess.Popen(
        [sys.executable, "-c", program], cwd=REPO, stdout=write, stderr=subprocess.PIPE, text=True
    )
    os.close(write)
    os.read(read, 10)
    os.close(read)
    assert started.communicate(timeout=20)[1] == ""
    assert started.returncode == 128 + signal.SIGPIPE
