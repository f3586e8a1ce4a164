# SPDX-License-Identifier: MIT
"""The real `inv`, in a clone in miniature whose program tells its arguments.

One test makes a whole .venv. The others do without an installation of pip, which takes
seconds: their Python leaves it out. A module of its name stands in, or the pip of the tests'
own Python.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from stand_ins import script, wait_for

from harness.core.paths import REPO

# {put} puts a pip into the folder that it is given.
QUICK_VENV = f"""
if [ "$2" = venv ]; then
    "{sys.executable}" -m venv --without-pip "$3" &&
    exec {{put}} "$3"/lib/python*/site-packages/
fi
exec "{sys.executable}" "$@"
"""
PROGRAM = "import os, sys\nprint(os.getcwd(), sys.prefix, *sys.argv[1:], sep='|')\n"


# Stands in for pip: it can be had, or it fails as the real one does.
PIP = """
import os, sys
from pathlib import Path
assert sys.argv[1:5] == ["install", "--no-user", "--target=", f"--prefix={sys.prefix}"]
assert sys.argv[5:8] == ["--root=/", "--disable-pip-version-check", "--no-input"]
assert sys.argv[8:10] == ["--require-hashes", "-r"]
if "PIP_NO_INDEX" in os.environ:
    print(*range(100), "ERROR: No matching distribution found for x", sep="\\n")
    sys.exit(1)
print({name: value for name, value in os.environ.items() if name.startswith("PIP_")})
Path(__file__).with_name("invoke.py").touch()
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
        self,
        *arguments: str,
        inv: Path | None = None,
        cwd: Path | None = None,
        **variables: str,
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [inv or self.folder / "inv", *arguments],
            cwd=cwd or self.folder,
            env={**os.environ, "INV_PYTHON": self.python, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, **options: Any) -> tuple[int, str, str]:
        started = self.start(*arguments, **options)
        out, err = started.communicate(timeout=300)
        return started.returncode, out.strip(), err.strip()

    def error(self, **variables: str) -> str:
        """What `inv` says if it cannot run its program."""
        status, out, err = self.run(**variables)
        assert (status, out) == (3, "")
        return err


def quick_venv(folder: Path) -> str:
    """The script that makes .venv with the stand-in for pip, which is in `folder`."""
    return QUICK_VENV.format(put=f'cp "{folder}/pip.py"')


def make_clone(folder: Path) -> Clone:
    folder.mkdir()
    (folder.parent / "pip.py").write_text(PIP)
    script(folder.parent / "quick-python", quick_venv(folder.parent))
    shutil.copy(REPO / "inv", folder)
    (folder / "requirements.lock").write_text("# nothing\n")
    (folder / "inv_program.py").write_text(PROGRAM)
    return Clone(folder, str(folder.parent / "quick-python"))


@pytest.fixture
def fresh(tmp_path: Path) -> Clone:
    return make_clone(tmp_path / "a clone")


