# SPDX-License-Identifier: MIT
"""The real `inv`, in a clone in miniature whose program tells its arguments.

One test makes a whole .venv. The others do without pip, which takes seconds to
install: their Python leaves it out, and a module of its name stands in.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.paths import REPO

QUICK_VENV = f"""
[ "$2" != venv ] || exec "{sys.executable}" -m venv --without-pip "$3"
exec "{sys.executable}" "$@"
"""
PROGRAM = "import os, sys\nprint(os.getcwd(), sys.prefix, *sys.argv[1:], sep='|')\n"


# Stands in for pip: it can be had, or it fails as the real one does.
PIP = """
import os, sys
assert sys.argv[1:4] == ["install", "--disable-pip-version-check", "--no-input"]
assert sys.argv[4:6] == ["--require-hashes", "-r"]
if "PIP_NO_INDEX" in os.environ:
    print(*range(100), "ERROR: No matching distribution found for x", sep="\\n")
    sys.exit(1)
"""


@dataclass
class Clone:
    """A folder with `inv` in it."""

    folder: Path
    python: str

    @property
    def venv(self) -> Path:
        return self.folder / ".venv"

    @property
    def stamp(self) -> Path:
        return self.venv / "inv-stamp"

    def start(
        self, *arguments: str, inv: Path | None = None, cwd: Path | None = None, **variables: str
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [inv or self.folder / "inv", *arguments],
            cwd=cwd or self.folder,
            env={
                **os.environ,
                "INV_PYTHON": self.python,
                "PYTHONPATH": str(self.folder / "stand-ins"),
                **variables,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(
        self, *arguments: str, inv: Path | None = None, cwd: Path | None = None, **variables: str
    ) -> tuple[int, str, str]:
        started = self.start(*arguments, inv=inv, cwd=cwd, **variables)
        out, err = started.communicate(timeout=300)
        return started.returncode, out.strip(), err.strip()


def make_clone(folder: Path) -> Clone:
    stand_ins = folder / "stand-ins"
    stand_ins.mkdir(parents=True)
    (stand_ins / "pip.py").write_text(PIP)
    script(folder.parent / "quick-python", QUICK_VENV)
    shutil.copy(REPO / "inv", folder)
    (folder / "requirements.lock").write_text("# nothing\n")
    (folder / "inv_program.py").write_text(PROGRAM)
    return Clone(folder, str(folder.parent / "quick-python"))


@pytest.fixture
def fresh(tmp_path: Path) -> Clone:
    return make_clone(tmp_path / "a clone")


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone whose .venv is there; tests leave it whole."""
    clone = make_clone(tmp_path_factory.mktemp("used") / "clone")
    assert clone.run()[0] == 0
    return clone


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def python_that(folder: Path, condition: str, otherwise: str = "exit 1") -> str:
    """A Python that behaves as `otherwise` says where the shell pattern on "$*" matches."""
    return script(
        folder / "other-python", f'case "$*" in {condition}) {otherwise} ;; esac\n{QUICK_VENV}'
    )


def seconds_of_a_start(clone: Clone) -> float:
    begun = time.monotonic()
    assert clone.run() == (0, f"{clone.folder}|{clone.venv}", "")
    return time.monotonic() - begun


def seconds_of_python(clone: Clone) -> float:
    """Of its start, and nothing else: on a busy host that takes longer, too."""
    begun = time.monotonic()
    subprocess.run([clone.venv / "bin" / "python", "-c", ""], check=True)
    return time.monotonic() - begun


def test_first_start_makes_venv_and_the_second_uses_it(fresh: Clone) -> None:
    (fresh.folder / "stand-ins" / "pip.py").unlink()
    fresh.python = sys.executable
    status, out, err = fresh.run("a b", "--c")
    assert (status, out) == (0, f"{fresh.folder}|{fresh.venv}|a b|--c")
    assert err.startswith("inv: making .venv with Python 3.")
    made = fresh.stamp.stat().st_mtime_ns
    # Nothing is made again: besides Python's own start it takes next to nothing.
    alone = min(seconds_of_python(fresh) for _ in range(5))
    assert min(seconds_of_a_start(fresh) for _ in range(5)) < 0.5 + 10 * alone
    assert fresh.stamp.stat().st_mtime_ns == made


