# SPDX-License-Identifier: MIT
"""Runs of what a bundle has: with guests that are not real, and nothing is built."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import bundles
import pytest
from fake_guest import QEMU, FakeGuests, without_record
from stand_ins import workspace

from harness.bundle import archive as bundle_archive
from harness.bundle import built, pack
from harness.bundle.manifest import Harness, Manifest, Place
from harness.core.cache import file_sha256
from harness.core.errors import (
    BootError,
    HarnessError,
    InfrastructureError,
    ToolMissingError,
    UsageError,
)
from harness.jobs import emulator_test, fuzz, replay
from harness.jobs.bundled import opened
from harness.jobs.options import EmulatorTestOptions, FuzzOptions
from harness.results.folder import LATEST
from harness.ui.events import RunBegin, RunEnd, decode
from harness.ui.progress import Reporter


class Bench(FakeGuests):
    """A bundle in a folder, and the tasks that boot what it has."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        super().__init__(monkeypatch, tmp_path / "tools")
        self.file = tmp_path / "a b.tar.gz"
        self.results = tmp_path / "results"
        self.output = io.StringIO()
        self.ws = workspace(tmp_path / "cache", self.output)

    def write(self, **changes: Any) -> Path:
        return bundles.bundle(self.file, **{**bundles.ONLY_BUILT, **changes})

    def test(self, **options: Any) -> int:
        with opened(self.file) as found:
            given = {"policy": "rss", "trigger": "alloc", "scenarios": ("report",), **options}
            test = EmulatorTestOptions(
                target=found.target, bundle=found, results=self.results, jobs="1", **given
            )
            return emulator_test.run(self.ws, test)

    def fuzz(self, **options: Any) -> int:
        with opened(self.file, fuzz.check_bundle) as found:
            given = FuzzOptions(
                target=found.target, bundle=found, results=self.results, seed=7, **options
            )
            return fuzz.run(self.ws, given)

    def text(self, name: str) -> str:
        return (self.results / LATEST / name).read_text()

    @property
    def said(self) -> list[str]:
        return self.output.getvalue().splitlines()


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Bench:
    return Bench(monkeypatch, tmp_path)


def test_what_was_built_is_tested(bench: Bench) -> None:
    file = bench.write(qemu="", harness=built.this_harness())
    assert bench.test() == 0
    (guest,) = bench.opened
    assert guest.image == bundles.CONTENTS["kernel/image"]
    assert guest.initramfs == bundles.CONTENTS["guest/initramfs"]
    assert (guest.boot.release, guest.boot.snapshot) == (bundles.RELEASE, True)
    verdict, record = json.loads(bench.text("verdict.json")), built.read(bench.text(built.FILE))
    assert (verdict["passed"], verdict["release"]) == (True, bundles.RELEASE)
    assert verdict["toolchain"] == bundles.KERNEL_FACTS.toolchain
    assert verdict["source"]["origin"] == bundles.KERNEL_FACTS.origin
    assert verdict["emulator"] == record.qemu == QEMU
    assert record.replay_of == "a b.tar.gz"
    assert bench.text("command.txt") == (
        f"./inv emulator-test --policy rss --trigger alloc --bundle '{file}'"
        " --jobs 1 --scenario report\n"
    )
    assert "Booting Linux" in bench.text("report.html")
    assert f"the bundle has {bundles.RELEASE}; its SHA-256 is {file_sha256(file)}" in bench.said
    assert bench.said[-1] == f"PASS: 1 scenario on {bundles.RELEASE}"
    # Nothing was run of it: no other QEMU.
    assert not [line for line in bench.said if line.startswith(("another", "other"))]


def test_for_a_machine_it_is_one_run(bench: Bench) -> None:
    bench.write()
    bench.ws = replace(bench.ws, reporter=Reporter(mode="json"))
    output = io.StringIO()
    with redirect_stdout(output):
        assert bench.test() == 0
        bench.ws.reporter.close(0)
    kinds = [type(decode(line).event) for line in output.getvalue().splitlines()]
    assert kinds[0] is RunBegin
    assert kinds[-1] is RunEnd
    assert (kinds.count(RunBegin), kinds.count(RunEnd)) == (1, 1)


@pytest.mark.parametrize("snapshot", [False, True])
def test_a_bundle_of_a_run_serves_for_another_run(bench: Bench, snapshot: bool) -> None:
    bundles.bundle(bench.file, qemu="QEMU 9", harness=Harness("0.1.0", "0" * 16))
    assert bench.test(policy="badness", scenarios=("two-users",), snapshot=snapshot) == 0
    assert bench.opened[0].boot.snapshot == snapshot
    judged = json.loads(bench.text("verdict.json"))["scenarios"]
    assert [(one["scenario"], one["policy"]) for one in judged][1] == ("two-users", "badness")
    assert f"another QEMU: {QEMU}, was QEMU 9" in bench.said
    assert "another harness than the bundle's, 0.1.0, code 0000000000000000" in bench.said
    assert not (bench.results / LATEST / replay.FILE).exists()


