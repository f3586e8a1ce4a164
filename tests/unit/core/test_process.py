# SPDX-License-Identifier: MIT
"""Programs that the harness runs: what they say is kept, and none outlives its use."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from stand_ins import script, start_python, wait_for

from harness.core import niceness, process
from harness.core.errors import (
    BuildError,
    CommandError,
    DiskFullError,
    InfrastructureError,
    ToolMissingError,
)
from harness.core.paths import REPO

# In seconds; on a busy host a program needs a longer one to begin before it is over.
LIMITS = (0.2, 1.0, 5.0, 32.0)


def sh(script: str) -> list[str]:
    return ["sh", "-c", script]


def gone(pid_file: Path) -> bool:
    """Whether the process whose id is in the file ends."""
    pid = int(pid_file.read_text())
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    return False


def family(pid_file: Path, *, stubborn: bool = False) -> list[str]:
    """A shell with a grandchild that would live for minutes and notes its id."""
    trap = "trap '' TERM;" if stubborn else ""
    child = f"{trap} echo $$ >{pid_file}.new; mv {pid_file}.new {pid_file}; sleep 300; sleep 300"
    return sh(f"sh -c {shlex.quote(child)} & echo begun; wait; sleep 300")


def as_nice(nice: int) -> str:
    """A shell's command that ends when its session is that nice, or if none ever is."""
    own = "/proc/$$/autogroup"
    return f"until ! test -e {own} || grep -q ' nice {nice}$' {own}; do :; done"


def nicer_by(value: int) -> int:
    """What is nicer than these tests, which may be nice, too."""
    return max(0, min(os.getpriority(os.PRIO_PROCESS, 0) + value, 19))


def test_a_program_of_a_nice_harness_is_nice_in_its_own_session() -> None:
    program = (
        "import os; from harness.core import process; os.nice(5);"
        # It ends what it has started.
        f"process.run(['sh', '-c', {as_nice(nicer_by(5))!r}], process.RunOptions(timeout=30))"
    )
    process.run([sys.executable, "-c", program], process.RunOptions(timeout=60, cwd=REPO))


def test_who_stands_back_leaves_the_cpu_to_others() -> None:
    nice = nicer_by(10)
    program = (
        "import os; from harness.core import niceness; niceness.stand_back();"
        f"os.execvp('sh', ['sh', '-c', {as_nice(nice)!r} + '; nice'])"
    )
    options = process.RunOptions(timeout=60, cwd=REPO)
    assert process.run([sys.executable, "-c", program], options).output == f"{nice}\n"


@pytest.mark.parametrize("refusals", [3, 10**6])
def test_a_kernel_that_makes_one_session_nice_at_a_time(
    monkeypatch: pytest.MonkeyPatch, refusals: int
) -> None:
    written: list[str] = []
    left = iter(range(refusals))

    def write(path: Path, text: str) -> None:
        if next(left, None) is not None:
            raise BlockingIOError
        written.append(f"{path} {text}")

    monkeypatch.setattr(os, "getpriority", lambda *_: 7)
    monkeypatch.setattr(Path, "write_text", write)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    niceness.keep_nice(123)
    assert written == (["/proc/123/autogroup 7"] if refusals == 3 else [])


def test_status_and_output_of_both_streams() -> None:
    done = process.run(sh("echo out; echo err >&2; exit 3"), check=False)
    assert (done.status, sorted(done.output.split())) == (3, ["err", "out"])


def test_lines_come_while_the_program_runs(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    seen: list[str] = []

    def on_line(line: str) -> None:
        seen.append(line)
        gate.touch()

    script = f"echo first; while ! [ -e {gate} ]; do sleep 0.01; done; printf 'no newline'"
    done = process.run(sh(script), process.RunOptions(on_line=on_line, timeout=120))
    assert seen == ["first", "no newline"]
    assert done.output == "first\nno newline"


def test_log_has_command_and_output_of_each_run(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "a.log"
    process.run(["echo", "one two"], log=log)
    process.run(["echo", "three"], log=log)
    assert log.read_text() == "$ echo 'one two'\none two\n$ echo three\nthree\n"


def test_failure_names_program_status_and_tail(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with pytest.raises(BuildError) as caught:
        process.run(sh("seq 1 20; exit 7"), log=log, error=BuildError, what="make it")
    error = caught.value
    assert error.message.startswith("make it failed (status 7): sh -c")
    assert error.tail.split() == [str(number) for number in range(13, 21)]
    assert error.log == log


def test_death_by_a_signal_is_named() -> None:
    with pytest.raises(CommandError, match=r"failed \(signal 9\)"):
        process.run(sh("kill -9 $$"))


@pytest.mark.parametrize(
    ("command", "log"),
    [("echo x | cat >/dev/full", None), ("echo x", Path("/dev/full"))],
    ids=["output", "log"],
)
def test_a_full_disk_is_told_from_other_failures(command: str, log: Path | None) -> None:
    with pytest.raises(DiskFullError):
        process.run(sh(command), log=log)


def test_a_missing_program_names_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissingError, match="mmdebstrap is not installed") as caught:
        process.run(["mmdebstrap"])
    assert "apt-get install mmdebstrap" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        *((name, "look at --cross-compile") for name in ("arm-eabi-gcc", "arm-eabi-ld", "gcc")),
        ("mmdebstrap", ""),
    ],
)
def test_a_missing_program_of_the_users_is_not_looked_for_in_apt(
    tmp_path: Path, name: str, hint: str
) -> None:
    with pytest.raises(ToolMissingError, match=f"{name} is not installed") as caught:
        process.run([tmp_path / name])
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("content", "mode", "reason", "hint"),
    [
        # What the system says of a program for 32 bits without its loader, too.
        (b"#!/lib/ld-linux.so.99\n", 0o755, "its loader is missing", "libc6-i386 "),
        (b"\x7fELFjunk", 0o755, "Exec format error", "libc6-i386 "),
        (b"", 0o644, "Permission denied", ""),
    ],
)
def test_a_program_that_cannot_be_started_here(
    tmp_path: Path, content: bytes, mode: int, reason: str, hint: str
) -> None:
    program = tmp_path / "arm-eabi-gcc"
    program.write_bytes(content)
    program.chmod(mode)
    with pytest.raises(InfrastructureError) as caught:
        process.run([program])
    assert not isinstance(caught.value, ToolMissingError)
    assert caught.value.message == f"arm-eabi-gcc: {program} cannot be started here: {reason}"
    assert hint in caught.value.hint