@pytest.fixture
def with_pip(fresh: Clone) -> Clone:
    """A clone whose .venv gets the real pip."""
    found = importlib.util.find_spec("pip")
    assert found is not None
    assert found.origin is not None
    put = f'ln -s "{Path(found.origin).parent}"'
    script(fresh.folder.parent / "quick-python", QUICK_VENV.format(put=put))
    return fresh


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone whose .venv is there; tests leave it whole."""
    clone = make_clone(tmp_path_factory.mktemp("used") / "clone")
    assert clone.run()[0] == 0
    return clone


def python_that(folder: Path, condition: str, otherwise: str = "exit 1") -> str:
    """A Python that behaves as `otherwise` says where the shell pattern on "$*" matches."""
    text = f'case "$*" in {condition}) {otherwise} ;; esac\n{quick_venv(folder)}'
    return str(script(folder / "other-python", text))


def programs_run_by(clone: Clone) -> list[str]:
    """The commands that a start of `inv` runs, as sh tells them."""
    traced = subprocess.run(
        ["sh", "-x", clone.folder / "inv"],
        env={**os.environ, "INV_PYTHON": clone.python},
        capture_output=True,
        text=True,
        check=True,
    )
    return [line for line in traced.stderr.splitlines() if line.startswith("+")]


def lock_a_package(clone: Clone) -> dict[str, str]:
    """Has the lock file ask for a package; returns what tells pip where it is."""
    wheel = clone.folder.parent / "packages" / "invoke-9-py3-none-any.whl"
    wheel.parent.mkdir()
    info = "invoke-9.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("invoke.py", "")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: invoke\nVersion: 9\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", f"invoke.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n")
    sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
    lock = clone.folder / "requirements.lock"
    lock.write_text(f"invoke==9 \\\n    --hash=sha256:{sha256}\n")
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheel.parent)}


def test_first_start_makes_venv_and_the_second_uses_it(fresh: Clone) -> None:
    fresh.python = sys.executable
    status, out, err = fresh.run("a b", "--c", **lock_a_package(fresh))
    assert (status, out) == (0, f"{fresh.folder}|{fresh.venv}|a b|--c")
    assert err.startswith("inv: making .venv with Python 3.")
    made = fresh.stamp.stat().st_mtime_ns
    # Nothing is made again: Python is started to say its version, and to run the program.
    started = [line for line in programs_run_by(fresh) if f"{fresh.venv}/bin/python" in line]
    assert len(started) == 2
    assert "sys.version" in started[0]
    assert started[1].endswith("/inv_program.py")
    assert fresh.stamp.stat().st_mtime_ns == made


def test_from_another_folder_and_through_a_link(used: Clone, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(used.folder / "inv")
    assert used.run("x", inv=link, cwd=tmp_path) == (0, f"{tmp_path}|{used.venv}|x", "")


@contextmanager
def program_of(clone: Clone, text: str) -> Iterator[None]:
    """Has `inv` run another program."""
    program = clone.folder / "inv_program.py"
    program.write_text(text)
    try:
        yield
    finally:
        program.write_text(PROGRAM)


def test_status_of_the_program(used: Clone) -> None:
    with program_of(used, "import sys; sys.exit(5)"):
        assert used.run()[0] == 5


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
    wait_for(gate, started)
    os.killpg(started.pid, signal.SIGKILL)
    started.communicate(timeout=300)
    fresh.python = normal
    assert fresh.run()[0] == 0


def test_no_python(fresh: Clone) -> None:
    fresh.python = "python-that-is-not-there"
    needed = "needs Python 3.11 or later: apt-get install python3 python3-venv"
    assert fresh.error() == f"inv: {needed}"


def test_an_old_python_is_passed_over(fresh: Clone, tmp_path: Path) -> None:
    normal = fresh.python
    old = python_that(tmp_path, '*"version_info < (3, 11)"*')
    fresh.python = old
    assert fresh.error()
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
    package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
    lacks = f"{fresh.python} has no venv module; as root: apt-get install {package}"
    assert fresh.error(PATH=path) == f"inv: {lacks}"


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
    err = fresh.error(PATH=fake_tools(tmp_path, user=0, apt="echo E: no network; exit 100"))
    assert "E: no network" in err
    assert err.splitlines()[-1].endswith(".venv.log")


def test_a_package_that_cannot_be_had(fresh: Clone) -> None:
    err = fresh.error(PIP_NO_INDEX="1")
    assert "pip could not install the locked packages" in err
    assert len(err.splitlines()) < 14
    assert not fresh.stamp.exists()


# --- what the user has set -----------------------------------------------------------


def test_pip_installs_into_venv_wherever_the_user_has_it_install(
    with_pip: Clone, tmp_path: Path
) -> None:
    places = {name: tmp_path / name for name in ("target", "prefix", "root")}
    lines = ["[global]", "user = true", "[install]", *(f"{n} = {p}" for n, p in places.items())]
    (tmp_path / "pip.conf").write_text("\n".join(lines) + "\n")
    status, out, err = with_pip.run(
        **lock_a_package(with_pip),
        PIP_CONFIG_FILE=str(tmp_path / "pip.conf"),
        PIP_USER="1",
        PIP_TARGET=str(places["target"]),
        PIP_PYTHON="/none",
        PIP_DRY_RUN="1",
        PYTHONHOME="/none",
    )
    assert (status, out) == (0, f"{with_pip.folder}|{with_pip.venv}"), err
    assert not any(place.exists() for place in places.values())


def test_what_pip_is_not_kept_from_doing_is_told(with_pip: Clone, tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text("[global]\ndry-run = true\n")
    config = str(tmp_path / "pip.conf")
    err = with_pip.error(**lock_a_package(with_pip), PIP_CONFIG_FILE=config)
    assert "inv: pip installed nothing into .venv: look at `pip config list`" in err


def test_pip_hears_where_packages_come_from(fresh: Clone) -> None:
    kept = {
        "PIP_INDEX_URL": "https://index.invalid/simple",
        "PIP_EXTRA_INDEX_URL": "https://more.invalid/simple",
        "PIP_PROXY": "http://proxy.invalid",
        "PIP_CERT": "/a.pem",
        "PIP_TRUSTED_HOST": "index.invalid",
        "PIP_DEFAULT_TIMEOUT": "99",
        "PIP_CACHE_DIR": "/cache",
    }
    dropped = {"PIP_REQUIRE_VIRTUALENV": "1", "PIP_PREFIX": "/x", "PIP_NO_DEPS": "1"}
    assert fresh.run(**kept, **dropped)[0] == 0
    said = ast.literal_eval((fresh.venv / "pip.log").read_text())
    assert kept.items() <= said.items()
    assert not dropped.keys() & said.keys()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PYTHONPATH", "{folder}"),
        ("PYTHONHOME", "/none"),
        ("PYTHONSAFEPATH", "1"),
        ("PYTHONOPTIMIZE", "2"),
        ("PYTHONINSPECT", "1"),
        ("PYTHONPLATLIBDIR", "none"),
        ("PYTHONSTARTUP", "{folder}/sitecustomize.py"),
        ("PYTHONUTF8", "0"),
        ("PYTHONWARNINGS", "error"),
    ],
)
def test_what_is_set_for_another_python(used: Clone, tmp_path: Path, name: str, value: str) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('another one')\n")
    (used.folder / "harness.py").touch()
    asserts = "import harness, sys\nassert sys.flags.utf8_mode\nassert __debug__\n"
    with program_of(used, asserts + PROGRAM):
        done = used.run(**{name: value.format(folder=tmp_path)})
    assert done == (0, f"{used.folder}|{used.venv}", "")


STREAMS = """
import os, sys
there = [os.path.exists(f"/proc/self/fd/{number}") for number in range(3)]
with open(sys.argv[1], "w") as stream:
    print(stream.fileno() > 2, *there, file=stream)
