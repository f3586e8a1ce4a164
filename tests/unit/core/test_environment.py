# SPDX-License-Identifier: MIT
"""What a user has set for other work changes nothing that is built, and nothing of the user's."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakekernel import FakeRepository, make_repository

from harness.build import kernel, modules
from harness.build.source import fetch
from harness.core import process
from harness.core.environment import environment_of
from harness.core.lifetime import Health
from harness.machine.console import Console

# By the program that reads them; a folder of the user's stands for @.
FOREIGN = {
    "make": "MAKEFLAGS=-n MFLAGS=-n GNUMAKEFLAGS=-n MAKEFILES=@/own.mk MAKELEVEL=3 M=@ O=@ W=1 C=2",
    "Kbuild": (
        "KCONFIG_CONFIG=@/own KCONFIG_ALLCONFIG=@/own KCONFIG_OVERWRITECONFIG=1 KCONFIG_NOSILENT=1"
        " KBUILD_OUTPUT=@ KBUILD_EXTMOD=@ KBUILD_VERBOSE=1 KBUILD_SRC=@ KBUILD_DEFCONFIG=own"
        " KBUILD_HOSTCFLAGS=-DX KBUILD_CFLAGS=-DX KCFLAGS=-DX KCPPFLAGS=-DX KAFLAGS=-DX"
        " LLVM=1 LLVM_IAS=1 ARCH=mips CROSS_COMPILE=none- LOCALVERSION=-own INSTALL_MOD_PATH=@"
    ),
    "make's rules": "CC=false HOSTCC=false LD=false AR=false CFLAGS=-DX CPPFLAGS=-DX LDFLAGS=-DX",
    "gcc": (
        "CPATH=@ C_INCLUDE_PATH=@ LIBRARY_PATH=@ GCC_EXEC_PREFIX=@/ COMPILER_PATH=@"
        " DEPENDENCIES_OUTPUT=@/own SUNPRO_DEPENDENCIES=@/own SOURCE_DATE_EPOCH=x"
        " LD_RUN_PATH=@ GCC_COLORS=error=01;31 GNUTARGET=none"
    ),
    "ccache": "CCACHE_PREFIX=false CCACHE_DISABLE=1 CCACHE_READONLY=1 CCACHE_LOGFILE=@/own",
    "the loader": "LD_PRELOAD=@/own LD_AUDIT=@/own LD_DEBUG=all",
    "shells": "BASH_ENV=@/own ENV=@/own CDPATH=@ SHELLOPTS=xtrace IFS=/ PS4=x",
    "perl": "PERL5OPT=-MNone PERL5LIB=@ PERLLIB=@",
    "others": (
        "TAR_OPTIONS=--none GZIP=-9 XZ_OPT=--none XZ_DEFAULTS=--none ZSTD_CLEVEL=19 BZIP=-9"
        " POSIXLY_CORRECT=1 PATCH_GET=1 SIMPLE_BACKUP_SUFFIX=.o VERSION_CONTROL=all"
        " PATCH_VERSION_CONTROL=all QUOTING_STYLE=c GREP_OPTIONS=-v GREP_COLORS=x DEBUGINFOD_URLS=x"
        " LANGUAGE=de LC_ALL=de_DE.UTF-8 LANG=de_DE.UTF-8 LC_MESSAGES=de_DE.UTF-8 TZ=Asia/Tokyo"
    ),
}


def variables(family: str, folder: Path) -> dict[str, str]:
    """The family's variables; `folder` stands in for the user's."""
    words = (word.partition("=") for word in FOREIGN[family].split())
    return {name: value.replace("@", str(folder)) for name, _, value in words}


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeRepository]:
    with pytest.MonkeyPatch.context() as patched:
        yield make_repository(tmp_path_factory.mktemp("repository"), patched)


def what_is_built(fake: FakeRepository) -> dict[str, bytes]:
    """All that a first build of kernel and modules leaves, its log too."""
    shutil.rmtree(fake.ws.cache.root, ignore_errors=True)
    built = kernel.build(fake.ws, fake.target, str(fake.pristine))
    module = modules.build(fake.ws, built)
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for folder in (built.folder, module.folder)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def expected(fake: FakeRepository) -> dict[str, bytes]:
    return what_is_built(fake)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder of the user's, in which a file is whatever a variable wants it to be."""
    folder = tmp_path / "user"
    folder.mkdir()
    for name in ("own", "own.mk"):
        (folder / name).write_text("$(error read by make)\n")
    return folder


