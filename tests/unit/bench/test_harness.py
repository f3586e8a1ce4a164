# SPDX-License-Identifier: MIT
"""The table of how long the commands take."""

from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from stand_ins import workspace

from harness.bench import harness as bench_harness
from harness.bench.harness import CASES, JSON, table_of
from harness.build import equipment, source
from harness.core.errors import InfrastructureError, UsageError
from harness.results.folder import ResultFolder
from harness.targets.goldfish_3_4 import GOLDFISH_3_4
from harness.targets.linux_6_1 import LINUX_6_1
from harness.targets.model import Target


def test_ratios_are_of_the_same_round() -> None:
    seconds = {case.name: [10.0, 20.0, 40.0] for case in CASES}
    seconds["rss"] = [5.0, 2.0, 8.0]
    mib = {"line of DIR": [10.0, 50.0, 90.0], "line of ours": [60.0]}
    rows = {row.name: row for row in table_of(seconds, mib)}
    row = rows["rss"]
    assert (row.seconds.low, row.seconds.value, row.seconds.high) == (2.0, 5.0, 8.0)
    assert row.ratio is not None
    assert (row.ratio.low, row.ratio.value, row.ratio.high) == (0.1, 0.2, 0.5)
    assert row.reached is True
    assert rows["all"].reached is False
    assert rows["rss, cold"].ratio is None
    assert rows["rss, cold"].reached is None
    assert rows["line of DIR"].reached is True
    more = {"line of DIR": [51.0]}
    assert {row.name: row for row in table_of(seconds, more)}["line of DIR"].reached is False


def test_what_the_cache_grows_by_is_of_the_edits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws = workspace(tmp_path / "cache")
    ws.cache.root.mkdir()

    def once(case: Any, *_: object) -> float:
        (ws.cache.root / f"{case.name} {id(object())}").write_bytes(b"x" * (3 << 20))
        return 1.0

    monkeypatch.setattr(equipment, "build", lambda *_: SimpleNamespace(bootable=None))
    for name, found in {"_compared": None, "_guest": 1.0}.items():
        monkeypatch.setattr(bench_harness, name, lambda *_, found=found: found)
    monkeypatch.setattr(bench_harness, "_once", once)
    bench_harness.run(ws, LINUX_6_1, rounds=1, results=tmp_path / "r")
    rows = json.loads((tmp_path / "r" / "latest" / JSON).read_text())
    grown = {row["name"]: round(row["mib"]["value"]) for row in rows if row["mib"] is not None}
    assert grown == {case.name: 3 for case in CASES if case.edits}


def test_each_base_is_a_case_before_it() -> None:
    names = [case.name for case in CASES]
    assert len({*names}) == len(names)
    for number, case in enumerate(CASES):
        assert not case.base or case.base in names[:number]


def test_the_first_round_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1, 1000))
    ran: list[str] = []

    def once(case: Any, *_: object) -> float:
        ran.append(case.name)
        return float(next(clock))

    monkeypatch.setattr(equipment, "build", lambda *_: SimpleNamespace(bootable=None))
    monkeypatch.setattr(bench_harness, "_compared", lambda *_: None)
    monkeypatch.setattr(bench_harness, "_once", once)
    monkeypatch.setattr(bench_harness, "_guest", once)
    output = io.StringIO()
    ws = workspace(tmp_path, output)
    assert bench_harness.run(ws, LINUX_6_1, rounds=1, results=tmp_path / "r") == 0
    quick = [case.name for case in CASES if not case.slow]
    assert ran == quick + [case.name for case in CASES]
    (row, *_) = json.loads((tmp_path / "r" / "latest" / JSON).read_text())
    assert row["seconds"]["value"] == len(quick) + 1
    assert "emulator-test --policy all" in output.getvalue()


def repository(folder: Path) -> Path:
    """Make a repository with the files that are edited, and the commit to compare with."""
    (folder / "kernel_patches/common/mm/mm_limits").mkdir(parents=True)
    (folder / bench_harness._EDITED["ours"]).write_text("old\n")
    git = ["git", "-C", str(folder), "-c", "user.name=x", "-c", "user.email=x"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "x"], ["tag", "then"]):
        subprocess.run([*git, *words], check=True)
    (folder / bench_harness._EDITED["ours"]).write_text("new\n")
    subprocess.run([*git, "commit", "-q", "-a", "-m", "y"], check=True)
    return folder


