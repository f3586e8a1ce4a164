# SPDX-License-Identifier: MIT
"""A stand-in for inv_program.py in a sweep: a cell does what its words say, with a guest beside it.

    sweep_program.py bundle --build WORDS... --output FILE
    sweep_program.py TASK [--bundle FILE] --trace DIR --name NAME --do KIND [--jobs 1]

The guest is a process whose command line has DIR in it. Each start is a line of DIR/started. With
`wait` it runs until there is DIR/go-NAME; `wait-once` waits the first time only.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

RESULTS = "INVOKE_GOLDFISH_OOM_RESULTS"
STATUS = {"fail": 1, "usage": 2, "error": 3, "full": 3}
LINES = {
    "fail": "FAIL: of 2 scenarios 1 FAIL",
    "error": "error: the guest did not come up\n  | its last words\n  try: again",
    "full": "error: no space left on the disk that holds /x\n  try: free some space",
}


def build(trace: Path, words: list[str]) -> int:
    kind = words[words.index("--do") + 1]
    with (trace / "builds").open("a") as stream:
        stream.write(f"{' '.join(words)}\n")
    if kind == "error":
        sys.stderr.write("error: the compiler is missing\n")
        return 3
    if kind == "wait-once":
        hang_once(trace, "build")
    Path(words[words.index("--output") + 1]).write_bytes(f"bundle of {trace}".encode() * 1000)
    sys.stdout.write("a bundle\n")
    return 0


def guest(trace: Path) -> subprocess.Popen[bytes]:
    link = trace / "guest"
    if not link.is_symlink():
        with contextlib.suppress(FileExistsError):
            link.symlink_to("/bin/sleep")
    # As the harness starts QEMU.
    return subprocess.Popen(["setpriv", "--pdeathsig", "KILL", str(link), "86400"])


def daemon(trace: Path) -> None:
    """Leave a process behind that has left this one's session."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execv(trace / "guest", [str(trace / "guest"), "86401"])
        os._exit(0)
    os.wait()


def hang_once(trace: Path, name: str) -> None:
    first = trace / f"once-{name}"
    if not first.exists():
        first.touch()
        wait(trace, name)


def wait(trace: Path, name: str) -> None:
    (trace / f"waits-{name}").touch()
    while not (trace / f"go-{name}").exists():
        time.sleep(0.02)


def results(name: str, size: int) -> None:
    folder = Path(os.environ[RESULTS]) / f"20260101-000000-{name}"
    folder.mkdir(parents=True)
    (folder / "report.html").write_text(f"the report of {name}")
    (folder / "guest2").mkdir()
    (folder / "guest2" / "console.log").write_bytes(os.urandom(1 << 16) * (size >> 16))
    (folder.parent / "latest").symlink_to(folder.name)


def on_term(*_: object) -> NoReturn:
    sys.exit(143)


def main() -> int:
    signal.signal(signal.SIGTERM, on_term)
    parser = argparse.ArgumentParser()
    parser.add_argument("task")
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--trace", type=Path, required=True)
    parser.add_argument("--name", default="")
    parser.add_argument("--do", default="pass")
    parser.add_argument("--jobs", default="")
    parser.add_argument("--size", type=int, default=1 << 16)
    told, _ = parser.parse_known_args()
    trace, name, kind = told.trace, told.name, told.do
    if told.task == "bundle":
        return build(trace, sys.argv[1:])
    if told.bundle is not None and told.bundle.read_bytes() != f"bundle of {trace}".encode() * 1000:
        sys.stderr.write("error: another bundle\n")
        return 3
    with (trace / "started").open("a") as stream:
        stream.write(f"{name}\n")
    beside = guest(trace)
    try:
        if kind == "wait":
            wait(trace, name)
        if kind == "wait-once":
            hang_once(trace, name)
        if kind == "daemon":
            daemon(trace)
        if kind == "guest-dies" and beside.wait() != 0:
            sys.stderr.write("error: QEMU ended by itself\n")
            return 3
        if kind == "stubborn":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            wait(trace, name)
        results(name, told.size)
    finally:
        beside.kill()
    sys.stdout.write("scenarios …\n")
    sys.stdout.flush()
    line = LINES.get(kind, "PASS: 2 scenarios")
    (sys.stderr if line.startswith("error") else sys.stdout).write(f"{line}\n")
    return STATUS.get(kind, 0)


if __name__ == "__main__":
    sys.exit(main())
