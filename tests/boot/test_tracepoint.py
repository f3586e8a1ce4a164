# SPDX-License-Identifier: MIT
"""The events of mm_limits: a kill's event agrees with its record; others list the candidates."""

from __future__ import annotations

import re

import pytest
from device_work import APP, Log, holder

from harness.kernel_output.records import KillRecord
from harness.machine.adb import Device
from harness.scenarios.oracle import parse_decisions

EVENT_LINE = re.compile(
    r"mm_limits_kill: uid=(?P<uid>\d+) uRSS=(?P<usage>\d+) mm_max=(?P<mm_max>\d+)"
    r" pid=(?P<pid>\d+) pRSS=(?P<rss>\d+) score=(?P<score>-?\d+) policy=(?P<policy>\w+)"
    r" trigger=(?P<trigger>\w+) dry_run=(?P<dry_run>[01]) sharer_of=(?P<sharer_of>\d+)"
    r" comm=(?P<comm>\S*)$",
    re.MULTILINE,
)


@pytest.fixture
def traced(device: Device, tracing: str) -> Device:
    """Return the device, with the kill's event on."""
    device.shell(f"echo 1 > {event(tracing)}/enable")
    return device


def event(tracing: str) -> str:
    return f"{tracing}/events/mm_limits/mm_limits_kill"


def expected(record: KillRecord) -> dict[str, str | int]:
    """Return the fields of the event that belongs to a record."""
    return {
        "uid": record.uid,
        "usage": record.user_rss,
        "mm_max": record.mm_max,
        "pid": record.pid,
        "rss": record.rss,
        "policy": record.policy,
        "trigger": record.trigger,
        "dry_run": int(record.dry_run),
        "sharer_of": record.sharer_of or 0,
    }


@pytest.mark.parametrize("policy", ["rss", "runtime", "badness"])
@pytest.mark.parametrize("dry_run", [0, 1])
def test_an_event_says_what_the_record_says(
    traced: Device, tracing: str, policy: str, dry_run: int
) -> None:
    log = Log(traced)
    traced.shell(f"echo uid={APP} max=20M policy={policy} dry_run={dry_run} > /proc/mm_limits")
    traced.shell("busybox dd if=/dev/zero of=/dev/null bs=30M count=1", user=APP, check=False)
    (record,) = log.records
    trace = traced.read_file(f"{tracing}/trace")
    (told,) = [match.groupdict() for match in EVENT_LINE.finditer(trace)]
    assert {name: type(value)(told[name]) for name, value in expected(record).items()} == (
        expected(record)
    )
    # With the policy runtime the victim may be the shell that has started dd.
    assert told["comm"] == record.comm
    score = record.rss // 4096 if record.figure is None else record.figure
    assert int(told["score"]) == score


def test_without_anybody_who_follows_it_there_is_only_the_record(
    traced: Device, tracing: str
) -> None:
    traced.shell(f"echo 0 > {event(tracing)}/enable")
    traced.shell(f"echo uid={APP} max=20M > /proc/mm_limits")
    traced.shell("busybox dd if=/dev/zero of=/dev/null bs=30M count=1", user=APP, check=False)
    assert EVENT_LINE.search(traced.read_file(f"{tracing}/trace")) is None


@pytest.mark.parametrize("policy", ["rss", "runtime", "badness"])
@pytest.mark.usefixtures("room")
def test_whoever_could_have_died_is_told_with_all_that_counts(
    traced: Device, tracing: str, policy: str
) -> None:
    candidates = f"{tracing}/events/mm_limits/mm_limits_candidate/enable"
    log = Log(traced)
    traced.shell(f"echo uid={APP} max=60M policy={policy} > /proc/mm_limits")
    with (
        holder(traced, APP, 12) as small,
        holder(traced, APP, 24) as large,
        holder(traced, APP, 5, protected=True) as protected,
    ):
        traced.shell(f"echo 700 > /proc/{small.pid}/oom_score_adj; echo 1 > {candidates}")
        traced.shell("busybox dd if=/dev/zero of=/dev/null bs=40M count=1", user=APP, check=False)
        traced.shell(f"echo 0 > {candidates}")
        trace = traced.read_file(f"{tracing}/trace")
    decisions = parse_decisions(trace)
    assert decisions
    assert [decision.chosen for decision in decisions] == [record.pid for record in log.records]
    assert all(decision.agrees for decision in decisions)
    first = {one.pid: one for one in decisions[0].candidates}
    assert {small.pid, large.pid} <= first.keys()
    assert protected.pid not in first
    assert first[small.pid].adj == 700
    assert first[large.pid].rss >= 24 << 8
    assert first[small.pid].rss >= 12 << 8
    assert decisions[0].policy == policy