def test_a_kernel_that_fails_has_nothing_to_bundle_but_its_bundle(bench: Bench) -> None:
    bench.write()
    bench.change = lambda _, seen: without_record(seen)
    assert bench.test() == 1
    assert not [line for line in bench.said if "to hand it on" in line]
    with pytest.raises(UsageError, match="is in a bundle already") as caught:
        pack.run(bench.ws, None, bench.results / "x", bench.results)
    assert caught.value.hint.startswith("hand that on, a b.tar.gz, and what was run: ./inv emul")


def test_a_kernel_that_does_not_come_up(bench: Bench) -> None:
    bench.write()

    def fail(*_: object) -> None:
        raise BootError("the kernel panicked")

    bench.boot = fail
    with pytest.raises(BootError):
        bench.test()
    assert json.loads(bench.text("verdict.json"))["release"] == bundles.RELEASE
    assert bench.said[-1] == "FAIL: the kernel panicked"


@pytest.mark.parametrize(("deaths", "status"), [([], 0), ([5], 1)])
def test_fuzzing(bench: Bench, deaths: list[int], status: int) -> None:
    file = bench.write()
    bench.deaths[8] = deaths
    assert bench.fuzz(rounds=2) == status
    assert [one.seed for one in bench.rounds] == [7, 8]
    assert bench.text("command.txt") == f"./inv fuzz --bundle '{file}' --seed 7 --rounds 2\n"
    assert built.read(bench.text(built.FILE)).replay_of == "a b.tar.gz"
    again = f"again: ./inv fuzz --bundle '{file}' --seed 8 --rounds 1"
    assert (again in bench.said[-1]) == bool(deaths)


def test_nothing_is_left_but_results(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = bench.results.parent / "tmp"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    bench.write()
    bench.test()
    bench.fuzz(rounds=1)
    assert not bench.ws.cache.root.exists()
    assert list(scratch.iterdir()) == []


def test_a_replay_of_what_was_only_built_says_what_to_type(bench: Bench) -> None:
    file = bench.write()
    # No QEMU is needed to say so.
    (bench.results.parent / "tools" / "qemu-system-arm").unlink()
    with pytest.raises(UsageError, match="nothing was run of it") as caught:
        replay.run(bench.ws, file, results=bench.results)
    assert caught.value.hint == f"./inv emulator-test --bundle '{file}'"
    assert not bench.results.exists()


def refused(bench: Bench, kind: type[HarnessError], message: str) -> None:
    for run in (bench.test, bench.fuzz):
        with pytest.raises(kind, match=message):
            run()
    assert bench.opened == []
    assert not bench.results.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"place": Place("linux-9.9", "qemu", False)}, "no kernel is called 'linux-9.9'"),
        ({"place": Place("linux-6.1", "sdk", False)}, "does not run on the emulator 'sdk'"),
        ({"place": Place("goldfish-3.4", "qemu", False)}, "vexpress-a9"),
        (
            # Which would read a file of the host's.
            {"machine": replace(bundles.machine(), devices=("-drive", "file=/etc/passwd"))},
            "which this harness cannot run",
        ),
        ({"machine": replace(bundles.machine(), binary="/tmp/x")}, "cannot run"),
    ],
)
def test_a_target_that_this_harness_does_not_have(
    bench: Bench, changes: dict[str, Any], message: str
) -> None:
    bench.write(**changes)
    refused(bench, InfrastructureError, message)


def lying(manifest: Manifest) -> Manifest:
    """Return a manifest whose kernel is another one than the bundle's."""
    first = manifest.members[0]
    return replace(manifest, members=(replace(first, sha256="0" * 64), *manifest.members[1:]))


def test_a_manifest_that_lies(bench: Bench) -> None:
    manifest = lying(bundles.manifest(**bundles.ONLY_BUILT))
    bundle_archive.pack(manifest, bundles.CONTENTS, bench.file)
    refused(bench, InfrastructureError, "is not what was packed")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_bundle(bench: Bench, share: float) -> None:
    data = bench.write().read_bytes()
    bench.file.write_bytes(data[: int(len(data) * share)])
    refused(bench, InfrastructureError, "no whole bundle")


def test_no_bundle_and_no_tool(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(bench, UsageError, "there is no file")
    bench.write()
    tools = bench.results.parent / "tools"
    (tools / "adb").unlink()
    monkeypatch.setenv("PATH", str(tools))
    refused(bench, ToolMissingError, "not installed: adb")


def test_fuzzing_without_its_program(bench: Bench) -> None:
    contents = {k: v for k, v in bundles.CONTENTS.items() if not k.endswith("fuzz")}
    bundle_archive.pack(bundles.manifest(contents, **bundles.ONLY_BUILT), contents, bench.file)
    with pytest.raises(InfrastructureError, match="it has no programs/mm_limits_fuzz"):
        bench.fuzz()
    assert bench.test() == 0
