# SPDX-License-Identifier: MIT
"""The device's programs, built for this machine and run on it.

Two builds: one for a kernel that does not have the syscalls (this one), and one
in which both numbers are those of a syscall that returns 0 and does nothing, so
that what comes after a limit was set can be seen.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import platform
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.bench.output import idle_pid, parse_bench
from harness.build.programs import HEADER, PROGRAMS, syscall_header
from harness.core.paths import NDK_TESTS
from harness.kernel_output.programs_output import Usage, parse_output, parse_usage

# More than any of them takes, also on a busy machine.
TIMEOUT = 300
ABSENT = 500
SCHED_YIELD = {"x86_64": 24, "aarch64": 124}
HOGS = ("oom_test_kernel", "oom_test_daemon")
MIB = 1 << 20


def make(folder: Path, include: Path, *words: str) -> None:
    """Builds programs into the folder, with the header in `include`."""
    command = ["make", "--jobs=2", f"--file={NDK_TESTS / 'build' / 'Makefile'}", f"OUT={folder}"]
    made = subprocess.run(
        [*command, f"MM_LIMITS_INCLUDE={include}", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both builds; what knows nothing of the numbers is compiled once."""
    folder = tmp_path_factory.mktemp("programs")
    for name, number in (("absent", ABSENT), ("willing", SCHED_YIELD[platform.machine()])):
        header = syscall_header({"set_mm_limits": number, "my_oom_killer": number})
        (folder / HEADER).write_text(header)
        make(folder / "out", folder)
        shutil.copytree(folder / "out", folder / name, ignore=shutil.ignore_patterns("obj"))
    return folder


@pytest.fixture(scope="module")
def programs(builds: Path) -> Path:
    """The programs as they are on a kernel without the syscalls."""
    return builds / "absent"


@pytest.fixture(scope="module")
def willing(builds: Path) -> Path:
    """The programs on a kernel whose syscalls succeed and do nothing."""
    return builds / "willing"


@dataclass(frozen=True)
class Ended:
    status: int
    out: str
    err: str
    seconds: float


def run(program: Path, *arguments: str | bytes, prepare: Callable[[], None] | None = None) -> Ended:
    started = time.monotonic()
    ended = subprocess.run(
        [program, *arguments],
        capture_output=True,
        timeout=TIMEOUT,
        preexec_fn=prepare,
        check=False,
    )
    return Ended(
        ended.returncode,
        ended.stdout.decode(),
        ended.stderr.decode(errors="replace"),
        time.monotonic() - started,
    )


