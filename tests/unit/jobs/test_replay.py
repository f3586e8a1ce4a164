# SPDX-License-Identifier: MIT
"""The task that repeats a run, around a device that is not real."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import bundles
import pytest
from fake_guest import QEMU, FakeGuests, ctrl_c, without_record
from stand_ins import workspace

from harness.bundle import archive as bundle_archive
from harness.bundle import built
from harness.bundle.manifest import Harness, Original, Place, Rounds, Scenarios, Told
from harness.core.errors import BootError, InfrastructureError, ToolMissingError, UsageError
from harness.jobs import replay
from harness.machine import qemu
from harness.results.folder import LATEST

ALL_PASSED = Original(
    passed=True,
    result="PASS: 1 scenario on x",
    outcomes=(
        Told("", "boot", "NOTHING_TO_KILL"),
        Told("rss", "report", "PASSED"),
        Told("", "whole log", "NOTHING_TO_KILL"),
    ),
)


# The kernel's arguments on the machine that the bundles are for.
ARGUMENTS = qemu.kernel_command_line(bundles.machine())


class Bench(FakeGuests):
    """`replay` with fake guests, on which a victim lives."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        super().__init__(monkeypatch, tmp_path / "tools")
        self.folder = tmp_path
        self.results = tmp_path / "results"
        self.output = io.StringIO()
        self.ws = workspace(tmp_path / "cache", self.output)
        self.change = lambda _, seen: without_record(seen)

    def passes(self) -> None:
        """Have every victim die."""
        self.change = lambda _, seen: seen

    def run(self, **changes: Any) -> int:
        file = bundles.bundle(self.folder / "a.tar.gz", **changes)
        return replay.run(self.ws, file, results=self.results)

    def json(self, name: str) -> Any:
        return json.loads((self.results / LATEST / name).read_text())

    @property
    def said(self) -> list[str]:
        return self.output.getvalue().splitlines()


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Bench:
    return Bench(monkeypatch, tmp_path)


def test_a_run_that_comes_out_as_the_original(bench: Bench) -> None:
    bench.passes()
    assert bench.run(original=ALL_PASSED) == 0
    assert "the original run, 20261122-223145-linux-6.1-rss: PASS: 1 scenario on x" in bench.said
    assert bench.said[-2:] == [
        "agrees with the original: all 3 outcomes are the same",
        f"PASS: 1 scenario on {bundles.RELEASE}",
    ]
    assert bench.json("replay.json")["agrees"] is True
    assert bench.json("replay.json")["bundle"] == "a.tar.gz"
    assert bench.json("verdict.json")["release"] == bundles.RELEASE
    assert (bench.results / LATEST / "command.txt").read_text() == (
        f"./inv replay {bench.folder}/a.tar.gz\n"
    )


def test_what_is_booted_is_the_bundles(bench: Bench) -> None:
    bench.run()
    (opened,) = bench.opened
    assert opened.image == bundles.CONTENTS["kernel/image"]
    assert opened.initramfs == bundles.CONTENTS["guest/initramfs"]
    assert (opened.boot.release, opened.boot.snapshot) == (bundles.RELEASE, False)


