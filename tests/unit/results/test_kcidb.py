# SPDX-License-Identifier: MIT
"""The report for KernelCI, by KernelCI's own schema."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kcidb_io.schema import LATEST, V5_3
from summaries import summaries, summary, verdict

from harness.core.errors import UsageError
from harness.results.kcidb import check_origin, kcidb
from harness.results.run_result import RunResult
from harness.scenarios.verdict import Outcome

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def report(run: RunResult) -> Any:
    """The report as whoever gets the file has it, held against the schema."""
    read = json.loads(json.dumps(kcidb(run), allow_nan=False))
    V5_3.validate_exactly(read)
    return read


def by_path(run: RunResult) -> dict[str, Any]:
    """The tests by path."""
    return {test["path"]: test for test in report(run)["tests"]}


def test_the_schema_is_the_latest() -> None:
    assert LATEST is V5_3
    assert LATEST.is_compatible_exactly(report(summary(verdict())))


@pytest.mark.parametrize(
    ("where", "wrong"),
    [
        (("tests", 0, "status"), "passed"),
        (("tests", 0, "path"), "mm limits"),
        (("tests", 0, "start_time"), "yesterday"),
        (("tests", 1, "duration"), "1.25"),
        (("tests", 0, "no_such_field"), ""),
        (("builds", 0, "checkout_id"), "nobody"),
        (("builds", 0, "architecture"), "ARM"),
        (("checkouts", 0, "git_repository_url"), "https://a b"),
        (("checkouts", 0, "git_commit_hash"), "0123"),
        (("version", "major"), 4),
    ],
)
def test_the_schema_would_find_a_mistake(where: tuple[Any, ...], wrong: object) -> None:
    broken = deepcopy(report(summary(verdict())))
    part = broken
    for key in where[:-1]:
        part = part[key]
    part[where[-1]] = wrong
    assert not V5_3.is_valid_exactly(broken)


@given(summaries())
def test_every_run_makes_a_valid_report(run: RunResult) -> None:
    read = report(run)
    assert len(read["tests"]) == 1 + len(run.judged) + len(run.missing)
    assert (read["tests"][0]["status"] == "PASS") == run.passed
    statuses = [test["status"] for test in read["tests"][1:]]
    assert statuses == [one.status.value for one in run.judged] + ["MISS"] * len(run.missing)
    # Its parts belong together.
    (checkout,), (build,) = read["checkouts"], read["builds"]
    assert build["checkout_id"] == checkout["id"]
    assert {test["build_id"] for test in read["tests"]} == {build["id"]}
    ids = [test["id"] for test in read["tests"]]
    assert len(set(ids)) == len(ids)
    for part in (checkout, build, *read["tests"]):
        assert part["origin"] == "goldfish_oom"
        assert part["id"].startswith("goldfish_oom:")


@given(st.from_regex(r"https://[A-Za-z0-9.:/@_~+ %\[\]-]{0,20}", fullmatch=True) | st.text())
def test_any_repository_makes_a_valid_report(url: str) -> None:
    report(summary(verdict(), repository=url))


def test_a_run_that_passes() -> None:
    run = summary(
        verdict("boot", Outcome.NOTHING_TO_KILL, policy=""),
        verdict("runtime-pick", policy="badness", records=2),
        commit=COMMIT,
        repository="https://android.example/kernel/goldfish",
    )
    read = report(run)
    (checkout,), (build,) = read["checkouts"], read["builds"]
    assert checkout["id"] == build["id"] == "goldfish_oom:6.1.153-gfoom-0123456789ab"
    assert checkout["git_commit_hash"] == COMMIT
    assert checkout["git_repository_url"] == "https://android.example/kernel/goldfish"
    assert checkout["valid"] is True
    assert build["status"] == "PASS"
    assert (build["architecture"], build["compiler"]) == ("arm", "gcc 12; ld 2.40")
    whole, boot, pick = read["tests"]
    assert whole["path"] == "mm_limits"
    assert (whole["status"], whole["comment"]) == ("PASS", run.last_line)
    assert whole["misc"]["command"] == list(run.command)
    assert boot["path"] == "mm_limits.alloc.log.boot"
    assert pick["path"] == "mm_limits.alloc.badness.runtime-pick"
    assert (pick["status"], pick["comment"]) == ("PASS", "killed as expected")
    assert (pick["start_time"], pick["duration"]) == ("2026-11-22T22:31:45.000+00:00", 1.25)
    assert pick["environment"] == {"comment": "a machine"}
    assert pick["misc"] == {"outcome": "PASSED", "kills": 2}
    assert pick["id"] == f"goldfish_oom:{run.run}.2"


def test_the_kernels_fault_and_the_harnesss_are_told_apart() -> None:
    run = summary(
        verdict("a", Outcome.WRONG_VICTIM, "child 1\x00 died", "and so on"),
        verdict("b", Outcome.INFRASTRUCTURE_FAILED, "adb went away"),
    )
    tests = by_path(run)
    assert tests["mm_limits"]["status"] == "FAIL"
    assert tests["mm_limits.alloc.rss.a"]["status"] == "FAIL"
    assert tests["mm_limits.alloc.rss.a"]["log_excerpt"] == "child 1\\x00 died\nand so on\n"
    assert tests["mm_limits.alloc.rss.b"]["status"] == "ERROR"


def test_what_a_run_did_not_come_to_is_missing() -> None:
    whole = summary(verdict("a"), verdict("b"))
    tests = by_path(replace(whole, judged=whole.judged[:1], finished=False, problem="no power"))
    assert tests["mm_limits"]["status"] == "ERROR"
    assert tests["mm_limits.alloc.rss.a"]["status"] == "PASS"
    assert tests["mm_limits.alloc.rss.b"]["status"] == "MISS"
    assert tests["mm_limits.alloc.rss.b"]["comment"] == "not judged: no power"


def test_a_kernel_that_was_not_built_has_no_name_but_the_runs() -> None:
    run = summary(release="", finished=False, problem="build kernel failed")
    read = report(run)
    (build,) = read["builds"]
    assert build["id"] == f"goldfish_oom:{run.run}"
    assert (build["status"], build["comment"]) == ("ERROR", "build kernel failed")
    assert "valid" not in read["checkouts"][0]
    # A run in progress says nothing of its kernel.
    assert "status" not in report(replace(run, problem=""))["builds"][0]


def test_long_reasons_are_cut_to_what_the_schema_allows() -> None:
    reasons = ["x" * 1000] * 40
    test = report(summary(verdict("a", Outcome.NOT_KILLED, *reasons)))["tests"][1]
    assert len(test["log_excerpt"]) == 16384


def test_a_password_stays_here() -> None:
    url = "https://me:secret@a.example/linux"
    run = summary(
        verdict("a", Outcome.INFRASTRUCTURE_FAILED, f"git fetch {url} failed"),
        command=("./inv", "emulator-test", "--source", f"{url}@{COMMIT}"),
        origin=f"{url} at {COMMIT[:12]}",
        repository=url,
        commit=COMMIT,
        problem=f"{url} went away",
    )
    text = json.dumps(report(run))
    assert "a.example" in text
    assert "secret" not in text


def test_the_origin_is_the_senders_and_a_word_that_kcidb_takes() -> None:
    read = report(summary(verdict(), kcidb_origin="my_lab_2"))
    for part in (*read["checkouts"], *read["builds"], *read["tests"]):
        assert part["origin"] == "my_lab_2"
        assert part["id"].startswith("my_lab_2:")
    assert check_origin("my_lab_2") == "my_lab_2"
    for name in ("", "my-lab", "My_lab", "a:b", "a\n"):
        with pytest.raises(UsageError):
            check_origin(name)
