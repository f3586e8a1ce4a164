# SPDX-License-Identifier: MIT
"""What a run of the main job tells other people's tools, from its begin to its end."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import bundles
import pytest
from emulator_bench import COMMIT, Bench
from fake_guest import without_record
from kcidb_io.schema import V5_3

from harness.core.errors import BuildError, InfrastructureError
from harness.results.folder import LATEST
from harness.scenarios.catalogue import Scenario
from harness.scenarios.observations import Observations


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where GitHub wants the page."""
    path = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    return path


def ktap_of(bench: Bench) -> list[str]:
    return (bench.results / LATEST / "results.ktap").read_text().splitlines()


def kcidb_of(bench: Bench) -> Any:
    report = json.loads((bench.results / LATEST / "kcidb.json").read_text())
    V5_3.validate_exactly(report)
    return report


def test_a_pass_is_one_everywhere(bench: Bench, page: Path) -> None:
    assert bench.run("all", scenarios=("report", "course")) == 0
    lines = ktap_of(bench)
    # The boot, three policies, the whole log.
    assert lines[1] == "1..5"
    assert [line for line in lines if line.startswith("ok")] == [
        *("ok 1 boot", "ok 2 policy rss", "ok 3 policy runtime", "ok 4 policy badness"),
        "ok 5 whole log",
    ]
    assert "not ok" not in "".join(lines)
    report = kcidb_of(bench)
    assert {test["status"] for test in report["tests"]} == {"PASS"}
    assert len(report["tests"]) == 1 + 8
    assert all("start_time" in test for test in report["tests"])
    (build,) = report["builds"]
    assert build["id"] == f"goldfish_oom:{bundles.RELEASE}"
    assert (build["architecture"], build["compiler"]) == ("arm", "arm-gcc 12; ld 2.40")
    (checkout,) = report["checkouts"]
    assert checkout["git_commit_hash"] == COMMIT
    assert checkout["misc"]["changed_files"] == ["a.c"]
    environment = report["tests"][0]["environment"]
    assert environment == {"comment": "QEMU's virt, cortex-a15, 2 CPUs, 1024 MiB"}
    assert page.read_text().startswith("\n## PASS&#58; 6 scenarios on ")
    assert bench.output.getvalue().splitlines()[-1].startswith("PASS: ")
    assert "::error" not in bench.output.getvalue()


def test_a_failure_is_one_everywhere(bench: Bench, page: Path) -> None:
    bench.change = lambda _, seen: without_record(seen)
    assert bench.run(scenarios=("report",)) == 1
    assert "  not ok 1 report # records disagree" in ktap_of(bench)
    tests = {test["path"]: test["status"] for test in kcidb_of(bench)["tests"]}
    assert tests["mm_limits"] == "FAIL"
    assert tests["mm_limits.alloc.rss.report"] == "FAIL"
    assert tests["mm_limits.alloc.log.boot"] == "PASS"
    assert page.read_text().startswith("\n## FAIL&#58; records disagree in report")
    lines = bench.output.getvalue().splitlines()
    (error,) = [line for line in lines if line.startswith("::error ")]
    assert error.startswith("::error title=report%2C policy rss%2C trigger alloc%3A records ")
    assert lines[-1].startswith("FAIL: ")


def test_a_build_that_fails_is_told_once(bench: Bench, page: Path) -> None:
    bench.build_error = BuildError("build kernel failed")
    with pytest.raises(BuildError):
        bench.run(scenarios=("report",))
    lines = ktap_of(bench)
    assert lines[1] == "1..4"
    assert lines[-1] == "Bail out! build kernel failed"
    report = kcidb_of(bench)
    assert report["builds"][0]["status"] == "ERROR"
    assert [test["status"] for test in report["tests"]] == ["ERROR", "MISS", "MISS", "MISS"]
    assert page.read_text().count("## FAIL") == 1
    assert "::error title=emulator-test%2C linux-6.1::build kernel failed" in (
        bench.output.getvalue().splitlines()
    )


def test_while_it_runs_the_files_say_that_it_has_not_ended(bench: Bench) -> None:
    seen: list[tuple[str, str]] = []

    def look(_: Scenario, observations: Observations) -> Observations:
        seen.append((ktap_of(bench)[-1], kcidb_of(bench)["tests"][0]["status"]))
        return observations

    bench.change = look
    assert bench.run(scenarios=("report", "course")) == 0
    assert seen == [("Bail out! the run did not finish", "MISS")] * 2


def test_no_two_runs_have_the_same_tests(bench: Bench) -> None:
    ids: list[str] = []
    for _ in range(2):
        bench.run(scenarios=("report",))
        ids += [test["id"] for test in kcidb_of(bench)["tests"]]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("status", [0, 1])
def test_a_page_that_cannot_be_written_changes_nothing(
    bench: Bench, page: Path, status: int
) -> None:
    page.mkdir()
    if status:
        bench.change = lambda _, seen: without_record(seen)
    assert bench.run(scenarios=("report",)) == status
    output = bench.output.getvalue()
    assert output.count("the summary for GitHub was not written") == 1
    assert output.splitlines()[-1] == bench.verdict["result"]


def test_missing_evidence_is_an_error_and_no_failure(bench: Bench) -> None:
    bench.change = lambda _, seen: replace(seen, limits=None)
    with pytest.raises(InfrastructureError):
        bench.run(scenarios=("report",))
    assert "  not ok 1 report # ERROR infrastructure failed" in ktap_of(bench)
    tests = {test["path"]: test["status"] for test in kcidb_of(bench)["tests"]}
    assert tests["mm_limits"] == tests["mm_limits.alloc.rss.report"] == "ERROR"


def test_the_origin_is_in_the_report(bench: Bench) -> None:
    bench.run(scenarios=("report",), kcidb_origin="my_lab")
    assert kcidb_of(bench)["builds"][0]["id"].startswith("my_lab:")