def test_nothing_is_stored_but_the_results(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = bench.folder / "tmp"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    bench.run()
    assert not bench.ws.cache.root.exists()
    assert list(scratch.iterdir()) == []


def test_a_run_that_comes_out_otherwise(bench: Bench) -> None:
    bench.passes()
    assert bench.run() == 0
    assert bench.said[-2] == (
        "differs from the original in 1 of 3 outcomes:"
        " report (policy rss): passed, was wrong victim"
    )
    assert bench.json("replay.json")["agrees"] is False


def test_the_status_is_the_runs_whatever_the_original_was(bench: Bench) -> None:
    assert bench.run() == 1
    assert bench.said[-1].startswith("FAIL: records disagree")
    assert not [line for line in bench.said if "to hand it on" in line]
    assert built.read((bench.results / LATEST / built.FILE).read_text()).replay_of == "a.tar.gz"


def test_a_kernel_that_does_not_come_up_again(bench: Bench) -> None:
    def fail(*_: object) -> None:
        raise BootError("the kernel panicked")

    bench.boot = fail
    died = Original(False, "FAIL: the kernel panicked", ())
    with pytest.raises(BootError):
        bench.run(original=died)
    assert bench.said[-2:] == [
        "agrees with the original: FAIL: the kernel panicked",
        "FAIL: the kernel panicked",
    ]


def test_what_is_another_than_it_was_is_said(bench: Bench) -> None:
    bench.run(
        qemu="QEMU 9",
        arguments="quiet",
        harness=Harness("0.1.0", "0" * 16, commit="ab" * 20),
    )
    assert f"another QEMU: {QEMU}, was QEMU 9" in bench.said
    assert f"other arguments for the kernel: {ARGUMENTS}, was quiet" in bench.said
    assert "another harness than the bundle's, 0.1.0, commit abababababab" in bench.said
    bench.output.truncate(0)
    bench.run(qemu=QEMU, arguments=ARGUMENTS, harness=built.this_harness())
    assert not [line for line in bench.said if line.startswith(("another", "other"))]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"place": Place("linux-9.9", "qemu", False)}, "no kernel is called 'linux-9.9'"),
        ({"place": Place("linux-6.1", "vbox", False)}, "no emulator is called 'vbox'"),
        ({"place": Place("linux-6.1", "sdk", False)}, "does not run on the emulator 'sdk'"),
        ({"place": Place("goldfish-3.4", "qemu", False)}, "vexpress-a9"),
        ({"machine": replace(bundles.machine(), memory_mib=512)}, "512 MiB, which this harness"),
        (
            # Which would read a file of the host's.
            {"machine": replace(bundles.machine(), devices=("-drive", "file=/etc/passwd"))},
            "which this harness cannot run",
        ),
        ({"machine": replace(bundles.machine(), binary="/tmp/x")}, "cannot run"),
        ({"scenarios": Scenarios("worst", "alloc", ("report",))}, "no policy is called 'worst'"),
        ({"scenarios": Scenarios("rss", "timer", ("report",))}, "no trigger is called 'timer'"),
        ({"scenarios": Scenarios("rss", "alloc", ("reprot",))}, "no scenario is called 'reprot'"),
        ({"scenarios": Scenarios("rss", "alloc", ())}, "no scenario is named"),
        ({"scenarios": Scenarios("rss", "alloc", ("report",), 65)}, "65 guests shared"),
        ({"scenarios": None, "rounds": Rounds(2**40, 1)}, "its seed is"),
    ],
)
def test_what_this_harness_does_not_know(
    bench: Bench, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InfrastructureError, match=message) as caught:
        bench.run(harness=Harness("0.0.1", "0" * 16), **changes)
    assert caught.value.hint == "the harness that made the bundle, 0.0.1, code 0000000000000000"
    assert not bench.results.exists()
    assert bench.opened == []


def test_a_bundle_without_its_program(bench: Bench) -> None:
    contents = {k: v for k, v in bundles.CONTENTS.items() if not k.endswith("fuzz")}
    manifest = bundles.manifest(contents, scenarios=None, rounds=Rounds(1, 1))
    bundle_archive.pack(manifest, contents, bench.folder / "a")
    with pytest.raises(InfrastructureError, match="it has no programs/mm_limits_fuzz"):
        replay.run(bench.ws, bench.folder / "a", results=bench.results)


def test_a_file_that_is_no_bundle_leaves_no_results(bench: Bench) -> None:
    (bench.folder / "x").write_text("x")
    with pytest.raises(InfrastructureError, match="no whole bundle"):
        replay.run(bench.ws, bench.folder / "x", results=bench.results)
    with pytest.raises(UsageError, match="there is no file"):
        replay.run(bench.ws, bench.folder / "y", results=bench.results)
    with pytest.raises(UsageError, match="KCIDB"):
        replay.run(bench.ws, bench.folder / "x", kcidb_origin="a b", results=bench.results)
    assert not bench.results.exists()


@pytest.mark.parametrize("tool", ["qemu-system-arm", "adb"])
def test_a_tool_that_is_missing_is_named(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tool: str
) -> None:
    (bench.folder / "tools" / tool).unlink()
    monkeypatch.setenv("PATH", str(bench.folder / "tools"))
    with pytest.raises(ToolMissingError, match=f"not installed: {tool}"):
        bench.run()


def test_ctrl_c_is_told_without_a_comparison(bench: Bench) -> None:
    bench.change = ctrl_c
    with pytest.raises(KeyboardInterrupt):
        bench.run()
    assert bench.said[-1] == "FAIL: KeyboardInterrupt"
    assert not (bench.results / LATEST / "replay.json").exists()


@pytest.mark.parametrize(("deaths", "status"), [([], 0), ([5], 1)])
def test_a_round_of_the_fuzz_test_again(bench: Bench, deaths: list[int], status: int) -> None:
    bench.deaths[12] = deaths
    original = Original(False, "FAIL: pid 7 died", (Told("", "rounds", "FAILED"),))
    assert bench.run(scenarios=None, rounds=Rounds(12, 1), original=original) == status
    assert [one.seed for one in bench.rounds] == [12]
    agrees = "agrees with the original: all 1 outcomes are the same"
    assert (agrees in bench.said) == bool(deaths)
    assert bench.json("replay.json")["agrees"] == bool(deaths)
    assert bench.json("fuzz.json")["seed"] == 12
