# SPDX-License-Identifier: MIT
"""The task that hands a run on: what is in the bundle, and what cannot be bundled."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import bundles
import pytest
from stand_ins import workspace

from harness.bundle import archive as bundle_archive
from harness.bundle import built
from harness.bundle import pack as bundle
from harness.bundle.manifest import Harness, Manifest, Original, Rounds, Scenarios, Told
from harness.core.errors import HarnessError, InfrastructureError, UsageError
from harness.core.process import Completed
from harness.core.typed_json import to_text
from harness.machine.qemu import kernel_command_line
from harness.results.fuzz_result import FuzzResult
from harness.targets.goldfish_3_4 import GOLDFISH_3_4

RUN = "20261122-223145-linux-6.1-rss"


class Place:
    """A cache, a folder with results, and what was said."""

    def __init__(self, tmp_path: Path) -> None:
        self.folder = tmp_path
        self.results = tmp_path / "results"
        self.output = io.StringIO()
        self.ws = workspace(tmp_path / "cache", self.output)

    def bundle(self, result: Path | None = None) -> Path:
        file = self.folder / "a.tar.gz"
        return bundle.run(self.ws, result, file, self.results)

    def unpacked(self) -> tuple[Manifest, Path]:
        folder = self.folder / "unpacked"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return bundle_archive.unpack(self.bundle(), folder), folder


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_all_that_repeats_a_run_is_in_it(place: Place) -> None:
    bundles.result(place.results, place.ws.cache)
    manifest, folder = place.unpacked()
    assert manifest == bundles.manifest(
        run=RUN,
        qemu=bundles.QEMU,
        arguments=kernel_command_line(bundles.machine()),
        harness=manifest.harness,
        members=manifest.members,
    )
    assert manifest.harness.code == built.this_harness().code
    assert (folder / "kernel/image").read_text() == "kernel zImage"
    assert (folder / "programs/mm_limits_fuzz").read_text() == "programs mm_limits_fuzz"
    assert sorted(path.name for path in (folder / "original").iterdir()) == [
        *("command.txt", "console.log", "kernel.log", "verdict.json"),
    ]
    said = place.output.getvalue()
    assert f"{place.folder / 'a.tar.gz'}: " in said
    assert f"to repeat it elsewhere: ./inv replay {place.folder / 'a.tar.gz'}\n" in said


def test_it_is_named_after_the_run_and_put_where_one_is(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place.folder)
    folder = bundles.result(place.results, place.ws.cache)
    assert bundle.run(place.ws, folder, results=place.results) == Path(f"{RUN}.bundle.tar.gz")
    assert (place.folder / f"{RUN}.bundle.tar.gz").is_file()


def test_the_same_run_makes_the_same_bytes(place: Place) -> None:
    bundles.result(place.results, place.ws.cache)
    first = place.bundle().read_bytes()
    for path in place.results.rglob("*"):
        path.touch()
    assert place.bundle().read_bytes() == first


def test_nothing_tells_of_the_machine_or_of_passwords(place: Place) -> None:
    secret = f"--source https://me:secret@example.invalid/linux@{'0' * 40}"
    kernel = replace(
        bundles.KERNEL_FACTS,
        origin="https://me:secret@example.invalid/linux at 0123",
        repository="https://me:secret@example.invalid/linux",
        toolchain=f"{place.folder}/bin/arm-gcc 12",
    )
    folder = bundles.result(
        place.results,
        place.ws.cache,
        command=f"./inv emulator-test {secret} --cross-compile {place.folder}/bin/arm-\n",
        kernel=kernel,
    )
    story = json.loads((folder / "verdict.json").read_text())
    story["result"] = f"FAIL: {place.folder}/bin/x: https://me:secret@example.invalid"
    (folder / "verdict.json").write_text(json.dumps(story))
    said = f"{place.folder}/bin: http://me:secret@a.invalid/"
    (folder / "console.log").write_bytes(b"\xff" + said.encode())
    (folder / "guest2").mkdir()
    (folder / "guest2/kernel.log").write_text(said)
    (folder / "adb.log").write_text("not of interest")
    manifest, unpacked = place.unpacked()
    texts = [repr(manifest).encode()]
    texts += [path.read_bytes() for path in unpacked.rglob("*") if path.is_file()]
    assert (unpacked / "original/guest2/kernel.log").is_file()
    assert not (unpacked / "original/adb.log").exists()
    for text in texts:
        assert str(place.folder).encode() not in text
        assert b"//me:secret" not in text


@pytest.mark.parametrize(
    ("story", "expected", "original"),
    [
        (
            FuzzResult(7, 9, {}, ("pid 5 died",), 12),
            Rounds(12, 1),
            Original(False, "FAIL: pid 5 died", (Told("", "rounds", "FAILED"),)),
        ),
        (
            FuzzResult(7, 9, {}, ("unreferenced object",)),
            Rounds(7, 9),
            Original(False, "FAIL: unreferenced object", (Told("", "rounds", "FAILED"),)),
        ),
        (
            FuzzResult(7, 9, {}, ()),
            Rounds(7, 9),
            Original(True, "PASS: 9 rounds", (Told("", "rounds", "PASSED"),)),
        ),
        (None, Rounds(7, 3), Original(False, "FAIL: the run did not finish", ())),
    ],
)
def test_of_a_fuzz_run_the_round_that_failed_is_repeated(
    place: Place, story: FuzzResult | None, expected: Rounds, original: Original
) -> None:
    folder = bundles.result(place.results, place.ws.cache, what=Rounds(7, 3))
    if story is not None:
        (folder / "fuzz.json").write_text(to_text(story))
    manifest, _ = place.unpacked()
    assert (manifest.scenarios, manifest.rounds) == (None, expected)
    assert manifest.original == original


# --- what makes no bundle ------------------------------------------------------------


def fails(place: Place, kind: type[HarnessError], message: str, result: Path | None = None) -> str:
    with pytest.raises(kind, match=message) as caught:
        place.bundle(result)
    assert caught.value.hint
    assert not (place.folder / "a.tar.gz").exists()
    return caught.value.hint


def test_no_result(place: Place) -> None:
    assert fails(place, UsageError, "there is no result") == "./inv emulator-test makes one"
    place.results.mkdir()
    fails(place, UsageError, "is no result of emulator-test or fuzz", place.results)


def test_a_run_that_ended_before_everything_was_built(place: Place) -> None:
    folder = bundles.result(place.results, place.ws.cache)
    (folder / built.FILE).unlink()
    hint = fails(place, UsageError, "ended before everything was built: there is nothing")
    assert hint == "the run again: ./inv emulator-test --policy rss"


def test_a_run_that_was_a_replay(place: Place) -> None:
    folder = bundles.result(place.results, place.ws.cache)
    record = built.read((folder / built.FILE).read_text())
    (folder / built.FILE).write_text(to_text(replace(record, replay_of="b.tar.gz")))
    hint = fails(place, UsageError, "is in a bundle already")
    command = "./inv emulator-test --policy rss"
    assert hint == f"hand that on, b.tar.gz, and what was run: {command}"


def test_a_run_on_an_android_emulator(place: Place) -> None:
    bundles.result(place.results, place.ws.cache, target=GOLDFISH_3_4.on("sdk"))
    assert "--emulator qemu" in fails(place, UsageError, "was on an Android Emulator")


@pytest.mark.parametrize("kinds", [("kernel",), ("kernel", "programs"), ("rootfs",)])
def test_what_is_no_longer_in_the_cache_is_named(place: Place, kinds: tuple[str, ...]) -> None:
    url = "https://me:secret@example.invalid/linux@0123"
    command = f"./inv emulator-test --patch 'a b.patch' --source {url}\n"
    bundles.result(place.results, place.ws.cache, command=command)
    keys = {"kernel": "kernel/0123", "programs": "programs/cdef", "rootfs": "rootfs/4567"}
    for kind in kinds:
        shutil.rmtree(place.ws.cache.root / kind)
    named = ", ".join(keys[kind] for kind in kinds)
    hint = fails(place, InfrastructureError, f"is no longer in the cache: {named}\n")
    again = "./inv emulator-test --patch 'a b.patch' --source https://example.invalid/linux@0123"
    assert hint == f"build it again: {again}"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *((built.FILE, text) for text in ("", "[]", '{"format": 9}', '{"format": 1}')),
        *(("verdict.json", text) for text in ("", "[]", "{", '{"scenarios": [1]}')),
        ("kills.json", "["),
    ],
)
def test_a_damaged_result_is_named(place: Place, name: str, text: str) -> None:
    folder = bundles.result(place.results, place.ws.cache)
    (folder / name).write_text(text)
    with pytest.raises(InfrastructureError, match="damaged"):
        place.bundle()


def test_a_log_of_any_length_is_refused(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    bundles.result(place.results, place.ws.cache)
    monkeypatch.setattr("harness.bundle.manifest.LARGEST_CONTENT", 100)
    with pytest.raises(InfrastructureError, match="makes no bundle"):
        place.bundle()


def test_a_folder_in_the_way(place: Place) -> None:
    bundles.result(place.results, place.ws.cache)
    with pytest.raises(UsageError, match="is a folder") as caught:
        bundle.run(place.ws, None, place.folder, place.results)
    assert caught.value.hint == f"--output {place.folder}/{RUN}.bundle.tar.gz"


@pytest.mark.parametrize(
    ("change", "commit"),
    [(lambda code: code, True), (lambda code: replace(code, code="0" * 16), False)],
)
def test_a_commit_is_named_only_of_the_harness_that_ran(
    place: Place,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Harness], Harness],
    commit: bool,
) -> None:
    bundles.result(place.results, place.ws.cache, what=Scenarios("rss", "alloc", ("report",)))
    now = change(built.this_harness())
    monkeypatch.setattr(built, "this_harness", lambda: now)
    answers = iter(("0123\n", ""))
    monkeypatch.setattr(bundle, "run_program", lambda *_, **__: Completed((), 0, next(answers)))
    manifest, _ = place.unpacked()
    assert manifest.harness.commit == ("0123" if commit else None)