@pytest.mark.parametrize("family", FOREIGN)
def test_a_build_is_the_same_whatever_the_user_has_set(
    family: str,
    fake: FakeRepository,
    expected: dict[str, bytes],
    own: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = {path.name: path.read_bytes() for path in own.iterdir()}
    for name, value in variables(family, own).items():
        monkeypatch.setenv(name, value)
    assert what_is_built(fake) == expected
    assert {path.name: path.read_bytes() for path in own.iterdir()} == before


@pytest.mark.parametrize("program", ["make", "gcc", "/ndk/ndk-build", "qemu-system-arm", "patch"])
@pytest.mark.parametrize("family", FOREIGN)
def test_no_program_of_a_build_sees_it(
    family: str, program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables(family, Path("/x")).items():
        monkeypatch.setenv(name, value)
    left = environment_of(program)
    assert variables(family, Path("/x")).items() & left.items() == set()
    assert left["LC_ALL"] == "C"


def seen_by(program: str, names: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What the program sees of these variables, if a user has set them all."""
    for name in names.split():
        monkeypatch.setenv(name, "mine")
    seen = environment_of(program)
    return {name: seen[name] for name in names.split() if name in seen}


@pytest.mark.parametrize(
    ("program", "names"),
    [
        ("adb", "ANDROID_SERIAL ADB_SERVER_SOCKET ADB_VENDOR_KEYS"),
        ("qemu-system-arm", "QEMU_AUDIO_DRV"),
        ("git", "GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_NAMESPACE GIT_TRACE LD_PRELOAD"),
        ("apt-get", "PERL5OPT"),
        ("mmdebstrap", "PERL5LIB SOURCE_DATE_EPOCH"),
        ("tar", "TAR_OPTIONS"),
    ],
)
def test_what_a_program_may_not_see(
    program: str, names: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert seen_by(program, names, monkeypatch) == {}


@pytest.mark.parametrize(
    ("program", "names"),
    [
        ("make", "PATH LD_LIBRARY_PATH"),
        ("git", "GIT_SSH_COMMAND GIT_CONFIG_COUNT GIT_SSL_CAINFO SSH_AUTH_SOCK https_proxy"),
        ("/usr/lib/apt/apt-helper", "APT_CONFIG"),
        ("apt-get", "http_proxy"),
        ("mmdebstrap", "HTTPS_PROXY"),
        ("adb", "TERM"),
        ("sudo", "SUDO_ASKPASS"),
        ("/sdk/emulator/emulator", "ANDROID_AVD_HOME"),
    ],
)
def test_what_a_program_must_see(program: str, names: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert seen_by(program, names, monkeypatch) == dict.fromkeys(names.split(), "mine")


def test_what_is_added_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/mine")
    assert environment_of("make", {"TMPDIR": "/ours"})["TMPDIR"] == "/ours"


@pytest.mark.parametrize("compression", ["xz", "gzip"])
def test_an_archive_is_unpacked_whatever_the_user_has_set(
    compression: str, fake: FakeRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "linux.tar"
    (fake.pristine / ".config").touch()
    subprocess.run(["tar", "-c", "-f", archive, "-C", fake.folder, "pristine"], check=True)
    (fake.pristine / ".config").unlink()
    subprocess.run([compression, archive], check=True)
    packed = next(tmp_path.glob("linux.tar.*"))
    for family in ("make", "Kbuild", "others"):
        for name, value in variables(family, tmp_path).items():
            monkeypatch.setenv(name, value)
    source = fetch(fake.ws, fake.target, str(packed))
    # It was built in, and so is cleaned by make.
    assert not (source.tree / ".config").exists()
    assert (source.tree / "Makefile").exists()


def test_a_console_sees_what_its_program_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QEMU_AUDIO_DRV", "mine")
    for env in (None, {**environment_of("env"), "OURS": "1"}):
        console = Console(["env"], tmp_path / "log", Health(), env)
        console.wait_for("^PATH=", timeout=20, silence=20)
        console.close()
        said = (tmp_path / "log").read_text()
        assert "QEMU_AUDIO_DRV" not in said
        assert ("OURS=1" in said) == (env is not None)


def test_programs_of_ours_see_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", "-x")
    words = [sys.executable, "-c", "import os; print(os.environ['PYTEST_ADDOPTS'])"]
    assert process.run(words).output == "-x\n"
