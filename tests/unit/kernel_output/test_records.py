# SPDX-License-Identifier: MIT
"""Kill records: the newest and the older forms, torn lines, hostile names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.kernel_output.records import (
    FIGURE_OF_POLICY,
    KillRecord,
    ParsedRecords,
    escape,
    format_record,
    parse_log,
    split_prefix,
    unescape,
)

LOGS = Path(__file__).parents[1] / "logs"

NEWEST = KillRecord(
    time=12.345678,
    uid=10070,
    user_rss=100003840,
    mm_max=100000000,
    pid=211,
    rss=97484800,
    figure=None,
    policy="rss",
    trigger="alloc",
    sharer_of=None,
    comm="oom_test_kernel",
)
OLDEST = replace(NEWEST, time=None, policy="", trigger="", comm="")


def raw(record: KillRecord, priority: int = 3) -> str:
    return f"<{priority}>[{record.time:12.6f}] {format_record(record)}\n"


def test_the_newest_form() -> None:
    line = (
        "<3>[   12.345678] uid=10070,\tuRSS=100003840,\tmm_max=100000000,\tpid=211,"
        "\tpRSS=97484800,\tpolicy=rss,\ttrigger=alloc,\tcomm=oom_test_kernel\n"
    )
    assert parse_log(line, raw=True).records == (NEWEST,)
    assert raw(NEWEST) == line


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"policy": "runtime", "figure": 123456789}, "total_run_time=123456789"),
        ({"policy": "badness", "figure": -17}, "badness=-17"),
        ({"pid": 212, "sharer_of": 211}, "trigger=alloc,\tsharer_of=211,\tcomm="),
    ],
    ids=["runtime", "badness", "sharer"],
)
def test_the_fields_that_only_some_records_have(changes: dict[str, Any], fields: str) -> None:
    record = replace(NEWEST, **changes)
    assert fields in format_record(record)
    assert parse_log(raw(record)).records == (record,)


def test_the_figure_of_a_policy_that_is_not_in_the_table() -> None:
    line = raw(replace(NEWEST, policy="unlisted"))
    record = replace(NEWEST, policy="unlisted")
    assert parse_log(line, raw=True).records == (record,)
    with_figure = line.replace("policy=", "unlisted_figure=-17,\tpolicy=")
    assert parse_log(with_figure, raw=True).records == (replace(record, figure=-17),)
    # Without a policy nobody can have compared it.
    oldest = format_record(OLDEST) + ",\tunlisted_figure=5\n"
    assert parse_log(oldest).torn == (oldest.rstrip("\n"),)


@pytest.mark.parametrize("separator", [",\t", ", ", ",", ",  ", ",\t\t", ", \t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("prefix", "time"),
    [
        ("", None),
        ("<3>", None),
        ("<3>[  12.345678] ", 12.345678),
        ("[   12.345678] ", 12.345678),
        ("[   12.345678][  T211] ", 12.345678),
        ("<3>[   12.345678][    C0] ", 12.345678),
        ("  ", None),
    ],
)
def test_the_form_of_2020(separator: str, end: str, prefix: str, time: float | None) -> None:
    fields = ["uid=10070", "uRSS=100003840", "mm_max=100000000", "pid=211", "pRSS=97484800"]
    text = prefix + separator.join(fields) + end
    assert parse_log(text).records == (replace(OLDEST, time=time),)


def test_an_older_line_with_a_figure_tells_its_policy() -> None:
    line = format_record(OLDEST) + ",\ttotal_run_time=5\n"
    assert parse_log(line).records == (replace(OLDEST, policy="runtime", figure=5),)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("policy=rss", "policy=runtime"),  # a policy without its figure
        ("uid=10070", "uid=4294967296"),
        ("uid=10070", "uid=-1"),
        ("uid=10070", "uid=010070"),
        ("uid=10070", "uid=٣"),
        ("pid=211", "pid=0"),
        ("pid=211", "pid=2147483648"),
        ("pRSS=97484800", "pRSS="),
        ("pRSS=97484800", "pRSS=97484800 "),
        ("uRSS=100003840", "uRSS=18446744073709551616"),
        ("uRSS", "urss"),
        ("comm=oom_test_kernel", "comm=oom_test_kernel2"),  # 16 bytes
        ("comm=oom_test_kernel", "comm=oom\x1b[0m"),
        ("comm=oom_test_kernel", "comm=oom\\"),
        ("comm=oom_test_kernel", "comm=oom\\x9"),
        ("comm=oom_test_kernel", "comm=oom\ttest"),
        (",\tcomm=oom_test_kernel", ""),
        ("trigger=alloc", "trigger="),
        ("\n", ""),  # it may be cut
        ("\n", raw(replace(NEWEST, pid=212))),  # two lines that ran together
    ],
)
def test_what_the_kernel_cannot_have_written_is_torn(before: str, after: str) -> None:
    line = raw(NEWEST).replace(before, after)
    assert line != raw(NEWEST)
    assert parse_log(line) == ParsedRecords((), (line.rstrip("\n"),))


def test_lines_of_the_kernel_with_the_same_words_are_not_torn() -> None:
    text = (
        "<6>[    1.000000] uid=10070, mm_max=100000000\n"
        "<3>[    2.000000] mm_limits: table full: dropped uid=10070, mm_max=100000000\n"
        "<3>[    3.000000] mm_limits: uid=10070 is over its limit and has nobody left to kill: "
        "uRSS=62914560, mm_max=40000000\n"
        "<4>[    4.000000] mm_limits: pid=12 has not exited 5000 ms after it was killed; going on"
        " without it\n"
        "<6>[    5.000000] oom-kill:constraint=CONSTRAINT_NONE,task=a,pid=12,uid=0\n"
    )
    assert parse_log(text, raw=True) == ParsedRecords((), ())


@pytest.mark.parametrize("priority", [8, 11, 12, 14, 1023])
def test_what_a_program_wrote_to_dev_kmsg_is_no_record(priority: int) -> None:
    assert parse_log(raw(NEWEST, priority=priority)) == ParsedRecords((), ())


def test_a_raw_log_has_a_level_on_each_line() -> None:
    line = raw(NEWEST).removeprefix("<3>")
    assert parse_log(line).records == (NEWEST,)
    assert parse_log(line, raw=True).records == ()


@pytest.mark.parametrize(
    "name",
    ["a\nuid=1, uRSS=9", ", uid=1, uRSS=9", ",\tpid=1", "\\x41", "%s%n", "", " ", "\xff\x80\x00"],
)
def test_a_name_is_only_a_name(name: str) -> None:
    record = replace(NEWEST, comm=name)
    line = raw(record)
    assert line.count("\n") == 1
    assert parse_log(line, raw=True).records == (record,)


def test_split_prefix() -> None:
    line = split_prefix("<30>[    1.5] x")
    assert (line.priority, line.time, line.text) == (30, 1.5, "x")
    assert not line.from_kernel
    assert split_prefix("[1.5 ] x").text == "[1.5 ] x"


@pytest.mark.parametrize("path", sorted(LOGS.glob("records-*.log")), ids=lambda path: path.stem)
def test_saved_logs(path: Path) -> None:
    """The first line of a log says what is in it: `# records: PID…; torn: COUNT`."""
    title, text = path.read_bytes().decode("latin-1").split("\n", 1)
    parsed = parse_log(text)
    pids = " ".join(str(record.pid) for record in parsed.records)
    assert f"# records: {pids}; torn: {len(parsed.torn)}".replace(": ;", ":;") == title


# -- properties --------------------------------------------------------------

longs = st.integers(0, 2**64 - 1)
comms = st.binary(max_size=15).map(lambda name: name.decode("latin-1"))


@st.composite
def kill_records(draw: st.DrawFn) -> KillRecord:
    policy = draw(st.sampled_from(sorted(FIGURE_OF_POLICY)))
    return KillRecord(
        time=draw(st.integers(0, 10**9)) / 10**6,
        uid=draw(st.integers(0, 2**32 - 1)),
        user_rss=draw(longs),
        mm_max=draw(longs),
        pid=draw(st.integers(1, 2**31 - 1)),
        rss=draw(longs),
        figure=None if FIGURE_OF_POLICY[policy] is None else draw(st.integers(-(2**63), 2**63)),
        policy=policy,
        trigger=draw(st.sampled_from(["alloc", "syscall", "set"])),
        sharer_of=draw(st.none() | st.integers(1, 2**31 - 1)),
        comm=draw(comms),
        dry_run=draw(st.booleans()),
    )


@given(comms)
def test_a_name_survives_the_round_trip(name: str) -> None:
    assert unescape(escape(name)) == name
    assert escape(name).isascii()
    assert escape(name).isprintable()


@given(kill_records())
def test_format_and_parse_are_each_others_inverse(record: KillRecord) -> None:
    assert parse_log(raw(record), raw=True).records == (record,)


@given(st.lists(kill_records(), max_size=4), st.data())
def test_a_cut_log_holds_no_record_that_was_not_there(
    records: list[KillRecord], data: st.DataObject
) -> None:
    text = "".join(raw(record) for record in records)
    begin = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(begin, len(text)))
    found = parse_log(text[begin:end], raw=True).records
    assert set(found) <= set(records)
    # On a console a line may lose its prefix and keep the whole record.
    timeless = {replace(record, time=None) for record in records}
    assert {replace(r, time=None) for r in parse_log(text[begin:end]).records} <= timeless


@given(kill_records(), kill_records(), st.data())
def test_a_piece_before_a_record_never_makes_another(
    first: KillRecord, second: KillRecord, data: st.DataObject
) -> None:
    piece = raw(first)[: data.draw(st.integers(0, len(raw(first))))]
    parsed = parse_log(piece + raw(second), raw=True)
    assert set(parsed.records) <= {first, second}
    if piece and not piece.endswith("\n") and "uid=" in piece:
        assert parsed.torn


@given(kill_records(), st.text(alphabet=st.characters(exclude_characters="\n"), min_size=1))
def test_text_in_front_of_a_record_never_changes_it(record: KillRecord, text: str) -> None:
    found = parse_log(text + format_record(record) + "\n").records
    assert not found or replace(found[0], time=None) == replace(record, time=None)


@given(st.text() | st.text(alphabet="<3>[12.0] uid=RSm_axp,\tbcoyltrge\n\\"))
def test_any_text_is_read_without_an_error(text: str) -> None:
    parse_log(text)
    parse_log(text, raw=True)
