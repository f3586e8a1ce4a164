# SPDX-License-Identifier: MIT
"""Runs from bundles: with an empty cache, and no compiler, apt or network."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from conftest import Emulate

from harness.bundle import pack as bundles
from harness.bundle.built import FILE as BUILT
from harness.core.errors import EXIT_FAILED, EXIT_INFRASTRUCTURE, EXIT_PASSED
from harness.core.paths import REPO, RESULTS
from harness.jobs import fuzz
from harness.jobs.options import FuzzOptions
from harness.results.folder import LATEST
from harness.targets.model import Target
from harness.ui.workspace import Workspace

INV = [sys.executable, str(REPO / "inv_program.py")]
FAULTS = Path(__file__).parent / "faults"
SECONDS = 3600.0
NO_SNAPSHOT = "--no-snapshot"
# All programs that a replay may find on PATH.
TOOLS = ("qemu-system-arm", "adb", "setpriv")


@pytest.fixture(scope="module")
def passed(
    emulate: Emulate,
    workspace: Workspace,
    target: Target,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, Path]:
    """Return the folder of a run of one scenario that passed, and its bundle."""
    folder = tmp_path_factory.mktemp("original")
    assert emulate(target, folder, scenarios=("report",)) == EXIT_PASSED
    result = (folder / LATEST).resolve()
    return result, bundles.run(workspace, result, folder / "run.bundle.tar.gz")


class Elsewhere:
    """A stand-in for another machine: nothing is installed but TOOLS, and nothing is cached."""

    def __init__(self, folder: Path) -> None:
        self.here = folder / "here"
        self.cache = folder / "cache"
        self.bin = folder / "bin"
        for made in (self.here, self.cache, self.bin):
            made.mkdir()
        for tool in TOOLS:
            self.provide(tool)

    def provide(self, tool: str) -> None:
        """Install a tool."""
        found = shutil.which(tool)
        assert found is not None, f"{tool} is not installed"
        (self.bin / tool).symlink_to(found)

    def inv(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        nobody = "http://127.0.0.1:9/"
        return subprocess.run(
            [*INV, *words],
            cwd=self.here,
            env={
                **{name: os.environ[name] for name in ("HOME", "TMPDIR") if name in os.environ},
                "PATH": str(self.bin),
                "XDG_CACHE_HOME": str(self.cache),
                "CI": "true",
                **{f"{scheme}_proxy": nobody for scheme in ("http", "https")},
                **variables,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    def replay(self, bundle: Path) -> subprocess.CompletedProcess[str]:
        return self.inv("replay", str(bundle))

    @property
    def left(self) -> list[Path]:
        """The contents of the folders that were empty at first."""
        return [*self.here.rglob("*"), *self.cache.rglob("*")]


@pytest.fixture
def elsewhere(tmp_path: Path) -> Elsewhere:
    return Elsewhere(tmp_path)


def results_of(output: str) -> Path:
    """Return the result folder that a run has printed."""
    (line,) = (line for line in output.splitlines() if line.startswith("results: "))
    folder = Path(line.removeprefix("results: "))
    assert folder.is_relative_to(RESULTS)
    return folder


def json_in(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text())


def test_a_run_is_repeated_with_qemu_and_adb_alone(
    passed: tuple[Path, Path], elsewhere: Elsewhere
) -> None:
    original, bundle = passed
    moved = Path(shutil.copy(bundle, elsewhere.here / "run.tar.gz"))
    done = elsewhere.replay(Path(moved.name))
    assert done.returncode == EXIT_PASSED, done.stdout
    assert done.stdout.splitlines()[-2:] == [
        "agrees with the original: all 3 outcomes are the same",
        f"PASS: 1 scenario on {json_in(original, 'verdict.json')['release']}",
    ]
    assert elsewhere.left == [moved]
    folder = results_of(done.stdout)
    names = {path.name for path in folder.iterdir()}
    assert {path.name for path in original.iterdir()} | {"replay.json"} <= names
    assert json_in(folder, "replay.json")["agrees"] is True
    before, now = (json_in(one, "verdict.json") for one in (original, folder))
    assert now["release"] == before["release"]
    assert [one["outcome"] for one in now["scenarios"]] == [
        one["outcome"] for one in before["scenarios"]
    ]
    assert "Linux version" in (folder / "console.log").read_text(errors="replace")
    # A repetition cannot be bundled: its bundle exists already.
    assert elsewhere.inv("bundle", str(folder)).returncode == 2


def test_the_bundle_tells_nothing_of_this_machine(passed: tuple[Path, Path]) -> None:
    with tarfile.open(passed[1]) as tar:
        for member in tar:
            if not member.name.startswith(("manifest", "original/")):
                continue
            stream = tar.extractfile(member)
            assert stream is not None
            text = stream.read().decode(errors="replace")
            for place in (str(REPO), str(Path.home() / ".cache")):
                assert place not in text, member.name


def test_a_flipped_byte_is_noticed(passed: tuple[Path, Path], elsewhere: Elsewhere) -> None:
    data = bytearray(passed[1].read_bytes())
    data[len(data) // 2] ^= 0xFF
    damaged = elsewhere.here / "damaged.tar.gz"
    damaged.write_bytes(data)
    done = elsewhere.replay(damaged)
    assert done.returncode == EXIT_INFRASTRUCTURE
    assert f"error: {damaged} is no whole bundle: " in done.stdout
    assert "try: have it sent again" in done.stdout
    assert "Traceback" not in done.stdout
    assert "results: " not in done.stdout


def test_a_member_that_was_changed_is_noticed(
    passed: tuple[Path, Path], elsewhere: Elsewhere
) -> None:
    changed = elsewhere.here / "changed.tar.gz"
    with tarfile.open(passed[1]) as old, tarfile.open(changed, "w:gz") as new:
        for member in old:
            stream = old.extractfile(member)
            assert stream is not None
            data = stream.read()
            if member.name == "kernel/image":
                data = data[:-1] + bytes([data[-1] ^ 1])
            new.addfile(member, io.BytesIO(data))
    done = elsewhere.replay(changed)
    assert done.returncode == EXIT_INFRASTRUCTURE
    assert "kernel/image is not what was packed" in done.stdout


def test_no_qemu_is_said_before_anything_else(
    passed: tuple[Path, Path], elsewhere: Elsewhere
) -> None:
    (elsewhere.bin / "qemu-system-arm").unlink()
    done = elsewhere.replay(passed[1])
    assert done.returncode == EXIT_INFRASTRUCTURE
    assert "not installed: qemu-system-arm" in done.stdout
    assert "apt-get install qemu-system-arm" in done.stdout


def test_a_run_that_fails_is_offered_and_fails_again(
    emulate: Emulate,
    workspace: Workspace,
    target: Target,
    tmp_path: Path,
    elsewhere: Elsewhere,
    capsys: pytest.CaptureFixture[str],
) -> None:
    scenarios = ("report", "many-small", "two-users")
    patches = (FAULTS / "comparison-inverted.patch",)
    status = emulate(target, tmp_path / "results", scenarios=scenarios, patches=patches)
    assert status == EXIT_FAILED
    result = (tmp_path / "results" / LATEST).resolve()
    assert f"to hand it on: ./inv bundle {result}" in capsys.readouterr().out
    done = elsewhere.replay(bundles.run(workspace, result, tmp_path / "run.tar.gz"))
    assert done.returncode == EXIT_FAILED, done.stdout
    compared, last = done.stdout.splitlines()[-2:]
    assert compared.startswith(("agrees with the original: ", "differs from the original in "))
    assert last.startswith("FAIL: ")
    folder = results_of(done.stdout)
    outcomes = {one["outcome"] for one in json_in(folder, "verdict.json")["scenarios"]}
    assert "WRONG_VICTIM" in outcomes


def test_a_kernel_that_does_not_come_up_does_not_come_up_again(
    passed: tuple[Path, Path], workspace: Workspace, tmp_path: Path, elsewhere: Elsewhere
) -> None:
    """The original run left a folder without any verdict on a scenario."""
    result = tmp_path / passed[0].name
    shutil.copytree(passed[0], result)
    record = json_in(result, BUILT)
    record["kernel"]["release"] += "-other"
    (result / BUILT).write_text(json.dumps(record))
    verdict = json_in(result, "verdict.json")
    verdict |= {"passed": False, "result": "FAIL: the kernel did not come up", "scenarios": []}
    (result / "verdict.json").write_text(json.dumps(verdict))
    done = elsewhere.replay(bundles.run(workspace, result, tmp_path / "run.tar.gz"))
    assert done.returncode == EXIT_INFRASTRUCTURE
    assert "the kernel that booted is" in done.stdout
    assert "cannot be compared with the original, which ended: FAIL" in done.stdout


def test_a_fuzz_run_is_repeated(
    workspace: Workspace, target: Target, tmp_path: Path, elsewhere: Elsewhere
) -> None:
    folder = tmp_path / "results"
    options = FuzzOptions(target=target, seed=1, rounds=2, results=folder)
    assert fuzz.run(workspace, options) == EXIT_PASSED
    done = elsewhere.replay(bundles.run(workspace, folder / LATEST, tmp_path / "run.tar.gz"))
    assert done.returncode == EXIT_PASSED, done.stdout
    assert done.stdout.splitlines()[-2:] == [
        "agrees with the original: all 1 outcomes are the same",
        "PASS: 2 rounds",
    ]
    again = results_of(done.stdout)
    assert json_in(again, "fuzz.json")["seed"] == 1


@pytest.fixture(scope="module")
def only_built(target: Target, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bundle of the kernel, of which nothing was run, as `bundle --build` makes it."""
    folder = tmp_path_factory.mktemp("built")
    words = ["bundle", "--build", *(["--debug"] if target.debug else [])]
    files = [folder / "kit.tar.gz", folder / "again.tar.gz"]
    for file in files:
        done = subprocess.run(
            [*INV, *words, "--output", str(file)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        assert done.stdout.splitlines()[-1].endswith(f" MB, SHA-256 {digest}")
    assert files[0].read_bytes() == files[1].read_bytes()
    return files[0]


def test_what_was_built_is_tested_with_qemu_and_adb_alone(
    only_built: Path, target: Target, elsewhere: Elsewhere, tmp_path: Path
) -> None:
    file = Path(shutil.copy(only_built, elsewhere.here / "kit.tar.gz"))
    results = {"INVOKE_GOLDFISH_OOM_RESULTS": str(tmp_path / "results")}
    words = ("emulator-test", "--bundle", file.name, "--scenario", "report")
    done = elsewhere.inv(*words, NO_SNAPSHOT, **results)
    assert done.returncode == EXIT_PASSED, done.stdout
    assert elsewhere.left == [file]
    folder = (tmp_path / "results" / LATEST).resolve()
    verdict, record = json_in(folder, "verdict.json"), json_in(folder, BUILT)
    assert (verdict["passed"], verdict["kernel"]) == (True, target.name)
    assert done.stdout.splitlines()[-1] == f"PASS: 1 scenario on {verdict['release']}"
    assert verdict["toolchain"]
    assert verdict["source"]["origin"]
    assert record["replay_of"] == file.name
    assert "--bundle kit.tar.gz" in (folder / "command.txt").read_text()
    assert (folder / "report.html").is_file()
    refused = elsewhere.inv("replay", file.name)
    assert refused.returncode == 2
    assert "try: ./inv emulator-test --bundle kit.tar.gz" in refused.stdout
    assert elsewhere.inv("bundle", str(folder)).returncode == 2
    # What command.txt says does the same again; where guests can be saved, the first is.
    elsewhere.provide("qemu-img")
    again = [one for one in (folder / "command.txt").read_text().split()[1:] if one != NO_SNAPSHOT]
    for phase in ("boot", "restore guest"):
        done = elsewhere.inv(*again, **results)
        assert done.returncode == EXIT_PASSED, done.stdout
        assert f"{phase} …" in done.stdout.splitlines()


def test_what_was_built_is_fuzzed_with_qemu_and_adb_alone(
    only_built: Path, elsewhere: Elsewhere, tmp_path: Path
) -> None:
    results = {"INVOKE_GOLDFISH_OOM_RESULTS": str(tmp_path / "results")}
    words = ("fuzz", "--bundle", str(only_built), "--seed", "3", "--rounds", "1")
    done = elsewhere.inv(*words, **results)
    assert done.returncode == EXIT_PASSED, done.stdout
    assert done.stdout.splitlines()[-1] == "PASS: 1 rounds"
    assert elsewhere.left == []
    folder = (tmp_path / "results" / LATEST).resolve()
    assert json_in(folder, "fuzz.json")["seed"] == 3
    assert (folder / "command.txt").read_text().split()[1:] == list(words)