def test_from_another_folder_and_through_a_link(used: Clone, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(used.folder / "inv")
    assert used.run("x", inv=link, cwd=tmp_path) == (0, f"{tmp_path}|{used.venv}|x", "")


def test_status_of_the_program(used: Clone) -> None:
    program = used.folder / "inv_program.py"
    program.write_text("import sys; sys.exit(5)")
    try:
        assert used.run()[0] == 5
    finally:
        program.write_text(PROGRAM)


@pytest.mark.parametrize("change", ["lock", "stamp", "python"])
def test_venv_is_made_anew_when_what_it_was_made_from_changes(used: Clone, change: str) -> None:
    match change:
        case "lock":
            (used.folder / "requirements.lock").write_text(f"# {time.monotonic()}\n")
        case "stamp":
            # A run that was killed while it installed: .venv without its stamp.
            used.stamp.unlink()
            (used.venv / "pyvenv.cfg").unlink()
        case _:
            (used.venv / "bin" / "python").unlink()
    status, out, err = used.run()
    assert (status, out) == (0, f"{used.folder}|{used.venv}")
    assert "making .venv" in err
    assert used.run()[2] == ""


def test_two_first_starts_at_once(fresh: Clone) -> None:
    starts = [fresh.start(str(number)) for number in range(2)]
    ends = [start.communicate(timeout=300) for start in starts]
    assert [start.returncode for start in starts] == [0, 0]
    assert {out.rpartition("|")[2].strip() for out, _ in ends} == {"0", "1"}
    assert sum("making .venv" in err for _, err in ends) == 1


def test_killed_while_it_installs(fresh: Clone, tmp_path: Path) -> None:
    gate = tmp_path / "installing"
    normal = fresh.python
    fresh.python = python_that(tmp_path, '"-m venv"*', f'mkdir -p "$3"; touch {gate}; sleep 60')
    started = fresh.start()
    while not gate.exists():
        assert started.poll() is None
        time.sleep(0.01)
    os.killpg(started.pid, signal.SIGKILL)
    started.communicate(timeout=300)
    fresh.python = normal
    assert fresh.run()[0] == 0


def test_no_python(fresh: Clone) -> None:
    fresh.python = "python-that-is-not-there"
    status, _, err = fresh.run()
    assert status == 3
    assert err == "inv: needs Python 3.11 or later: apt-get install python3 python3-venv"


def test_an_old_python_is_passed_over(fresh: Clone, tmp_path: Path) -> None:
    normal = fresh.python
    old = python_that(tmp_path, '*"version_info < (3, 11)"*')
    fresh.python = old
    assert fresh.run()[0] == 3
    fresh.python = f"{old} {normal}"
    assert fresh.run()[0] == 0


def fake_tools(folder: Path, *, user: int, apt: str) -> str:
    """A PATH on which `id` and `apt-get` are these."""
    tools = folder / "tools"
    tools.mkdir()
    script(tools / "id", f"echo {user}")
    script(tools / "apt-get", apt)
    return f"{tools}{os.pathsep}{os.environ['PATH']}"


def test_no_venv_module_and_not_root(fresh: Clone, tmp_path: Path) -> None:
    fresh.python = python_that(tmp_path, '*"import ensurepip"*')
    path = fake_tools(tmp_path, user=1000, apt="exit 9")
    status, _, err = fresh.run(PATH=path)
    version = ".".join(map(str, sys.version_info[:2]))
    assert status == 3
    assert err == (
        f"inv: {fresh.python} has no venv module; as root: apt-get install python{version}-venv"
    )


def test_no_venv_module_and_root(fresh: Clone, tmp_path: Path) -> None:
    installed = tmp_path / "installed"
    lacking = f"[ -e {installed} ] || exit 1"
    fresh.python = python_that(tmp_path, '*"import ensurepip"*', lacking)
    # As on a machine without package lists: install fails before update.
    apt = f"""
        case "$*" in
        *update) touch {tmp_path}/updated ;;
        *) [ -e {tmp_path}/updated ] && touch {installed} ;;
        esac"""
    status, _, err = fresh.run(PATH=fake_tools(tmp_path, user=0, apt=apt))
    assert status == 0
    assert "apt-get install python3." in err
    assert not (fresh.folder / ".venv.log").exists()


def test_no_venv_module_and_apt_fails(fresh: Clone, tmp_path: Path) -> None:
    fresh.python = python_that(tmp_path, '*"import ensurepip"*')
    path = fake_tools(tmp_path, user=0, apt="echo E: no network; exit 100")
    status, _, err = fresh.run(PATH=path)
    assert status == 3
    assert "E: no network" in err
    assert err.splitlines()[-1].endswith(".venv.log")


def test_a_package_that_cannot_be_had(fresh: Clone) -> None:
    status, _, err = fresh.run(PIP_NO_INDEX="1")
    assert status == 3
    assert "pip could not install the locked packages" in err
    assert len(err.splitlines()) < 14
    assert not fresh.stamp.exists()