@contextlib.contextmanager
def running(program: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A program that is read from and written to while it runs; it is gone afterwards."""
    with subprocess.Popen(
        [program, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def read_until(process: subprocess.Popen[str], prefix: str) -> str:
    """The output up to the first line that begins with `prefix`, and with it."""
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if line.startswith(prefix):
            return seen
    raise AssertionError(f"no line begins with {prefix!r} in: {seen}")


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    rest, _ = process.communicate(timeout=TIMEOUT)
    return process.returncode, rest


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def name_of_absent() -> str:
    """What this kernel (or what filters its syscalls) says of a number without a syscall."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.syscall(ABSENT, 1000, 0) == -1
    return errno.errorcode[ctypes.get_errno()]


# Arguments


@pytest.mark.parametrize("name", PROGRAMS)
def test_help(programs: Path, name: str) -> None:
    ended = run(programs / name, "-h")
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith(f"usage: {name} ")


# What a program does not take, as one would type it in a shell.
NO_USERS = ("nobody-is-called-so", "''", "root:x", "4294967296")
NO_APPS = ("u0_a", "u0_a10000", "u0_a-1", "u0_a7x")
NO_SIZES = ("''", "'5000 '", "+5000", "0x5000", "18446744073709551616")
BAD_LIMITS = [
    *("", "root", "root 5000 6000", "-e", "-z root 5000"),
    *(f"{user} 5000" for user in (*NO_USERS, *NO_APPS)),
    *(f"root {size}" for size in NO_SIZES),
    *(f"-e {name} root 5000" for name in ("EWHAT", "2")),
    *(f"-m {marker} root 5000" for marker in ("''", "'two words'", "m" * 65)),
]
BAD_INTERVALS = [
    *("", "1 2", "-c", "-c 0 1", "-c x 1"),
    *("0", "0.000", "''", ".", ".5", "1.", "1.2345", "-1", "1e3", "nan", "inf"),
    *("86401", "99999999999999999999"),
]
NO_SPECS = (
    *("0", "-5000", "", "5000x", "5000,", ",cpu=5", "5000,cpu=", "5000,cpu=1.5"),
    *("5000,adj=1001", "5000,adj=--5", "5000,adj=-", "5000,size=7", "5000,cpus=7"),
    *("5000,name=sixteen.letters!", "5000,name=\\", "5000,name=\\q", "5000,name=\\x4"),
    *("5000,name=\\x00", "5000,name=" + "n" * 500, "18446744073709551616"),
    *("5000,leader=", "5000,leader=works", "5000,user=", "5000,then=nobody-is-called-so"),
    *("5000,sharers", "5000,reads=1"),
)
BAD_HOGS = [
    *("", "root 0", "root x 5000", "root -5 5000", "root 0" + " 5000" * 1001),
    *(f"root 0 '{spec}'" for spec in NO_SPECS),
    *(f"-e {letters} root 0 5000" for letters in ("LL", "X", "''")),
    # No file to read; no memory to share, or not one after the other.
    *("root 0 5000,reads", "root 0 5000,sharer", "-a root 0 5000 5000,sharer"),
    *("root 0 5000 5000,sharer,leader=waits", "root 0 5000 5000,sharer,then=root"),
    *("-s -1 root 0 5000", "-s 99999999999 root 0 5000", "-t soon root 0 5000"),
]
BAD_CASES = [
    *("", "nothing", "after-exec", "after-exec x", "-k", "-k x vfork 5000", "-z vfork 5000"),
    *("vfork", "vfork 0", "vfork x", "vfork -1", "vfork 5000 6000", "zombies 0"),
    *("threads 5000", "threads 0 5000", "threads 501 5000"),
    *("setuid-down 5000 nobody-is-called-so", "-u nobody-is-called-so vfork 5000"),
    "clone-vm-across root 5000 root",
]
NO_REQUESTS = ("", "nothing", "kill 1", "set 1", "set 1 x", "set 1 5000 6000", "write file", "read")
BAD_REQUESTS = [
    *("", "nobody-is-called-so none kill", "-m", "-o root none kill", "-z root none kill"),
    *(f"root none {request}" for request in NO_REQUESTS),
    *(f"root {caps} kill" for caps in ("''", "-", "kill,", "kill,nothing", "-all")),
    *(f"-n {times} root none kill" for times in ("0", "1000001", "x")),
    *(f"-m {pair} root none kill" for pair in ("1", "=1", "1=", "-1=1", "4294967296=1")),
    "-m 1=1 " * 5 + "root none kill",
]
BAD_TRIES = ["set root", "set x 1", "adopt root", "adopt nobody-is-called-so x", "nothing", ""]
BAD_BENCH = [
    *("", "nothing", "-g", "-z touch 5 1", "-t 0 touch 5 1", "-m 'two words' touch 5 1"),
    *("touch", "touch 5", "touch 5 0", "touch 0 1", "touch 5 1001", "touch 262145 1"),
    *("touch 5 1 1", "storm 65 5 1", "work 4001 5 1", "idle x", "overshoot root 5 1 1 1"),
    "overshoot nobody-is-called-so 50000 1 1 1",
    *("look root 5000 1", "hold", "hold 0", "bystander root 5000 4001 1 1", "pipe root 5 1"),
]
BAD_ATTACKS = [
    *("", "nothing", "forks", "forks x", "forks 2001", "forks 1 1", "-z forks 1", "traced -1"),
    *("large 1", "threads 1 1", "pipe-write nobody-is-called-so", "subuids root x 1"),
]
BAD = {
    "attack": BAD_ATTACKS,
    "test_set_mm_limits": BAD_LIMITS,
    "oom_daemon": BAD_INTERVALS,
    "watch_memory": BAD_INTERVALS,
    "oom_test_kernel": [*BAD_HOGS, "-w 1 root 0 5000"],
    "oom_test_daemon": [*BAD_HOGS, "-w x root 0 5000"],
    "who_pays": BAD_CASES,
    "fail_nth": BAD_TRIES,
    "mm_limits_fuzz": ["x", "-t x 1", "-f 101 1", ""],
    "bench_work": BAD_BENCH,
    "fork_bomb": ["", "5000", "0 f", "x f", "5000 f f"],
    "privileges": BAD_REQUESTS,
}


@pytest.mark.parametrize(
    ("name", "words"),
    [(name, words) for name, lines in BAD.items() for words in lines],
    ids=lambda text: text[:60],
)
def test_bad_arguments(programs: Path, name: str, words: str) -> None:
    ended = run(programs / name, *shlex.split(words))
    assert (ended.status, ended.out) == (2, "")
    assert len(ended.err.splitlines()[0]) > len(name)
    assert f"usage: {name} " in ended.err


OPTIONS = ["-a", "-c", "-e", "-k", "-m", "-n", "-o", "-s", "-t", "-u", "-v", "-w", "--", "-"]
GOOD = ["root", "u0_a70", "0", "1", "5000", "max", "K", "L", "EPERM", "5000,cpu=1", "5000,name=x"]
GOOD += ["threads", "clone-vm", "vfork", "zombies", "setuid-down"]
GOOD += ["all", "kill", "-kill", "set", "1=1"]
# Arguments are bytes, of any value but NUL.
WORDS = st.sampled_from([os.fsencode(word) for word in OPTIONS + GOOD]) | st.binary(
    max_size=40
).map(lambda word: word.replace(b"\0", b""))


@pytest.mark.parametrize("name", PROGRAMS)
@given(words=st.lists(WORDS, max_size=8))
def test_no_arguments_crash_a_program(programs: Path, name: str, words: list[bytes]) -> None:
    # The last words cannot be right, whatever stands before them: nothing is run.
    ended = run(programs / name, *words, b"bad,", b"bad,")
    assert ended.status in (0, 2)
    assert (ended.out if ended.status == 0 else ended.err).count("usage: ") == 1
    # Only help ends well.
    assert ended.status == 2 or any(word.startswith(b"-") and b"h" in word for word in words)


# test_set_mm_limits


def test_a_kernel_without_the_syscall(programs: Path) -> None:
    program = programs / "test_set_mm_limits"
    name = name_of_absent()
    number = getattr(errno, name)
    line = f"set_mm_limits: uid=10070, mm_max=100000000, ret=-1, errno={number}\n"
    done = "done: program=test_set_mm_limits, marker={}, checks={}/1\n"
    ended = run(program, "-m", "m-1", "u0_a70", "100000000")
    assert (ended.status, ended.out) == (1, line + done.format("m-1", 0))
    ended = run(program, "-e", name, "10070", "100000000")
    assert (ended.status, ended.out) == (0, line + done.format("none", 1))
    assert run(program, "-e", "0", "10070", "5000").status == 1


@pytest.mark.parametrize(
    ("user", "uid"), [("root", 0), ("u0_a0", 10000), ("u0_a9999", 19999), ("4294967295", 2**32 - 1)]
)
def test_users_and_removal(willing: Path, user: str, uid: int) -> None:
    ended = run(willing / "test_set_mm_limits", user, "max")
    (limit,) = parse_output(ended.out).limits
    assert (limit.uid, limit.mm_max, limit.ret, limit.errno) == (uid, 2**64 - 1, 0, 0)
    assert ended.status == 0


@pytest.mark.parametrize(("expected", "status"), [("0", 0), ("1", 1), ("EPERM", 1)])
def test_what_was_expected(willing: Path, expected: str, status: int) -> None:
    ended = run(willing / "test_set_mm_limits", "-e", expected, "root", "5000")
    assert ended.status == status


# oom_daemon


def test_the_daemon_ends_without_its_syscall(programs: Path) -> None:
    ended = run(programs / "oom_daemon", "-v", "0.001")
    number = getattr(errno, name_of_absent())
    assert (ended.status, ended.out) == (1, f"my_oom_killer: ret=-1, errno={number}\n")
    assert ended.err == f"oom_daemon: my_oom_killer: {os.strerror(number)}\n"


def test_the_daemon_counts_and_keeps_its_interval(willing: Path) -> None:
    ended = run(willing / "oom_daemon", "-v", "-c", "4", "0.1")
    assert (ended.status, ended.out) == (0, "my_oom_killer: ret=0, errno=0\n" * 4)
    assert ended.seconds >= 0.3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_daemon_ends_when_told_to(willing: Path, number: signal.Signals) -> None:
    with running(willing / "oom_daemon", "-v", "1000") as process:
        read_until(process, "my_oom_killer")
        process.send_signal(number)
        assert finish(process) == (0, "")


# oom_test_kernel and oom_test_daemon


@pytest.mark.parametrize("name", HOGS)
def test_bystanders_live(programs: Path, name: str) -> None:
    sizes = [20000, 40000, 1, 4096, 200000, 2 * MIB]
    wait = ["-w", "0.1"] if name == "oom_test_daemon" else []
    ended = run(programs / name, *wait, "-m", "x", "u0_a70", "0", *map(str, sizes))
    output = parse_output(ended.out)
    assert ended.status == 0
    assert (output.limit_uid, output.uid, output.limits) == (10070, os.getuid(), ())
    assert [child.mem for child in output.started] == sizes
    assert output.started == output.finished
    order = re.findall(r"^child process (\w+)", ended.out, re.MULTILINE)
    assert order == ["start", "finish"] * len(sizes)
    assert output.holding is not None
    assert (output.holding.marker, output.holding.alive) == ("x", len(sizes))
    assert [(c.index, c.pid, c.mem, c.outcome, c.status) for c in output.children] == [
        (index, child.pid, child.mem, "lived", 0) for index, child in enumerate(output.started)
    ]
    assert output.done is not None
    assert (output.done.program, output.done.passed, output.done.total) == (name, 1, 1)
    assert (output.strange, ended.err) == ((), "")


def test_all_at_the_same_time(programs: Path) -> None:
    count = 40
    ended = run(programs / "oom_test_kernel", "-a", "root", "0", *["100000"] * count)
    output = parse_output(ended.out)
    assert ended.status == 0
    assert len({child.pid for child in output.finished}) == count
    assert set(output.started) == set(output.finished)
    # Whole lines, though all write at once.
    assert output.strange == ()
    assert len(ended.out.splitlines()) == 3 + 2 * count + 1 + count + 1


@pytest.mark.parametrize(
    ("letters", "passed"), [("LL", 2), ("L?", 2), ("LK", 1), ("FK", 0), ("??", 2)]
)
def test_letters(programs: Path, letters: str, passed: int) -> None:
    ended = run(programs / "oom_test_kernel", "-s", "10", "-e", letters, "1", "0", "5000", "6000")
    assert f"checks={passed}/2\n" in ended.out
    assert ended.status == (0 if passed == 2 else 1)


def test_a_limit_that_cannot_be_set(programs: Path) -> None:
    ended = run(programs / "oom_test_kernel", "-e", "LL", "u0_a70", "100000", "5000", "6000")
    output = parse_output(ended.out)
    assert (ended.status, output.started, output.children) == (1, (), ())
    assert output.limits[0].ret == -1
    assert "checks=0/3\n" in ended.out


def test_sizes_beyond_the_limit_want_a_kill(willing: Path) -> None:
    program = willing / "oom_test_kernel"
    under = run(program, "-s", "10", "u0_a70", "100000", "40000", "60000")
    assert (under.status, "checks=2/2\n" in under.out) == (0, True)
    over = run(program, "-s", "10", "u0_a70", "100000", "40000", "60001")
    assert (over.status, "checks=1/2\n" in over.out) == (1, True)
    already = run(program, "-n", "-s", "10", "u0_a70", "100000", "100001")
    assert parse_output(already.out).limits == ()
    assert (already.status, "checks=0/1\n" in already.out) == (1, True)


@pytest.mark.parametrize(
    ("number", "outcome", "passed"), [(signal.SIGKILL, "killed", 4), (signal.SIGTERM, "other", 3)]
)
def test_a_child_that_is_killed_while_it_holds(
    willing: Path, tmp_path: Path, number: signal.Signals, outcome: str, passed: int
) -> None:
    until = tmp_path / "until"
    words = ["-u", f"{until}", "-e", "LKL", "u0_a70", "100000", "5000", "90000", "6000"]
    with running(willing / "oom_test_kernel", *words) as process:
        output = parse_output(read_until(process, "holding: "))
        os.kill(output.finished[1].pid, number)
        until.touch()
        status, rest = finish(process)
    children = parse_output(rest).children
    assert [child.outcome for child in children] == ["lived", outcome, "lived"]
    assert [child.status for child in children] == [0, number, 0]
    assert (status, f"checks={passed}/4\n" in rest) == (0 if passed == 4 else 1, True)


def kill_burning(program: int) -> None:
    """Kill the child called "burns" of the program as soon as it is there."""
    parent = psutil.Process(program)

    def burning() -> list[psutil.Process]:
        return [child for child in parent.children() if child.name() == "burns"]

    eventually(lambda: bool(burning()))
    burning()[0].kill()


@pytest.mark.parametrize("together", [False, True])
def test_a_child_that_is_killed_before_it_allocates(programs: Path, together: bool) -> None:
    words = ["-e", "LKL", "1", "0", "5000", "6000,cpu=1000000,name=burns", "7000"]
    with running(programs / "oom_test_kernel", *["-a"] * together, *words) as process:
        kill_burning(process.pid)
        out, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, out
    assert sorted(child.mem for child in parse_output(out).finished) == [5000, 7000]


def test_children_die_with_their_parent(programs: Path, tmp_path: Path) -> None:
    words = ["-u", f"{tmp_path / 'never'}", "1", "0", "5000", "6000"]
    with running(programs / "oom_test_kernel", *words) as process:
        output = parse_output(read_until(process, "holding: "))
        process.kill()
        process.wait()
    eventually(lambda: not any(alive(child.pid) for child in output.finished))


def alive(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    return False


@pytest.mark.parametrize("size", [100 * MIB, 3_000_000_000, 2**64 - 1])
def test_malloc_that_fails(programs: Path, size: int) -> None:
    words = ["-s", "10", "-e", "LFL", "1", "0", "5000", str(size), "6000"]
    little_memory = partial(resource.setrlimit, resource.RLIMIT_AS, (64 * MIB, 64 * MIB))
    ended = run(programs / "oom_test_kernel", *words, prepare=little_memory)
    output = parse_output(ended.out)
    assert ended.status == 0
    assert [failed.mem for failed in output.failed] == [size]
    assert f"mem={size}, errno={errno.ENOMEM}\n" in ended.out
    assert output.children[1].status == 3 << 8


def test_a_child_that_never_answers(builds: Path, tmp_path: Path) -> None:
    program = tmp_path / "oom_test_kernel"
    # Children have 2 s to end, in place of 10.
    make(tmp_path, builds, "STRICT_CFLAGS=-Werror -DGRACE_MS=2000", str(program))
    words = ["-t", "1", "1", "0", "5000", "6000,cpu=1000000", "7000"]
    with running(program, *words) as process:
        # The first has finished by then, and holds its memory.
        eventually(lambda: len(psutil.Process(process.pid).children()) == 2)
        psutil.Process(process.pid).children()[1].suspend()
        status, out = finish(process)
    children = parse_output(out).children
    # The second is killed by the program itself, the third never started.
    assert [child.outcome for child in children] == ["lived", "other", "other"]
    assert (children[1].status, children[2].pid) == (signal.SIGKILL, 0)
    assert status == 1


def test_a_file_that_never_comes(programs: Path, tmp_path: Path) -> None:
    never = tmp_path / "never"
    ended = run(programs / "oom_test_kernel", "-t", "0.5", "-u", f"{never}", "1", "0", "5000")
    assert (ended.status, ended.err) == (0, f"oom_test_kernel: {never} has not come\n")
    assert 0.5 <= ended.seconds < TIMEOUT


def test_what_a_child_is_told_to_be(programs: Path, tmp_path: Path) -> None:
    until = tmp_path / "until"
    size = 20 * MIB
    words = [
        f"{size},name=a\\n,adj=500,cpu=150",
        f"{size},cpu=150,name=\\x7b\\\\\\t\\xff}} b",
        f"{size},name=",
    ]
    with running(programs / "oom_test_kernel", "-u", f"{until}", "1", "0", *words) as process:
        finished = parse_output(read_until(process, "holding: ")).finished
        folders = [Path(f"/proc/{child.pid}") for child in finished]
        names = [folder.joinpath("comm").read_bytes() for folder in folders]
        adj = folders[0].joinpath("oom_score_adj").read_text()
        used = [psutil.Process(child.pid).cpu_times() for child in finished]
        rss = [psutil.Process(child.pid).memory_info().rss for child in finished]
        parent_rss = psutil.Process(process.pid).memory_info().rss
        until.touch()
        status, _ = finish(process)
    assert status == 0
    assert names == [b"a\n\n", b"{\\\t\xff} b\n", b"\n"]
    assert adj == "500\n"
    # /proc counts in hundredths.
    assert all(times.user + times.system >= 0.13 for times in used[:2])
    assert all(size <= each < size + 2 * MIB for each in rss)
    assert parent_rss < 2 * MIB


def one_status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def test_children_that_share_memory(programs: Path, tmp_path: Path) -> None:
    until = tmp_path / "until"
    sizes = (30 * MIB, 20 * MIB, 10 * MIB, 5000)
    words = [
        f"{sizes[0]},cpu=1",
        f"{sizes[1]},sharer,cpu=150",
        f"{sizes[2]},sharer,name=x",
        str(sizes[3]),
    ]
    with running(programs / "oom_test_kernel", "-u", f"{until}", "1", "0", *words) as process:
        output = parse_output(read_until(process, "holding: "))
        # Sharers take their part first; a child's own pid tells them apart.
        second, third, first, last = output.finished
        assert [one.mem for one in output.started] == [sizes[at] for at in (1, 2, 0, 3)]
        rss = [psutil.Process(one.pid).memory_info().rss for one in (first, second, third)]
        names = [psutil.Process(one.pid).name() for one in (first, third)]
        parents = {psutil.Process(one.pid).ppid() for one in output.finished}
        used = [sum(psutil.Process(one.pid).cpu_times()[:2]) for one in (first, second)]
        # One of them alone is not noticed by the others.
        os.kill(third.pid, signal.SIGKILL)
        until.touch()
        _, rest = finish(process)
    assert all(60 * MIB <= each < 62 * MIB for each in rss)
    assert names == ["oom_test_kernel"[:15], "x"]
    assert parents == {process.pid}
    assert used[1] >= 0.13
    ends = {end.pid: end.outcome for end in parse_output(rest).children}
    assert [ends[one.pid] for one in (first, second, third, last)] == [
        *("lived", "lived", "killed", "lived"),
    ]
    assert last.pid != first.pid


def test_a_child_that_is_killed_while_others_share_its_memory(
    programs: Path, tmp_path: Path
) -> None:
    until = tmp_path / "until"
    words = ["-u", f"{until}", "-e", "KLL", "1", "0", "5000", "6000,sharer", "7000,sharer"]
    with running(programs / "oom_test_kernel", *words) as process:
        output = parse_output(read_until(process, "holding: "))
        os.kill(next(one.pid for one in output.finished if one.mem == 5000), signal.SIGKILL)
        until.touch()
        status, rest = finish(process)
    assert (status, "checks=3/3\n" in rest) == (0, True), rest


def test_a_child_goes_on_without_a_sharer_that_was_killed(programs: Path) -> None:
    words = ["-e", "LLK", "1", "0", "5000", "6000,name=elder", "7000,sharer,cpu=1000000,name=burns"]
    with running(programs / "oom_test_kernel", *words) as process:
        kill_burning(process.pid)
        out, _ = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, "checks=3/3\n" in out) == (0, True), out


@pytest.mark.parametrize(("leader", "state"), [("waits", "S"), ("exits", "Z")])
def test_a_child_whose_work_is_another_threads(
    programs: Path, tmp_path: Path, leader: str, state: str
) -> None:
    until = tmp_path / "until"
    words = ["-u", f"{until}", "1", "0", f"{20 * MIB},cpu=150,leader={leader}"]
    with running(programs / "oom_test_kernel", *words) as process:
        (child,) = parse_output(read_until(process, "holding: ")).finished
        assert one_status(child.pid)["State"][0] == state
        threads = psutil.Process(child.pid).threads()
        # The kernel tells both kinds apart by samples only, and badly where a host is busy.
        times = {one.id: one.user_time + one.system_time for one in threads}
        (other,) = times.keys() - {child.pid}
        memory = Path(f"/proc/{child.pid}/task/{other}/statm").read_text().split()
        until.touch()
        status, rest = finish(process)
    # /proc counts in hundredths.
    assert times[other] >= 0.13 > times[child.pid]
    assert int(memory[1]) * resource.getpagesize() >= 20 * MIB
    assert [end.outcome for end in parse_output(rest).children] == ["lived"]
    assert status == 0


@pytest.mark.parametrize(("there", "letter"), [(20 * MIB, "L"), (20 * MIB - 1, "F"), (None, "F")])
def test_a_child_that_reads(programs: Path, tmp_path: Path, there: int | None, letter: str) -> None:
    """In one system call, or not at all."""
    zeros = tmp_path / "zeros"
    if there is not None:
        zeros.touch()
        os.truncate(zeros, there)
    ended = run(
        programs / "oom_test_kernel",
        *("-s", "10", "-f", f"{zeros}", "-e", letter, "1", "0", f"{20 * MIB},reads"),
    )
    assert (ended.status, "checks=1/1\n" in ended.out) == (0, True), ended.out


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_children_that_become_somebody_elses(programs: Path, tmp_path: Path) -> None:
    until = tmp_path / "until"
    words = ["5000,user=10070", "6000,sharer,user=10071", "7000,then=10072", "8000"]
    tmp_path.chmod(0o755)
    with running(programs / "oom_test_kernel", "-u", f"{until}", "1", "0", *words) as process:
        output = parse_output(read_until(process, "holding: "))
        by_size = {one.mem: one for one in output.finished}
        uids = {size: one_status(one.pid)["Uid"].split() for size, one in by_size.items()}
        until.touch()
        assert finish(process)[0] == 0
    assert {size: one.uid for size, one in by_size.items()} == {
        5000: 10070,
        6000: 10071,
        7000: 0,
        8000: 0,
    }
    assert uids == {
        5000: ["10070"] * 4,
        6000: ["10071"] * 4,
        7000: ["10072"] * 4,
        8000: ["0"] * 4,
    }


def test_the_daemons_test_waits_for_a_kill(willing: Path) -> None:
    words = ["-t", "3600", "-w", "3600", "-s", "50", "1", "1000", "5000", "6000"]
    with running(willing / "oom_test_daemon", *words) as process:
        read_until(process, "child process finish")
        out = read_until(process, "child process finish")
        os.kill(parse_output(out).finished[0].pid, signal.SIGKILL)
        status, rest = finish(process)
    assert (status, "checks=2/2\n" in rest) == (0, True)
    assert "alive=1\n" in rest


def test_the_daemons_test_does_not_wait_for_ever(willing: Path) -> None:
    words = ["-w", "0.5", "-s", "10", "1", "1000", "5000"]
    ended = run(willing / "oom_test_daemon", *words)
    assert (ended.status, "checks=1/2\n" in ended.out) == (1, True)
    assert ended.seconds >= 0.5


def hostile_start() -> None:
    """What a careless parent may leave to a program."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM, signal.SIGCHLD})


def test_inherited_signals_do_not_matter(programs: Path) -> None:
    words = ["-s", "10", "1", "0", "5000", "6000"]
    ended = run(programs / "oom_test_kernel", *words, prepare=hostile_start)
    assert (ended.status, parse_output(ended.out).children[1].outcome) == (0, "lived")


def test_children_that_cannot_be_started(programs: Path) -> None:
    words = ["-s", "10", "1", "0", *["5000"] * 20]
    few_files = partial(resource.setrlimit, resource.RLIMIT_NOFILE, (16, 16))
    ended = run(programs / "oom_test_kernel", *words, prepare=few_files)
    children = parse_output(ended.out).children
    assert ended.status == 1
    assert {child.outcome for child in children} == {"lived", "other"}
    assert children[-1].pid == 0
    assert "child 19: pipe: Too many open files\n" in ended.err


def test_nobody_listens(programs: Path) -> None:
    program = programs / "oom_test_kernel"
    assert run(Path("/bin/sh"), "-c", f"exec {program} -s 10 1 0 5000 >/dev/full").status == 0


# who_pays


# The words, the steps, the lines that say how a process ended.
CASES: Sequence[tuple[Sequence[str], int, int]] = [
    (["threads", "3", "9000000"], 1, 1),
    (["clone-vm", "3", "9000000"], 1, 3),
    (["vfork", "9000000"], 1, 1),
    (["exited-leader", "9000000"], 1, 1),
    (["exec", "9000000"], 2, 1),
    (["zombies", "3"], 1, 1),
    (["deltas", "3", "90000"], 2, 1),
    (["deltas-unmapping", "3", "90000"], 2, 1),
    (["deltas-file", "3", "9000000"], 2, 1),
    (["deltas-shared", "3", "90000"], 2, 1),
    (["forks", "3", "9000000"], 1, 1),
]
ROOTS_CASES: Sequence[tuple[Sequence[str], int, int]] = [
    (["clone-vm-across", "10070", "10071", "9000000"], 2, 2),
    (["thread-across", "10070", "10071", "9000000"], 1, 1),
    (["exited-leader-down", "9000000", "10070"], 2, 1),
    (["setuid-down", "9000000", "10070"], 2, 1),
    (["setuid-up", "9000000", "10070"], 3, 1),
    (["-u", "10070", "vfork", "9000000"], 1, 1),
]


@pytest.mark.parametrize(("words", "steps", "ends"), [*CASES, *ROOTS_CASES])
def test_every_case_goes_through_its_steps(
    programs: Path, words: Sequence[str], steps: int, ends: int
) -> None:
    ended = run(programs / "who_pays", *words)
    if (words, steps, ends) in ROOTS_CASES and os.getuid() != 0:
        assert ended.status == 1
        assert "Operation not permitted" in ended.err
        return
    assert (ended.status, ended.err) == (0, "")
    lines = ended.out.splitlines()
    waiting = [line for line in lines if line.startswith("waiting: ")]
    assert waiting == [f"waiting: step={step + 1}" for step in range(steps)]
    assert sum(line.endswith("outcome=lived, status=0") for line in lines) == ends
    assert lines[-1] == "done: program=who_pays, marker=none, checks=2/2"


@contextlib.contextmanager
def first_step(programs: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A case of `who_pays` that has come to its first step, and the processes that it tells of."""
    with running(programs / "who_pays", *words) as process:
        out = read_until(process, "waiting: step=1")
        yield process, [int(pid) for pid in re.findall(r"process: pid=(\d+)", out)]


def test_each_line_leads_to_the_next_step(programs: Path) -> None:
    with first_step(programs, "exec", "9000000") as (process, pids):
        pid = pids[-1]
        assert psutil.Process(pid).memory_info().rss >= 9000000
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        read_until(process, "waiting: step=2")
        assert psutil.Process(pid).memory_info().rss < 9000000
        status, rest = finish(process)
    assert (status, rest.count("lived")) == (0, 1)


def test_a_signal_ends_a_case(programs: Path) -> None:
    with first_step(programs, "exec", "9000000") as (process, _):
        process.send_signal(signal.SIGTERM)
        read_until(process, "waiting: step=2")
        assert process.wait(TIMEOUT) == 0


@pytest.mark.parametrize(("killed", "status"), [("1", 0), ("0", 1), ("2", 1)])
def test_a_case_knows_who_is_to_be_killed(programs: Path, killed: str, status: int) -> None:
    with first_step(programs, "-k", killed, "threads", "2", "9000000") as (process, pids):
        os.kill(pids[-1], signal.SIGKILL)
        ended, rest = finish(process)
    assert "outcome=killed, status=9" in rest
    assert ended == status


def test_who_shares_with_a_killed_process_is_not_ended_by_the_program(programs: Path) -> None:
    with first_step(programs, "-k", "3", "clone-vm", "3", "9000000") as (process, pids):
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        assert finish(process)[0] == 0


def test_a_case_ends_with_the_program(programs: Path) -> None:
    with first_step(programs, "clone-vm", "3", "9000000") as (process, pids):
        process.kill()
        process.wait()
    assert len(pids) == 3
    eventually(lambda: not any(alive(pid) for pid in pids))


# fork_bomb


def test_a_fork_bomb_needs_a_limit(programs: Path, tmp_path: Path) -> None:
    ended = run(programs / "fork_bomb", "5000", str(tmp_path / "stop"))
    assert (ended.status, ended.out) == (1, "")
    assert "has no limit" in ended.err


# attack


@pytest.mark.parametrize(
    ("words", "steps"),
    [
        (["forks", "3"], 2),
        (["traced", "90000"], 2),
        (["slips", "0"], 2),
        (["populate", "90000"], 2),
        (["copies", "3", "90000"], 2),
        (["threads", "3", "3", "90000"], 2),
        # Not `starved`: a busy host gives it no CPU, as it asks for. `large` and `passes` go on.
    ],
)
def test_every_attack_goes_through_its_steps(
    programs: Path, words: Sequence[str], steps: int
) -> None:
    with running(programs / "attack", *words) as process:
        read_until(process, "waiting: step=1")
        if words[0] == "traced":
            # Its tracer sees it end.
            (child,) = psutil.Process(process.pid).children()
            child.kill()
        status, rest = finish(process)
    assert status == 0
    assert [line for line in rest.splitlines() if line.startswith("waiting")] == [
        f"waiting: step={step}" for step in range(2, steps + 1)
    ]
    assert rest.endswith("done: program=attack, marker=none, checks=1/1\n")


@pytest.mark.parametrize("words", [("large", "3", "90000"), ("passes", "3", "90000")])
def test_attacks_without_an_end_go_on_behind_their_step(
    programs: Path, words: Sequence[str]
) -> None:
    with running(programs / "attack", *words) as process:
        read_until(process, "waiting: step=1")
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        used = psutil.Process(process.pid).cpu_times().user
        eventually(lambda: psutil.Process(process.pid).cpu_times().user > used)


def test_sharers_that_fork_without_end_need_a_limit(programs: Path) -> None:
    ended = run(programs / "attack", "sharers", "10", "90000")
    assert ended.status == 1
    assert "has no limit" in ended.err


# privileges


def test_a_request_is_made_and_its_answer_printed(programs: Path, willing: Path) -> None:
    me = str(os.getuid())
    number = getattr(errno, name_of_absent())
    ended = run(programs / "privileges", me, "none", "kill")
    assert (ended.status, ended.out) == (0, f"call: name=my_oom_killer, ret=-1, errno={number}\n")
    ended = run(willing / "privileges", "-n", "3", me, "none", "set", "10070", "max")
    assert (ended.status, ended.out) == (0, "call: name=set_mm_limits, ret=0, errno=0\n")


def test_a_request_tells_an_open_from_a_write(programs: Path, tmp_path: Path) -> None:
    me, program = str(os.getuid()), programs / "privileges"
    text = tmp_path / "text"
    words = [me, "none", "write", str(text), "abc"]
    failed = f"ret=-1, errno={errno.ENOENT}\n"
    assert run(program, *words).out == f"call: name=open, {failed}"
    ended = run(program, "-o", *words)
    assert (ended.status, ended.err) == (1, f"privileges: {text}: {os.strerror(errno.ENOENT)}\n")
    text.touch()
    assert run(program, *words).out == "call: name=write, ret=3, errno=0\n"
    assert run(program, "-o", *words).out == "call: name=write, ret=3, errno=0\n"
    ended = run(program, me, "none", "read", str(text))
    assert ended.out == "abc" + "call: name=read, ret=0, errno=0\n"
    ended = run(program, me, "none", "write", "/dev/full", "abc")
    assert ended.out == f"call: name=write, ret=-1, errno={errno.ENOSPC}\n"


def test_a_request_has_the_user_and_the_capabilities(programs: Path) -> None:
    program = programs / "privileges"
    ended = run(program, "10070", "none", "read", "/proc/self/status")
    if os.getuid() != 0:
        assert (ended.status, ended.out) == (1, "")
        assert "cannot become user 10070" in ended.err
        return
    everything = effective(run(program, "0", "all", "read", "/proc/self/status").out)
    assert "\nUid:\t10070\t10070\t10070\t10070\n" in ended.out
    assert "\nGroups:\t \n" in ended.out
    assert effective(ended.out) == 0
    for caps, expected in (
        ("all", everything),
        ("kill,dac_override", 1 << 5 | 1 << 1),
        ("-kill", everything & ~(1 << 5)),
    ):
        assert effective(run(program, "10070", caps, "read", "/proc/self/status").out) == expected


def effective(status: str) -> int:
    """The effective capabilities, which are also all the permitted ones."""
    words = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert words["CapEff"] == words["CapPrm"]
    assert int(words["CapInh"], 16) == 0
    return int(words["CapEff"], 16)


# bench_work


@pytest.mark.parametrize(
    ("words", "units"),
    [
        (["touch", "50", "3"], 50),
        (["storm", "4", "50", "3"], 200),
        (["fork", "5", "3"], 5),
        (["work", "4", "50", "3"], 200),
    ],
)
def test_the_benchmark_times_each_run(programs: Path, words: list[str], units: int) -> None:
    ended = run(programs / "bench_work", "-m", "cafe", *words)
    assert (ended.status, ended.err) == (0, "")
    output = parse_bench(ended.out)
    assert [(time.what, time.units) for time in output.times] == [(words[0], units)] * 3
    assert all(time.ns > 0 for time in output.times)
    assert output.done == ("cafe",)


@pytest.mark.parametrize("command", ["overshoot", "crowd"])
def test_where_nobody_kills_the_benchmark_says_so(programs: Path, command: str) -> None:
    words = [command, str(os.getuid()), "4000000", "3", "1000", "2"]
    ended = run(programs / "bench_work", "-t", "0.2", *words)
    assert ended.status == 1
    output = parse_bench(ended.out)
    # Together they are above the limit, and stay there.
    above = re.findall(r"^no kill: run=\d, over=[1-9]\d*$", ended.out, re.MULTILINE)
    assert len(above) == (2 if command == "overshoot" else 0)
    assert [one.within for one in output.crowds] == [False] * (2 if command == "crowd" else 0)
    assert output.kills == ()


def test_a_crowd_within_its_limit_loses_nobody(programs: Path) -> None:
    words = ["crowd", str(os.getuid()), "400000000", "3", "10", "1"]
    ended = run(programs / "bench_work", *words)
    assert ended.status == 0
    (crowd,) = parse_bench(ended.out).crowds
    assert (crowd.kills, crowd.within) == (0, True)
    assert "crowd: run=0, processes=3, " in ended.out


def test_a_group_that_is_not_there(programs: Path, tmp_path: Path) -> None:
    words = ["-g", str(tmp_path / "no" / "group"), "overshoot", str(os.getuid()), "4000000"]
    ended = run(programs / "bench_work", *words, "2", "10", "1")
    assert ended.status == 1
    assert "group: " in ended.err


def test_idle_processes_end_with_the_program(programs: Path) -> None:
    with running(programs / "bench_work", "idle", "5") as process:
        pid = idle_pid(read_until(process, "idle: "))
        assert pid == process.pid
        children = psutil.Process(pid).children()
        assert len(children) == 5
        process.kill()
        eventually(lambda: not any(map(alive, (child.pid for child in children))))


# watch_memory


def an_app() -> int:
    """The uid of an app that no other test on this machine uses at the same time."""
    return 10_000 + os.getpid() % 10_000


def sizes_of(watch: subprocess.Popen[str], uid: int) -> Iterator[Usage]:
    """What is said of the user, as it comes; others may be apps on this machine, too."""
    assert watch.stdout is not None
    for line in iter(watch.stdout.readline, ""):
        yield from (one for one in parse_usage(line) if one.uid == uid)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be one of the apps")
def test_what_an_app_uses_is_said_when_it_changes(programs: Path) -> None:
    uid = an_app()
    with running(programs / "watch_memory", "0.01") as watch:
        said = sizes_of(watch, uid)
        with subprocess.Popen(["sleep", "600"], user=uid) as sleeper:
            found = [next(said)]
            sleeper.kill()
        while found[-1].rss:
            found.append(next(said))
    assert 0 < found[0].rss < 1 << 30
    times = [one.time for one in found]
    assert times == sorted(times)


# Becomes the user, grows, and ends, each when it is told to.
BECOMES_AN_APP = r"""
import os, sys
uid = int(sys.argv[1])
os.read(0, 1)
os.setgid(uid)
os.setuid(uid)
grow = r"read go; x=$(head -c 40000000 /dev/zero | tr '\0' x); read go"
os.execv("/bin/sh", ["sh", "-c", grow])
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become one of the apps")
def test_who_becomes_an_app_and_grows_is_seen(programs: Path) -> None:
    """The process is known before it is an app's, and is not looked for again."""
    uid = an_app()
    words = [sys.executable, "-Sc", BECOMES_AN_APP, str(uid)]
    with (
        subprocess.Popen(words, stdin=subprocess.PIPE, bufsize=0) as app,
        running(programs / "watch_memory", "0.01") as watch,
    ):
        assert app.stdin is not None
        sizes = (one.rss for one in sizes_of(watch, uid))
        app.stdin.write(b"\n")
        assert 0 < next(sizes) < 40_000_000
        app.stdin.write(b"\n")
        assert any(size > 40_000_000 for size in sizes)
        app.stdin.write(b"\n")
        assert any(size == 0 for size in sizes)


def test_watching_takes_a_twentieth_of_the_time(programs: Path) -> None:
    begun = time.monotonic()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert run(programs / "watch_memory", "-c", "3000", "0.001").status == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    # It may begin with what it would have saved in 5 s; its start is not part of it.
    assert used < (time.monotonic() - begun) / 20 + 0.25 + 0.1