def test_a_missing_folder_is_not_called_a_missing_program(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        process.run(["true"], process.RunOptions(cwd=tmp_path / "none"))


def test_require_names_all_that_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    process.require("sh", "env")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissingError, match="not installed: xz, adb") as caught:
        process.require("xz", "adb")
    assert "apt-get install adb xz-utils" in caught.value.hint
    with pytest.raises(ToolMissingError) as caught:
        process.require("/opt/bin/gcc", "xz")
    assert caught.value.hint.startswith("apt-get install xz-utils (")
    assert caught.value.hint.endswith("; look at --cross-compile")


def test_a_repository_that_git_was_told_of_is_not_passed_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    git = script(tmp_path / "git", "echo $GIT_DIR $GIT_SSH_COMMAND")
    monkeypatch.setenv("GIT_DIR", "/mine")
    monkeypatch.setenv("GIT_SSH_COMMAND", "ssh -4")
    assert process.run([git]).output == "ssh -4\n"
    assert process.run_on_terminal(sh('test -z "$GIT_DIR"')) == 0


def test_messages_come_in_one_language(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    options = process.RunOptions(env={"EXTRA": "!"})
    assert process.run(sh("echo $LC_ALL$EXTRA"), options).output == "C!\n"


def test_input_is_empty() -> None:
    assert process.run(["cat"], process.RunOptions(timeout=10)).output == ""


def test_input_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "input").write_text("given")
    with (tmp_path / "input").open() as stream:
        options = process.RunOptions(stdin=stream.fileno())
        assert process.run(sh("cat"), options).output == "given"


def test_bytes_that_are_no_text() -> None:
    assert process.run(["printf", r"a\377b"]).output == "a�b"


@pytest.mark.parametrize("stubborn", [False, True])
def test_a_time_limit_ends_the_whole_family(tmp_path: Path, stubborn: bool) -> None:
    pid_file = tmp_path / "pid"
    begun = time.monotonic()
    for limit in LIMITS:
        with pytest.raises(CommandError, match=rf"did not end within {limit:g} s") as caught:
            process.run(
                family(pid_file, stubborn=stubborn), process.RunOptions(timeout=limit), check=False
            )
        if pid_file.exists() and caught.value.tail:
            break
    assert caught.value.tail == "begun"
    assert gone(pid_file)
    assert time.monotonic() - begun < 120


def test_a_silent_program_meets_its_time_limit() -> None:
    with pytest.raises(CommandError, match="did not end"):
        process.run(sh("exec >/dev/null 2>&1; sleep 300"), process.RunOptions(timeout=0.3))


def test_an_error_in_the_reader_ends_the_whole_family(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"

    def on_line(_line: str) -> None:
        wait_for(pid_file)
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - it is our own
        process.run(family(pid_file), process.RunOptions(on_line=on_line))
    assert gone(pid_file)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_whole_family(tmp_path: Path, number: signal.Signals) -> None:
    pid_file = tmp_path / "pid"
    program = (
        "import sys; from harness.core import process; from harness.jobs import cli\n"
        f"sys.exit(cli.guarded(lambda: process.run({family(pid_file)!r})))\n"
    )
    harness = start_python(program)
    wait_for(pid_file, harness)
    harness.send_signal(number)
    _, said = harness.communicate(timeout=120)
    assert harness.returncode == 128 + number
    assert len(said.splitlines()) == 1
    assert gone(pid_file)


def test_a_signal_while_a_program_is_started_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy host the program may have begun long before its start is over."""
    pid_file = tmp_path / "pid"

    class Slow(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            wait_for(pid_file)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(subprocess, "Popen", Slow)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        process.run(family(pid_file))
    assert gone(pid_file)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_daemon_that_keeps_the_output_open_does_not_hold_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "_LINGER_SECONDS", 0.1)
    pid_file = tmp_path / "pid"
    daemon = f"echo $$ >{pid_file}; exec sleep 300"
    begun = time.monotonic()
    begins = f"until [ -s {pid_file} ]; do sleep 0.01; done"
    done = process.run(sh(f"setsid sh -c {shlex.quote(daemon)} & {begins}; echo end"))
    assert done.output == "end\n"
    assert time.monotonic() - begun < 60
    os.kill(int(pid_file.read_text()), signal.SIGKILL)


def test_a_program_gets_the_time_that_it_is_granted(tmp_path: Path) -> None:
    cleaned = tmp_path / "cleaned"
    trap = f"trap 'sleep 0.2; touch {cleaned}; exit' TERM"
    for limit in LIMITS:
        with pytest.raises(CommandError) as caught:
            process.run(
                sh(f"{trap}; echo begun; while :; do sleep 0.05; done"),
                process.RunOptions(timeout=limit, grace=60),
            )
        if caught.value.tail:
            break
    assert cleaned.exists()


def test_a_program_on_the_terminal_does_not_write_to_our_stdout(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert process.run_on_terminal(sh("echo a question; exit 4")) == 4
    assert capfd.readouterr() == ("", "a question\n")
