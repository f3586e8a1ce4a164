# SPDX-License-Identifier: MIT
"""The oracle: who should have died, from what the kernel tells of its candidates."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from core_model import badness
from hypothesis import given
from hypothesis import strategies as st

from harness.scenarios.evidence import Candidate
from harness.scenarios.oracle import choose, model_score, parse_decisions
from harness.targets.model import PAGE

PAGES = st.integers(0, 2**20).map(lambda pages: pages * PAGE)
CANDIDATES = st.builds(
    Candidate,
    pid=st.integers(1, 2**15),
    score=st.integers(-(2**62), 2**62),
    rss=PAGES,
    swap=PAGES,
    pgtables=PAGES,
    adj=st.integers(-999, 1000),
    admin=st.booleans(),
    total=PAGES,
)
HEAD = "# tracer: nop\n#\n# entries-in-buffer/entries-written: {}/{}   #P:2\n#\n"


def candidate(pid: int, pages: int, score: int | None = None) -> Candidate:
    score = pages if score is None else score
    return Candidate(pid, score, pages * PAGE, 0, pgtables=3 * PAGE, total=250_000 * PAGE)


def weighed(scan: int, one: Candidate, policy: str = "rss", name: str = "dd") -> str:
    return (
        f"              {name}-88      [001] d..2.    12.345678: mm_limits_candidate: scan={scan}"
        f" uid=10070 pid={one.pid} score={one.score} rss={one.rss // PAGE}"
        f" swap={one.swap // PAGE} pgtables={one.pgtables // PAGE} adj={one.adj}"
        f" admin={int(one.admin)} total={one.total // PAGE}"
        f" policy={policy}\n"
    )


def killed(pid: int, policy: str = "rss", sharer_of: int = 0) -> str:
    return (
        f"              dd-88      [001] d..2.    12.345690: mm_limits_kill: uid=10070"
        f" uRSS=81920 mm_max=8192 pid={pid} pRSS=8192 score=2 policy={policy} trigger=alloc"
        f" dry_run=0 sharer_of={sharer_of} comm=dd\n"
    )


def test_a_decision_has_the_last_scans_candidates() -> None:
    first, small, large = candidate(3, 900), candidate(4, 5), candidate(5, 7)
    trace = HEAD.format(5, 5) + weighed(8, first) + weighed(16, small) + weighed(16, large)
    (decision,) = parse_decisions(trace + killed(5) + killed(9, sharer_of=5)) or ()
    assert decision.candidates == (small, large)
    assert (decision.time, decision.uid, decision.policy) == (12.34569, 10070, "rss")
    assert (decision.chosen, decision.expected, decision.agrees) == (5, 5, True)


@pytest.mark.parametrize(
    ("candidates", "chosen", "expected", "misjudged"),
    [
        ((candidate(4, 5), candidate(5, 7)), 4, 5, ()),
        ((candidate(4, 5), candidate(5, 7, score=70)), 5, 5, (5,)),
        ((), 5, None, ()),
    ],
    ids=["a wrong choice", "a wrong score and the right choice", "no candidates"],
)
def test_what_is_wrong_is_seen(
    candidates: tuple[Candidate, ...], chosen: int, expected: int | None, misjudged: tuple[int, ...]
) -> None:
    trace = "".join(weighed(8, one) for one in candidates) + killed(chosen)
    (decision,) = parse_decisions(trace) or ()
    assert (decision.candidates, decision.chosen) == (candidates, chosen)
    assert (decision.expected, decision.misjudged) == (expected, misjudged)
    assert not decision.agrees


def test_two_kills_need_two_scans() -> None:
    trace = weighed(8, candidate(4, 5)) + killed(4) + killed(4)
    first, second = parse_decisions(trace) or ()
    assert first.agrees
    assert not second.agrees


def test_a_buffer_that_was_too_small_tells_nothing() -> None:
    assert parse_decisions(HEAD.format(4, 5) + killed(5)) is None
    assert parse_decisions("") == ()


@pytest.mark.parametrize("name", ["a b", "x: y-1 [000]", "mm_limits_kill:", "-", "\\n"])
def test_names_are_only_names(name: str) -> None:
    trace = weighed(8, candidate(4, 5), name=name) + killed(4)
    (decision,) = parse_decisions(trace) or ()
    assert decision.agrees


def test_equal_scores_go_to_the_larger_and_then_to_the_younger() -> None:
    same = [candidate(4, 7, 9), candidate(5, 8, 9), candidate(6, 8, 9), candidate(7, 1, 9)]
    assert choose(same, "runtime") == 6
    assert choose([], "rss") is None


@given(CANDIDATES)
def test_badness_is_the_contracts(one: Candidate) -> None:
    rss, swap, pgtables, total = (
        size // PAGE for size in (one.rss, one.swap, one.pgtables, one.total)
    )
    expected = badness(rss, swap, pgtables, one.admin, one.adj, total)
    assert model_score(one, "badness") == expected
    # For a module's policy, as for CPU time, the kernel's score counts.
    assert model_score(one, "youngest") == model_score(one, "runtime") == one.score


@given(st.lists(CANDIDATES, min_size=1), st.sampled_from(["rss", "runtime", "badness", "youngest"]))
def test_nobody_has_a_larger_score_than_who_is_chosen(
    candidates: Sequence[Candidate], policy: str
) -> None:
    pid = choose(candidates, policy)
    chosen = {model_score(one, policy) for one in candidates if one.pid == pid}
    assert max(model_score(one, policy) for one in candidates) in chosen


@given(st.text())
def test_any_text_is_read_without_an_error(text: str) -> None:
    parse_decisions(text)
