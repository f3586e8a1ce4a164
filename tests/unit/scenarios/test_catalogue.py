# SPDX-License-Identifier: MIT
"""The scenarios' data: complete, and consistent with themselves."""

from __future__ import annotations

import pytest
from world import TWO_VICTIMS

from harness.core.errors import UsageError
from harness.scenarios.catalogue import (
    POLICIES,
    SCENARIOS,
    TRIGGERS,
    Enough,
    Scenario,
    Victims,
    check_trigger,
    policies_of,
    select,
    uid_of,
)

# The parent of a run, and what the sum may overshoot: see the module's docstring.
ROOM = 2_000_000
each_scenario = pytest.mark.parametrize(
    "scenario", [*SCENARIOS, TWO_VICTIMS], ids=lambda scenario: scenario.name
)


@each_scenario
def test_every_policy_has_an_expectation_that_names_children_there_are(scenario: Scenario) -> None:
    assert tuple(scenario.expected) == POLICIES
    assert set(scenario.triggers) <= set(TRIGGERS)
    assert len({run.name for run in scenario.runs}) == len(scenario.runs)
    for expected in scenario.expected.values():
        if isinstance(expected, Victims):
            assert expected.indexes
            assert len({*expected.indexes}) == len(expected.indexes)
            assert max(expected.indexes) < len(scenario.run(expected.run).children)
        elif isinstance(expected, Enough):
            assert scenario.run(expected.run)


@each_scenario
@pytest.mark.parametrize("policy", POLICIES)
def test_the_victims_deaths_suffice_and_each_is_needed(scenario: Scenario, policy: str) -> None:
    """For users with one limit at the end and children whose fate is known."""
    for user, limit in scenario.limits.items():
        runs = [run for run in scenario.runs if run.user == user]
        expected = scenario.expected[policy]
        if limit is None or not runs or isinstance(expected, Enough):
            continue
        dead = {(expected.run, index) for index in expected.indexes} if expected else set()
        # Sharers die together.
        sizes = {
            (run.name, index): sum(run.children[one].size for one in run.shared(index))
            for run in runs
            for index, child in enumerate(run.children)
            if not child.is_sharer
        }
        for run in runs:
            for index in range(len(run.children)):
                assert ((run.name, index) in dead) == ((run.name, run.elder_of(index)) in dead)
        alive = sum(size for child, size in sizes.items() if child not in dead)
        if user not in scenario.nobody_left:
            assert alive + ROOM * len(runs) < limit
        assert all(alive + sizes[victim] >= limit for victim in dead & sizes.keys())


@each_scenario
def test_children_are_what_the_programs_can_start(scenario: Scenario) -> None:
    for run in scenario.runs:
        assert not (run.by_root and run.shielded)
        assert not run.children[0].is_sharer
        for child in run.children:
            # Only root can become somebody else.
            assert run.by_root or (child.user is None and not child.is_late)
            assert not (child.is_sharer and (run.together or child.leader or child.is_late))


@each_scenario
@pytest.mark.parametrize("overhead", [400_000, 1_000_000])
def test_a_victim_is_the_largest_by_far_when_it_crosses_the_limit(
    scenario: Scenario, overhead: int
) -> None:
    """Under rss, where children cross a limit: also where processes are larger than ours."""
    expected = scenario.expected["rss"]
    if not isinstance(expected, Victims):
        return
    run = scenario.run(expected.run)
    sizes = [
        0
        if child.is_sharer
        else overhead + sum(run.children[one].size for one in run.shared(index))
        for index, child in enumerate(run.children)
    ]
    # A victim that crossed the limit before is gone.
    others = [size for number, size in enumerate(sizes) if number not in expected.indexes]
    same_user = [one for one in scenario.runs if one.user == run.user and one is not run]
    sum_of_others = sum(others) + overhead
    sum_of_others += sum(child.size + overhead for one in same_user for child in one.children)
    sum_of_others += overhead * len(same_user)
    limit = min(
        (step.limit for step in scenario.settings if isinstance(step.limit, int)), default=0
    )
    for index in {run.elder_of(index) for index in expected.indexes}:
        at_once = limit or run.children[index].is_late
        at_the_crossing = sizes[index] if at_once else run.limit - sum_of_others
        assert at_the_crossing > 1.5 * max([overhead, *others])


def test_each_of_runtime_and_badness_has_a_victim_of_its_own() -> None:
    assert {
        policy
        for scenario in SCENARIOS
        for policy in POLICIES
        if all(
            scenario.expected[policy] != scenario.expected[other]
            for other in POLICIES
            if other != policy
        )
    } == {"runtime", "badness"}


def test_names_and_words() -> None:
    assert len({scenario.name for scenario in SCENARIOS}) == len(SCENARIOS)
    assert (uid_of("root"), uid_of("u0_a70")) == (0, 10070)
    assert policies_of("all") == POLICIES
    assert policies_of("badness") == ("badness",)
    assert check_trigger("daemon") == "daemon"


@pytest.mark.parametrize("word", ["", "RSS", "none", "worst"])
def test_a_wrong_word_lists_the_right_ones(word: str) -> None:
    with pytest.raises(UsageError) as policy:
        policies_of(word)
    assert f"{', '.join(POLICIES)}, all" in policy.value.hint
    with pytest.raises(UsageError) as trigger:
        check_trigger(word)
    assert "alloc, daemon" in trigger.value.hint
    with pytest.raises(UsageError) as scenario:
        select((word,), "alloc")
    assert "report, course" in scenario.value.hint


def test_selecting() -> None:
    assert select(None, "alloc") == SCENARIOS
    assert "privileges" not in {scenario.name for scenario in select(None, "daemon")}
    course, report = select(("course", "report", "course"), "alloc")
    assert (course.name, report.name) == ("course", "report")
    with pytest.raises(UsageError, match="means nothing with trigger daemon"):
        select(("privileges",), "daemon")
    with pytest.raises(UsageError):
        select((), "alloc")
