# SPDX-License-Identifier: MIT
"""Eligibility, credit and choice: the kernel's own C against a model of the contract."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import core_model
import pytest
from core_library import Core, compile_core
from core_model import ULONG_MAX, Mm, Process
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core.paths import REPO

# Set by the test that runs this file again, under the sanitizers.
_SANITIZED = "GOLDFISH_OOM_SANITIZED_CORE"
# How many populations the long comparison makes up; a person may ask for millions.
_POPULATIONS = int(os.environ.get("GOLDFISH_OOM_POPULATIONS", "5000"))
_UIDS = (10070, 10071)
_PATIENCE = 1250


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    flags = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    wanted = flags if _SANITIZED in os.environ else ()
    return compile_core(tmp_path_factory.mktemp("core") / "core.so", *wanted)


@pytest.fixture(scope="module")
def core(library: Path) -> Core:
    return Core(library)


def times(low: int = 0) -> st.SearchStrategy[int]:
    """Times as the kernel stamps them: bit 1 is set."""
    return st.integers(low, 2**62).map(lambda time: time | 2)


pages = st.one_of(st.integers(0, 4), st.integers(0, 2**20), st.just(ULONG_MAX // 2))


@st.composite
def populations(draw: st.DrawFn) -> tuple[list[Process], list[Mm], int]:
    """Processes, their mms, and the time; mms are shared, equal, dying, given up on."""
    now = draw(times(low=4 * _PATIENCE))
    earlier = st.integers(0, 2 * _PATIENCE).map(lambda ago: (now - ago) | 2)
    stamps = st.one_of(st.none(), st.none(), earlier, st.just("given up"))
    mms = draw(st.lists(st.builds(Mm, rss=pages, dying=stamps), max_size=8))
    indexes = st.one_of(st.none(), st.integers(0, len(mms) - 1)) if mms else st.none()
    one = st.builds(
        Process,
        uid=st.sampled_from(_UIDS),
        mm=indexes,
        is_protected=st.booleans() if draw(st.booleans()) else st.just(False),
        is_dying=st.booleans() if draw(st.booleans()) else st.just(True),
        score=st.one_of(st.integers(0, 2), st.integers(-(2**63), 2**63 - 1)),
    )
    return draw(st.lists(one, max_size=12)), mms, now


@settings(max_examples=4 * settings().max_examples)
@given(populations(), st.integers(4096, ULONG_MAX))
def test_a_look_is_what_the_contract_says(
    core: Core, population: tuple[list[Process], list[Mm], int], limit: int
) -> None:
    processes, mms, now = population
    theirs, ours = deepcopy(mms), deepcopy(mms)
    for moment in (now, (now + _PATIENCE) | 2):
        for uid in _UIDS:
            expected = core_model.look(processes, ours, uid, limit, moment, _PATIENCE)
            assert core.look(processes, theirs, uid, limit, moment, _PATIENCE) == expected
            assert [mm.dying for mm in theirs] == [mm.dying for mm in ours]


def make_up(chance: random.Random, now: int) -> tuple[list[Process], list[Mm]]:
    """A population of a user that is likely to be in trouble; ties are common."""
    stamps = [None, None, None, (now - chance.randrange(2 * _PATIENCE)) | 2, "given up"]
    mms = [Mm(chance.choice((0, 7, 7, 512, 2**40)), chance.choice(stamps)) for _ in range(6)]
    all_dying, all_protected = chance.random() < 0.1, chance.random() < 0.1
    processes = [
        Process(
            uid=chance.choice(_UIDS),
            mm=chance.choice((None, 0, 1, 2, 3, 4, 5)),
            is_protected=all_protected or chance.random() < 0.1,
            is_dying=all_dying or chance.random() < 0.3,
            score=chance.choice((-1, 0, 0, 1, 2**63 - 1, -(2**63))),
        )
        for _ in range(chance.randrange(10))
    ]
    return processes, mms


def test_very_many_populations(core: Core) -> None:
    chance = random.Random(20)
    for _ in range(_POPULATIONS):
        now = chance.randrange(4 * _PATIENCE, 2**40) | 2
        processes, mms = make_up(chance, now)
        theirs = deepcopy(mms)
        limit = chance.choice((4096, 2**20, 2**52, ULONG_MAX))
        expected = core_model.look(processes, mms, 10070, limit, now, _PATIENCE)
        assert core.look(processes, theirs, 10070, limit, now, _PATIENCE) == expected
        assert theirs == mms


def test_everything_dying_leaves_nobody_to_choose(core: Core) -> None:
    mms = [Mm(100), Mm(200)]
    processes = [Process(10070, 0, is_dying=True), Process(10070, 1, is_dying=True)]
    result = core.look(processes, mms, 10070, 4096, 2, _PATIENCE)
    assert (result.usage, result.dying, result.victim, result.is_over) == (0, 300, None, False)


def test_everybody_protected_leaves_nobody_to_choose(core: Core) -> None:
    mms = [Mm(100), Mm(200)]
    processes = [Process(10070, n, is_protected=True) for n in range(2)]
    result = core.look(processes, mms, 10070, 4096, 2, _PATIENCE)
    assert (result.usage, result.victim, result.is_over) == (300, None, True)


def test_a_sharer_protects_and_the_oldest_pays(core: Core) -> None:
    shared = [Process(10070, 0), Process(10071, 0, is_protected=True)]
    assert core.look(shared, [Mm(9)], 10070, 4096, 2, _PATIENCE).victim is None
    assert core.look(shared, [Mm(9)], 10070, 4096, 2, _PATIENCE).usage == 9
    assert core.look(shared, [Mm(9)], 10071, 4096, 2, _PATIENCE).usage == 0


def test_ties_go_to_the_larger_then_the_younger(core: Core) -> None:
    mms = [Mm(5), Mm(7), Mm(7), Mm(6)]
    processes = [Process(10070, n, score=1) for n in range(4)]
    assert core.look(processes, mms, 10070, 4096, 2, _PATIENCE).victim == 2


def test_a_time_that_wraps_is_a_time_like_others(core: Core) -> None:
    begun = (ULONG_MAX - 100) | 2
    mms = [Mm(5, dying=begun)]
    dying = [Process(10070, 0, is_dying=True)]
    soon, late = (begun + 200) & ULONG_MAX, (begun + _PATIENCE) & ULONG_MAX
    assert core.look(dying, mms, 10070, 4096, soon, _PATIENCE).dying == 5
    result = core.look(dying, mms, 10070, 4096, late, _PATIENCE)
    assert (result.usage, result.dying, result.given_up) == (5, 0, 1)


@given(
    st.tuples(*[st.integers(0, 2**50)] * 3),
    st.booleans(),
    st.integers(-1000, 1000),
    st.integers(0, 2**52),
)
def test_badness(
    core: Core, pages: tuple[int, int, int], admin: bool, adj: int, total: int
) -> None:
    expected = core_model.badness(*pages, admin, adj, total)
    assert core.badness(*pages, admin, adj, total) == expected


@given(st.integers(0, ULONG_MAX), st.integers(0, ULONG_MAX), st.sampled_from((12, 14, 16)))
def test_a_limit_is_compared_in_bytes(core: Core, some: int, limit: int, shift: int) -> None:
    assert not core.exceeds(some, ULONG_MAX, shift)
    assert core.exceeds(some, limit, shift) == (limit != ULONG_MAX and some << shift > limit)


PAGES = st.integers(0, 2**52)


@st.composite
def users(draw: st.DrawFn) -> tuple[int, int, int, int, int]:
    """What a user has and has dying, its limit, what its threads may and do hold back."""
    usage, dying, limit = draw(PAGES), draw(PAGES), draw(PAGES)
    reserve = draw(st.integers(0, 2**20))
    return usage, dying, limit, reserve, draw(st.integers(0, min(reserve, usage)))


@given(users())
def test_a_user_is_looked_at_before_it_can_be_over_its_limit(
    core: Core, user: tuple[int, int, int, int, int]
) -> None:
    usage, dying, limit, reserve, held_back = user
    mark = core.mark(*user)
    room = limit - usage - dying
    counted = usage + dying - held_back
    if room < 0:
        step = min(8, limit - usage) if usage <= limit else 64
        assert mark == (counted + step, limit - held_back, True)
        # Otherwise it would be looked at without end.
        assert mark.low < counted
    elif mark.near:
        # They hold nothing new back, so this is the very page.
        assert room < reserve + reserve // 4
        assert mark.at - counted == room
    else:
        # All that they could hold back counts on top of what is counted.
        assert mark.at == limit
        assert counted + reserve <= mark.at


@given(users())
def test_a_user_that_shrinks_away_from_its_limit_may_hold_back_again(
    core: Core, user: tuple[int, int, int, int, int]
) -> None:
    usage, dying, limit, reserve, _ = user
    mark = core.mark(*user)
    if usage + dying <= limit and mark.near and mark.low >= 0:
        assert not core.mark(mark.low, 0, limit, reserve, 0).near


@pytest.mark.skipif(_SANITIZED in os.environ, reason="this is the run that it starts")
def test_all_of_this_under_the_sanitizers() -> None:
    asan = subprocess.run(
        ["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    )
    environment = {
        **os.environ,
        _SANITIZED: "1",
        "GOLDFISH_OOM_POPULATIONS": "2000",
        "LD_PRELOAD": asan.stdout.strip(),
        # This file needs no plugin; to load them takes longer than all of this.
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        # Python's own memory is not what is looked at.
        "ASAN_OPTIONS": "detect_leaks=0",
    }
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__],
        cwd=REPO,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