print("x")
print("y", file=sys.stderr)
"""


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_stream_that_is_closed_is_no_file_that_is_opened(
    used: Clone, tmp_path: Path, closed: str
) -> None:
    command = f"exec {shlex.quote(str(used.folder / 'inv'))} {tmp_path}/said {closed}"
    with program_of(used, STREAMS):
        assert subprocess.run(["sh", "-c", command], check=False, timeout=60).returncode == 0
    assert (tmp_path / "said").read_text() == "True True True True\n"


def test_a_folder_in_which_no_venv_can_be_made(fresh: Clone) -> None:
    # Root may write anywhere; where a folder is, not even root opens a file.
    (fresh.folder / ".venv.lock").mkdir()
    assert fresh.error() == (
        f"inv: cannot write to {fresh.folder}, where .venv has to be made\n"
        "inv: try: a clone in a folder that you may write to"
    )


def test_a_clone_of_somebody_with_autocrlf(tmp_path: Path) -> None:
    (tmp_path / "gitconfig").write_text("[core]\nautocrlf = true\n[safe]\ndirectory = *\n")
    clone = tmp_path / "clone"
    subprocess.run(
        ["git", "clone", "-q", REPO, clone],
        env={**os.environ, "GIT_CONFIG_GLOBAL": str(tmp_path / "gitconfig")},
        check=True,
    )
    listed = subprocess.run(
        ["git", "-C", clone, "ls-files", "--eol"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert listed
    kinds = [line.split(maxsplit=2)[:2] for line in listed]
    assert {index.removeprefix("i/") for index, _ in kinds} <= {"lf", "none", "", "mixed", "-text"}
    assert [line for line in listed if line.split()[0][1:] != line.split()[1][1:]] == []
    (clone / ".venv").symlink_to(sys.prefix)
    done = subprocess.run([clone / "inv", "--list"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "emulator-test" in done.stdout
