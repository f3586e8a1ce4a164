# SPDX-License-Identifier: MIT
"""Result folders: whole files, one folder a run, and tables that people read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import summaries
from junitparser import JUnitXml
from rich.console import Console
from schema_words import types_of
from summaries import summary

from harness.core.errors import DiskFullError, InfrastructureError
from harness.core.paths import REPO
from harness.kernel_output.records import KillRecord
from harness.kernel_output.reports import GuestReport
from harness.results.differential import Difference
from harness.results.folder import ResultFolder, kill_table, scenario_table
from harness.results.fuzz_result import FuzzResult
from harness.results.run_result import RunResult, ScenarioResult, _Entry, _Told
from harness.scenarios.evidence import Candidate, Decision, ScenarioUsage, UsageSample
from harness.scenarios.verdict import Outcome, ScenarioVerdict
from harness.ui.events import Planned

NOW = datetime(2026, 11, 22, 22, 31, 45)
RECORD = KillRecord(
    12.5, 10070, 100003840, 100000000, 211, 97484800, 812345678, "runtime", "alloc", None, "a[b]\n"
)


def verdict(outcome: Outcome = Outcome.PASSED, *reasons: str) -> ScenarioVerdict:
    one = summaries.verdict("report", outcome, *reasons, policy="runtime")
    return replace(one, records=(RECORD,))


@pytest.fixture
def folder(tmp_path: Path) -> ResultFolder:
    return ResultFolder.create(tmp_path / "r", "linux-6.1", "runtime", NOW)


def rendered(table: object) -> str:
    console = Console(width=160, record=True, file=StringIO())
    console.print(table)
    return console.export_text()


def test_a_place_that_is_no_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InfrastructureError, match=f"no results can be put into {place}") as got:
            ResultFolder.create(place, "linux-6.1", "rss", NOW)
        assert "INVOKE_GOLDFISH_OOM_RESULTS" in got.value.hint


def test_a_folder_is_named_after_the_run_and_latest_points_to_it(folder: ResultFolder) -> None:
    assert folder.path.name == "20261122-223145-linux-6.1-runtime"
    latest = folder.path.parent / "latest"
    assert latest.resolve() == folder.path
    assert latest.readlink() == Path(folder.path.name)


def test_two_runs_in_one_second_do_not_clash(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = [
            pool.submit(ResultFolder.create, tmp_path, "linux-6.1", "rss", NOW) for _ in range(16)
        ]
    paths = {future.result().path for future in made}
    assert len(paths) == 16
    assert (tmp_path / "latest").resolve() in paths
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_all_files_are_there(folder: ResultFolder) -> None:
    of_source = {"origin": "/tree", "commit": "0123", "changed": ("Makefile",)}
    folder.write(summary(verdict(), **of_source), {1: "<6>[    0.0] Booting\n"})
    folder.write_evidence([], [])
    names = {path.name for path in folder.path.iterdir()}
    assert names == {
        *("command.txt", "kernel.log", "kills.json", "usage.json", "verdict.json"),
        *("junit.xml", "results.ktap", "kcidb.json", "decisions.json"),
    }
    assert (folder.path / "command.txt").read_text() == "./inv emulator-test --source 'a b'\n"
    (kill,) = json.loads((folder.path / "kills.json").read_text())
    assert kill["scenario"] == "report"
    assert KillRecord(**{name: kill[name] for name in kill if name != "scenario"}) == RECORD
    told = json.loads((folder.path / "verdict.json").read_text())
    assert told["passed"] is True
    assert told["result"] == "PASS: 1 scenario on 6.1.153-gfoom-0123456789ab"
    assert told["scenarios"][0]["outcome"] == "PASSED"
    assert told["source"] == {"origin": "/tree", "commit": "0123", "changed files": ["Makefile"]}


def test_writing_again_replaces(folder: ResultFolder) -> None:
    folder.write(summary(verdict(), finished=False), {1: "a\n"})
    folder.write(summary(verdict(), verdict()), {1: "a\nb\n", 2: "c\n"})
    assert len(json.loads((folder.path / "kills.json").read_text())) == 2
    assert (folder.path / "kernel.log").read_text() == "a\nb\n"
    assert (folder.path / "guest2" / "kernel.log").read_text() == "c\n"


def test_junit_tells_failures_from_errors(folder: ResultFolder) -> None:
    run = summary(
        verdict(),
        verdict(Outcome.NOT_KILLED, "child 5 <should> have been\x1b killed & was not"),
        verdict(Outcome.INFRASTRUCTURE_FAILED, "adb went away"),
        finished=False,
        problem="QEMU was killed",
    )
    folder.write(run, {})
    (suite,) = JUnitXml.fromfile(str(folder.path / "junit.xml"))
    assert (suite.tests, suite.failures, suite.errors) == (4, 1, 2)


def test_the_tables() -> None:
    judged = summary(verdict(), verdict(Outcome.NOT_KILLED, "x")).judged
    scenarios = rendered(scenario_table(judged))
    assert "killed as expected" in scenarios
    assert "not killed" in scenarios
    kills = rendered(kill_table(judged))
    for cell in ("10070", "100003840", "97484800", "runtime 812345678", "a[b]\\x0a"):
        assert cell in kills
    # Many kills are counted, not listed.
    one = replace(verdict(), records=(RECORD,) * 40)
    assert "… and 37 more" in rendered(kill_table(summary(one).judged))


ROW = re.compile(r"^\| (`[^|]+`) \| ([^|]+) \| [^|]+ \|$", re.MULTILINE)
TYPES: Mapping[str, Sequence[type[Any]]] = {
    "verdict": (_Told, RunResult, _Entry, ScenarioResult),
    "decisions": (Decision, Candidate),
    "usage": (UsageSample,),
    "fuzz": (FuzzResult,),
}


@pytest.mark.parametrize("name", TYPES)
def test_the_documentation_has_the_types(name: str) -> None:
    _, _, text = (REPO / "docs/results.md").read_text().partition(f"## `{name}.json`\n")
    declared = [types_of(kind) for kind in TYPES[name]]
    rows = list(ROW.finditer(text.partition("\n## ")[0]))
    assert rows
    for row in rows:
        for field in row[1].replace("`", "").split(", "):
            assert row[2] in {found[field] for found in declared if field in found}, field


def names_in(value: object) -> set[str]:
    """The names of all fields, also of objects in it."""
    if isinstance(value, dict):
        return set(value).union(*map(names_in, value.values()))
    return set().union(*map(names_in, value)) if isinstance(value, list) else set()


def test_every_field_is_in_the_documentation(folder: ResultFolder) -> None:
    planned = (Planned("rss", "report"), Planned("rss", "course"))
    report = GuestReport(guest=1, kind="oops", title="a title", text="a text")
    folder.write(summary(verdict(), planned=planned, reports=(report,)), {})
    folder.write_evidence(
        [ScenarioUsage("report", "rss", "alloc", 1.0, (UsageSample(1.0, 10070, 1, 2),))],
        [Decision(1.0, 10070, "rss", 7, (Candidate(7, 1, 1, 0),), 7)],
    )
    folder.write_differences([Difference("report", "rss", "kill records", "0", "1")])
    text = (REPO / "docs/results.md").read_text()
    for name in ("verdict", "kills", "usage", "decisions", "differential"):
        assert f"## `{name}.json`" in text
        fields = names_in(json.loads((folder.path / f"{name}.json").read_text()))
        assert fields
        assert [field for field in fields if f"`{field}`" not in text] == []


def test_a_full_disk_is_named_whoever_writes(tmp_path: Path) -> None:
    (tmp_path / ".fuzz.json.partial").symlink_to("/dev/full")
    with pytest.raises(DiskFullError, match=str(tmp_path)):
        ResultFolder(tmp_path).put("fuzz.json", "{}")