def test_clones_and_a_copy_are_edited_and_not_the_users_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo, tree = repository(tmp_path / "repo"), tmp_path / "tree"
    (tree / "mm").mkdir(parents=True)
    (tree / bench_harness._EDITED["source"]).write_text("kernel\n")
    monkeypatch.setattr(bench_harness, "REPO", repo)
    monkeypatch.setattr(bench_harness, "BASELINE", "then")
    fetched = SimpleNamespace(tree=tree, key="6.1.1")
    monkeypatch.setattr(source, "fetch", lambda *_: fetched)
    cases = {case.name: case for case in CASES}
    ws = workspace(tmp_path / "cache")
    for _ in range(2):
        # The second time they are there already, and brought up to date.
        places = bench_harness._compared(ws, LINUX_6_1)
        where, more = places.prepare(cases["line of ours, then"])
        assert (where / bench_harness._EDITED["ours"]).read_text().startswith("old\n/* ")
        assert (where, more) == (places.then, ())
        where, _ = places.prepare(cases["line of ours"])
        text = (where / bench_harness._EDITED["ours"]).read_text()
        assert text.startswith("new\n/* ")
        assert text.count("\n") == 2
    for name, clone in {"line of DIR, then": places.then, "line of DIR": places.now}.items():
        before = (places.source / bench_harness._EDITED["source"]).read_text()
        assert places.prepare(cases[name]) == (clone, ("--source", str(places.source)))
        assert (places.source / bench_harness._EDITED["source"]).read_text().startswith(before)
    assert places.prepare(cases["rss, then"]) == (places.then, ())
    assert places.prepare(cases["rss"]) == (repo, ())
    assert (repo / bench_harness._EDITED["ours"]).read_text() == "new\n"
    assert (tree / bench_harness._EDITED["source"]).read_text() == "kernel\n"
    folders = {places.folder, bench_harness._compared(ws, GOLDFISH_3_4).folder}
    fetched.key = "6.1.2"
    folders.add(bench_harness._compared(ws, LINUX_6_1).folder)
    monkeypatch.setattr(bench_harness, "REPO", repository(tmp_path / "another"))
    folders.add(bench_harness._compared(ws, LINUX_6_1).folder)
    assert len(folders) == 4


def test_no_command_makes_room_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INVOKE_GOLDFISH_OOM_CACHE_GIB", "1")
    text = "import os; print('gib', os.environ['INVOKE_GOLDFISH_OOM_CACHE_GIB'])\n"
    (tmp_path / "inv_program.py").write_text(text)
    monkeypatch.setattr(bench_harness, "REPO", tmp_path)
    folder = ResultFolder(tmp_path)
    places = bench_harness._Compared(tmp_path)
    case = next(case for case in CASES if case.name == "rss")
    assert bench_harness._once(case, LINUX_6_1, folder, places) > 0
    assert "gib 0\n" in (tmp_path / "commands.log").read_text()


def test_without_the_commit_to_compare_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_harness, "REPO", repository(tmp_path / "repo"))
    fetched = SimpleNamespace(tree=tmp_path, key="6.1.1")
    monkeypatch.setattr(source, "fetch", lambda *_: fetched)
    with pytest.raises(InfrastructureError) as caught:
        bench_harness._compared(workspace(tmp_path / "cache"), LINUX_6_1)
    assert "--unshallow" in caught.value.hint


@pytest.mark.parametrize(
    ("target", "rounds", "message"),
    [
        (LINUX_6_1, -1, "not a number of rounds: -1"),
        (LINUX_6_1, 101, "not a number of rounds: 101"),
        (GOLDFISH_3_4.on("sdk"), 0, "saved"),
    ],
)
def test_wrong_usage(tmp_path: Path, target: Target, rounds: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        bench_harness.run(workspace(tmp_path), target, rounds=rounds)
