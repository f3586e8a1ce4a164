# SPDX-License-Identifier: MIT
"""The goals of the benchmark, and whether what was measured reaches them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from harness import bench_plan as plan
from harness.baselines import PATCHED, PATCHED_4096, SCAN_ALWAYS, STOCK, TIMER
from harness.bench_result import Kill, KillCase, Measured
from harness.bench_stats import Estimate, exactly, mean, ratio

# By how much the two views of a kill may differ: a page of each process is on its
# way between the table and its own count, and the record is written a little later
# than the usage was worked out.
AGREEMENT_PAGES = 8
AGREEMENT_PAGES_EACH = 2
# How many of 100 kills must agree: a host that takes the guest's CPU away between
# the kernel's decision and its record moves one of them by any number.
AGREEMENT_SHARE = 0.9


class Verdict(Enum):
    """What became of a goal."""

    REACHED = "reached"
    WITHIN_SPREAD = "missed by less than the spread"
    MISSED = "missed"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Goal:
    """A figure and its bound: at most, or, with `at_least`, at least that much."""

    figure: str
    bound: float
    measure: Callable[[Measured], Estimate | None]
    at_least: bool = False
    # How it is written.
    form: str = "{:.4f}"

    @property
    def goal(self) -> str:
        """The bound, for a person."""
        return f"{'≥' if self.at_least else '≤'} {self.bound:g}"

    def judge(self, measured: Measured) -> Judgement:
        """Whether it is reached; it is missed only if it is so by more than the spread."""
        found = self.measure(measured)
        if found is None:
            return Judgement(self, None, Verdict.NOT_MEASURED)
        sign = -1 if self.at_least else 1
        best = found.high if self.at_least else found.low
        if sign * (found.value - self.bound) <= 0:
            verdict = Verdict.REACHED
        elif sign * (best - self.bound) <= 0:
            verdict = Verdict.WITHIN_SPREAD
        else:
            verdict = Verdict.MISSED
        return Judgement(self, found, verdict)


@dataclass(frozen=True)
class Judgement:
    """A goal, what was measured of it, and what that means."""

    goal: Goal
    found: Estimate | None
    verdict: Verdict

    @property
    def value(self) -> str:
        """What was measured, for a person."""
        return "" if self.found is None else self.goal.form.format(self.found.value)

    @property
    def spread(self) -> str:
        """Between what it lies."""
        if self.found is None or self.found.spread == 0:
            return ""
        low, high = (self.goal.form.format(v) for v in (self.found.low, self.found.high))
        return f"{low} … {high}"


def judge(measured: Measured) -> tuple[Judgement, ...]:
    """Every goal."""
    return tuple(goal.judge(measured) for goal in GOALS)


def has_failed(judgements: Iterable[Judgement]) -> bool:
    """Whether any goal is missed by more than its spread."""
    return any(one.verdict is Verdict.MISSED for one in judgements)


def summary(judgements: Iterable[Judgement]) -> list[Mapping[str, object]]:
    """The judgements, for bench.json."""
    return [
        {
            "figure": one.goal.figure,
            "goal": one.goal.goal,
            "value": one.found.value if one.found else None,
            "low": one.found.low if one.found else None,
            "high": one.found.high if one.found else None,
            "verdict": one.verdict.value,
        }
        for one in judgements
    ]


# --- the figures -----------------------------------------------------------------------


def overhead(measured: Measured, baseline: str, setting: str, work: str) -> Estimate | None:
    """The ratio of instructions to the stock kernel's, which has the same work without limits."""
    count = measured.count(baseline, setting, work)
    base = measured.count(STOCK.name, plan.NONE.name, work)
    base = base or measured.count(STOCK.name, setting, work)
    return ratio(count.values, base.values) if count and base else None


def _touch(baseline: str, setting: plan.Setting) -> Callable[[Measured], Estimate | None]:
    return lambda measured: overhead(measured, baseline, setting.name, plan.TOUCH.name)


def _off_by(estimate: Estimate) -> Estimate:
    """How far a ratio is from 1."""
    ends = (abs(estimate.low - 1), abs(estimate.high - 1))
    low = 0.0 if estimate.low <= 1 <= estimate.high else min(ends)
    return Estimate(abs(estimate.value - 1), low, max(ends))


def _equal(measured: Measured) -> Estimate | None:
    """How much 4096 limits of others differ from 10."""
    few = measured.count(PATCHED.name, plan.OTHERS_10.name, plan.TOUCH.name)
    many = measured.count(PATCHED_4096.name, plan.OTHERS_4096.name, plan.TOUCH.name)
    return _off_by(ratio(many.values, few.values)) if few and many else None


def _flat(measured: Measured) -> Estimate | None:
    """How much a page costs beside more processes than the fewest; the worst of them."""
    first, *others = (
        measured.count(PATCHED.name, setting.name, plan.TOUCH_LESS.name) for setting in plan.CROWDED
    )
    found = [_off_by(ratio(one.values, first.values)) for one in others if one and first]
    return max(found, key=lambda one: one.value, default=None)


def _worst_setting(work: plan.Work) -> Callable[[Measured], Estimate | None]:
    """The worst of no limit, others' limits and an own one."""

    def measure(measured: Measured) -> Estimate | None:
        settings = (plan.NONE, plan.OTHERS_10, plan.OWN)
        found = [overhead(measured, PATCHED.name, one.name, work.name) for one in settings]
        return max((one for one in found if one), key=lambda one: one.value, default=None)

    return measure


def over(kill: Kill) -> int:
    """How far above the limit a kill was, by whichever view says more; never below 0."""
    return max(kill.outside, kill.inside or 0, 0)


def mean_over(case: KillCase) -> Estimate:
    """The mean of a case, in pages."""
    return mean([over(kill) for kill in case.kills])


def _worst_mean(measured: Measured) -> Estimate | None:
    cases = measured.cases_of(PATCHED.name)
    return max((mean_over(case) for case in cases), key=lambda one: one.value, default=None)


def _worst(measured: Measured) -> Estimate | None:
    found = [over(kill) for case in measured.cases_of(PATCHED.name) for kill in case.kills]
    return exactly(max(found)) if found else None


def agrees(case: KillCase, kill: Kill) -> bool:
    """Whether the views from inside and outside are the same kill's."""
    most = AGREEMENT_PAGES + AGREEMENT_PAGES_EACH * case.processes
    return kill.inside is not None and abs(kill.inside - kill.outside) <= most


def _agreement(measured: Measured) -> Estimate | None:
    found = [agrees(case, kill) for case in measured.cases_of(PATCHED.name) for kill in case.kills]
    return exactly(sum(found) / len(found)) if found else None


def _killed(measured: Measured) -> Estimate | None:
    """The share of the wanted kills that came, from the right killer."""
    cases = [case for case in measured.kill_cases if case.baseline == PATCHED.name]
    wanted = sum(case.wanted for case in cases)
    came = sum(kill.killer == "mm_limits" for case in cases for kill in case.kills)
    return exactly(came / wanted) if wanted else None


def _timer_mean(measured: Measured) -> Estimate | None:
    found = [over(kill) for case in measured.cases_of(TIMER.name) for kill in case.kills]
    return mean(found) if found else None


_PAGES = "{:.1f}"
GOALS: tuple[Goal, ...] = (
    Goal("instructions per touched page, no limit set", 1.001, _touch(PATCHED.name, plan.NONE)),
    Goal("the same, 10 limits of other users", 1.002, _touch(PATCHED.name, plan.OTHERS_10)),
    Goal(
        "the same, 4096 limits of other users", 1.002, _touch(PATCHED_4096.name, plan.OTHERS_4096)
    ),
    Goal("how far 10 and 4096 are apart", 0.001, _equal, form="{:.5f}"),
    Goal("the same, a limit of its own, far above", 1.005, _touch(PATCHED.name, plan.OWN)),
    Goal("how that grows from 10 to 1000 processes", 0.01, _flat, form="{:.5f}"),
    Goal("fork+exit, the worst of no limit, others', own", 1.005, _worst_setting(plan.FORK)),
    Goal("4-thread page-fault storm, the worst of the same", 1.005, _worst_setting(plan.STORM)),
    Goal("overshoot, pages: mean of the worst case", 34, _worst_mean, form=_PAGES),
    Goal("overshoot, pages: worst kill", 365, _worst, form="{:.0f}"),
    Goal("kills that came, of those wanted", 1, _killed, at_least=True, form="{:.2f}"),
    Goal(
        "kills on which inside and outside agree",
        AGREEMENT_SHARE,
        _agreement,
        at_least=True,
        form="{:.2f}",
    ),
    # The benchmark must be able to tell.
    Goal(
        "what scan-always costs per touched page",
        1.2,
        _touch(SCAN_ALWAYS.name, plan.OWN),
        at_least=True,
        form="{:.3f}",
    ),
    Goal("what the timer overshoots by, pages, mean", 100, _timer_mean, True, _PAGES),
)
