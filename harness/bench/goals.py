# SPDX-License-Identifier: MIT
"""The goals of the benchmark, and whether the measured figures reach them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from harness.bench import plan
from harness.bench.baselines import BASELINES, PATCHED, PATCHED_4096, SCAN_ALWAYS, STOCK, TIMER
from harness.bench.result import Crowd, Kill, KillCase, Measured
from harness.bench.stats import (
    Estimate,
    exactly,
    mean,
    middle,
    paired_ratio,
    quantile,
    ratio,
    share,
)

# By how much the two views of a kill may differ: each process may have a page that is in its
# page table and not yet in its own count, and the kernel writes the record a little later
# than it computes the usage.
AGREEMENT_PAGES = 8
AGREEMENT_PAGES_EACH = 2
# The share of kills that must agree: if the host takes the guest's CPU away between the
# kernel's decision and its record, the two views can differ by any number.
AGREEMENT_SHARE = 0.9
# bench_work's names for the system's own OOM killer, and for a death that nobody has logged.
_NO_LIMITS = ("system", "unknown")


class Verdict(Enum):
    """The verdict on a goal."""

    REACHED = "reached"
    WITHIN_SPREAD = "missed by less than the spread"
    MISSED = "missed"
    REPORTED = "reported"
    NOT_MEASURED = "not measured"


# Returns a figure of one kernel; None if it was not measured.
Measure = Callable[[Measured, str], Estimate | None]


@dataclass(frozen=True)
class Goal:
    """A figure and its bound: a maximum, or with `at_least` a minimum.

    Without a bound the figure is only reported. `of` is the kernel that has the goal; the
    same figure of the kernels in `beside` is shown next to it.
    """

    figure: str
    bound: float | None
    measure: Measure
    at_least: bool = False
    # The format of the value.
    form: str = "{:.4f}"
    of: str = PATCHED.name
    beside: tuple[str, ...] = tuple(name for name in BASELINES if name != PATCHED.name)

    @property
    def goal(self) -> str:
        """The bound, as text."""
        if self.bound is None:
            return ""
        return f"{'≥' if self.at_least else '≤'} {self.bound:g}"

    def judge(self, measured: Measured) -> Judgement:
        """Judge whether the goal is reached; it is missed only if by more than the spread."""
        found = self.measure(measured, self.of)
        others = {name: self.measure(measured, name) for name in self.beside if name != self.of}
        return Judgement(
            self,
            found,
            self._verdict(found),
            {name: other for name, other in others.items() if other is not None},
        )

    def _verdict(self, found: Estimate | None) -> Verdict:
        if found is None:
            return Verdict.NOT_MEASURED
        if self.bound is None:
            return Verdict.REPORTED
        sign = -1 if self.at_least else 1
        best = found.high if self.at_least else found.low
        if sign * (found.value - self.bound) <= 0:
            return Verdict.REACHED
        return Verdict.WITHIN_SPREAD if sign * (best - self.bound) <= 0 else Verdict.MISSED


@dataclass(frozen=True)
class Judgement:
    """A goal, its measured figure, the verdict, and the other kernels' figures."""

    goal: Goal
    found: Estimate | None
    verdict: Verdict
    others: Mapping[str, Estimate]

    @property
    def value(self) -> str:
        """The measured figure, as text."""
        return "" if self.found is None else self.goal.form.format(self.found.value)

    @property
    def spread(self) -> str:
        """The interval of the figure, as text."""
        if self.found is None or self.found.spread == 0:
            return ""
        low, high = (self.goal.form.format(v) for v in (self.found.low, self.found.high))
        return f"{low} … {high}"

    @property
    def beside(self) -> str:
        """The other kernels' figures, as text."""
        shown = (f"{name} {self.goal.form.format(e.value)}" for name, e in self.others.items())
        return ", ".join(shown)


def judge(measured: Measured) -> tuple[Judgement, ...]:
    """Judge every goal."""
    return tuple(goal.judge(measured) for goal in GOALS)


def summary(judgements: Iterable[Judgement]) -> list[Mapping[str, object]]:
    """Return the judgements, for bench.json."""
    return [
        {
            "figure": one.goal.figure,
            "goal": one.goal.goal,
            "value": one.found.value if one.found else None,
            "low": one.found.low if one.found else None,
            "high": one.found.high if one.found else None,
            "verdict": one.verdict.value,
            "others": {name: other.value for name, other in one.others.items()},
        }
        for one in judgements
    ]


# --- the figures -----------------------------------------------------------------------


def overhead(measured: Measured, baseline: str, setting: str, work: str) -> Estimate | None:
    """Return the ratio of instructions to the stock kernel's for the same work without limits."""
    count = measured.count(baseline, setting, work)
    base = measured.count(STOCK.name, plan.NONE.name, work)
    base = base or measured.count(STOCK.name, setting, work)
    return ratio(count.values, base.values) if count and base else None


def time_ratio(measured: Measured, baseline: str, work: str) -> Estimate | None:
    """Return the ratio of wall-clock times to the stock kernel's for the same work."""
    timing, base = measured.timing(baseline, work), measured.timing(STOCK.name, work)
    return paired_ratio(timing.values, base.values) if timing and base else None


def _touch(setting: plan.Setting) -> Measure:
    return lambda measured, name: overhead(measured, name, setting.name, plan.TOUCH.name)


def _off_by(estimate: Estimate) -> Estimate:
    """Return how far a ratio is from 1."""
    ends = (abs(estimate.low - 1), abs(estimate.high - 1))
    low = 0.0 if estimate.low <= 1 <= estimate.high else min(ends)
    return Estimate(abs(estimate.value - 1), low, max(ends))


def _equal(measured: Measured, _name: str) -> Estimate | None:
    """Return how much the cost beside 4096 limits of other users differs from that beside 10."""
    few = measured.count(PATCHED.name, plan.OTHERS_10.name, plan.TOUCH.name)
    many = measured.count(PATCHED_4096.name, plan.OTHERS_4096.name, plan.TOUCH.name)
    return _off_by(ratio(many.values, few.values)) if few and many else None


def _flat(measured: Measured, name: str) -> Estimate | None:
    """Return the largest change of a page's cost with more processes than the fewest."""
    first, *others = (
        measured.count(name, setting.name, plan.TOUCH_LESS.name) for setting in plan.CROWDED
    )
    found = [_off_by(ratio(one.values, first.values)) for one in others if one and first]
    return max(found, key=lambda one: one.value, default=None)


def _worst_setting(work: plan.Work) -> Measure:
    """Return a measure: the worst of no limit, other users' limits and a limit of its own."""

    def measure(measured: Measured, name: str) -> Estimate | None:
        settings = (plan.NONE, plan.OTHERS_10, plan.OWN)
        found = [overhead(measured, name, one.name, work.name) for one in settings]
        return max((one for one in found if one), key=lambda one: one.value, default=None)

    return measure


def over(kill: Kill) -> int:
    """Return the overshoot of a kill, in pages, by the view that says more; never below 0."""
    return max(kill.outside, kill.inside or 0, 0)


def mean_over(case: KillCase) -> Estimate:
    """Return the mean overshoot of a case, in pages."""
    return mean([over(kill) for kill in case.kills])


def _kills(measured: Measured, name: str) -> list[Kill]:
    return [kill for case in measured.cases_of(name) for kill in case.kills]


def _worst_mean(measured: Measured, name: str) -> Estimate | None:
    return max(map(mean_over, measured.cases_of(name)), key=lambda one: one.value, default=None)


def _worst(measured: Measured, name: str) -> Estimate | None:
    found = [over(kill) for kill in _kills(measured, name)]
    return exactly(max(found)) if found else None


def agrees(case: KillCase, kill: Kill) -> bool:
    """Return whether the views from inside and outside agree about a kill."""
    most = AGREEMENT_PAGES + AGREEMENT_PAGES_EACH * case.processes
    return kill.inside is not None and abs(kill.inside - kill.outside) <= most


def _agreement(measured: Measured, name: str) -> Estimate | None:
    cases = measured.cases_of(name)
    found = [agrees(case, kill) for case in cases for kill in case.kills if kill.inside is not None]
    return share(sum(found), len(found)) if found else None


def _came(measured: Measured, name: str) -> Estimate | None:
    """Return the share of the wanted kills that came and that a limit's killer has logged."""
    cases = [case for case in measured.kill_cases if case.baseline == name]
    wanted = sum(case.wanted for case in cases)
    came = sum(kill.killer not in _NO_LIMITS for case in cases for kill in case.kills)
    return exactly(came / wanted) if wanted else None


def _latency(until: Callable[[Kill], int | None], share: float) -> Measure:
    """Return a measure: a percentile of a latency of all kills, in ms.

    Of those on the machine whose clock counts instructions: elsewhere a busy host would count.
    """

    def measure(measured: Measured, name: str) -> Estimate | None:
        found = [until(kill) for case in measured.counted_of(name) for kill in case.kills]
        known = [us / 1000 for us in found if us is not None]
        # Where somebody's memory did not come back there is no percentile of all.
        return quantile(known, share) if known and len(known) == len(found) else None

    return measure


def _free(kill: Kill) -> int | None:
    return kill.free_us


def _all_free(kill: Kill) -> int | None:
    return kill.all_free_us


def _gone(kill: Kill) -> int | None:
    return kill.latency_us


def _worst_fault(measured: Measured, name: str) -> Estimate | None:
    """Return the worst fault of a bystander, in ms: the median of the runs, the least, the most."""
    found = [one.worst_us / 1000 for one in measured.massacres if one.baseline == name]
    return middle(found) if found else None


def _worst_ordinary_fault(measured: Measured, name: str) -> Estimate | None:
    """Return the same of the ordinary bystander, who waits for the CPU, too."""
    found = [one.ordinary_us / 1000 for one in measured.massacres if one.baseline == name]
    return middle(found) if found else None


def _worst_read(measured: Measured, name: str) -> Estimate | None:
    """Return the worst read of a pipe, in the same way."""
    found = [one.worst_us / 1000 for one in measured.pipes if one.baseline == name]
    return middle(found) if found else None


def _looks(measured: Measured, name: str) -> Estimate | None:
    """Return how many looks a fork with its exit costs near the limit."""
    found = [one.looks / one.forks for one in measured.looks if one.baseline == name]
    return middle(found) if found else None


def _look_beside(measured: Measured, name: str) -> Estimate | None:
    """Return what a look costs beside the most processes of others, over that beside the fewest."""
    first, *others = (measured.count(name, one.name, plan.LOOK.name) for one in plan.BESIDE)
    found = [ratio(one.values, first.values) for one in others if one and first]
    return found[-1] if found else None


def _crowds(figure: Callable[[Crowd], float]) -> Measure:
    """Return a measure: the median of a figure of the crowds, with the least and the most."""

    def measure(measured: Measured, name: str) -> Estimate | None:
        found = [figure(one) for one in measured.crowds if one.baseline == name]
        return middle(found) if found else None

    return measure


_PAGES = "{:.1f}"
_WHOLE = "{:.0f}"
GOALS: tuple[Goal, ...] = (
    Goal("instructions per touched page, no limit set", 1.001, _touch(plan.NONE)),
    Goal("the same, 10 limits of other users", 1.002, _touch(plan.OTHERS_10)),
    Goal(
        "the same, 4096 limits of other users",
        1.002,
        _touch(plan.OTHERS_4096),
        of=PATCHED_4096.name,
    ),
    Goal("how far 10 and 4096 are apart", 0.001, _equal, form="{:.5f}", beside=()),
    Goal("the same, a limit of its own, far above", 1.005, _touch(plan.OWN)),
    Goal("how that grows from 10 to 1000 processes", 0.01, _flat, form="{:.5f}"),
    Goal("fork+exit, the worst of no limit, others', own", 1.005, _worst_setting(plan.FORK)),
    Goal("4-thread page-fault storm, the worst of the same", 1.005, _worst_setting(plan.STORM)),
    Goal("overshoot, pages: mean of the worst case", 34, _worst_mean, form=_PAGES),
    Goal("overshoot, pages: worst kill", 365, _worst, form=_WHOLE),
    Goal("kills that came, of those wanted", 1, _came, at_least=True, form="{:.2f}"),
    Goal(
        "kills on which inside and outside agree",
        AGREEMENT_SHARE,
        _agreement,
        at_least=True,
        form="{:.2f}",
    ),
    Goal("from the limit to free memory, ms: median", 2, _latency(_free, 0.5), form=_PAGES),
    Goal("from the limit to free memory, ms: p99", 8, _latency(_free, 0.99), form=_PAGES),
    Goal("until all of it is free, ms: median", None, _latency(_all_free, 0.5), form=_PAGES),
    Goal("until all of it is free, ms: p99", None, _latency(_all_free, 0.99), form=_PAGES),
    Goal("until the victim is gone, ms: median", None, _latency(_gone, 0.5), form=_PAGES),
    Goal("until the victim is gone, ms: p99", None, _latency(_gone, 0.99), form=_PAGES),
    Goal(
        "a crowd until it is within its limit, ms",
        None,
        _crowds(lambda one: one.us / 1000),
        form=_WHOLE,
    ),
    Goal("killed of the crowd", None, _crowds(lambda one: one.kills), form=_WHOLE),
    Goal("a bystander's worst fault beside kills, ms", 20, _worst_fault, form=_PAGES),
    Goal("the same, with its turn on the CPU, ms", None, _worst_ordinary_fault, form=_PAGES),
    Goal("root's worst read of a pipe, ms", 20, _worst_read, form=_PAGES),
    Goal("looks for each fork+exit near the limit", 0.05, _looks),
    Goal("a look beside many of others, over one beside 10", 1.05, _look_beside),
    # The benchmark must be able to show that an alternative is bad.
    Goal(
        "it tells: what scan-always costs per touched page",
        1.2,
        _touch(plan.OWN),
        at_least=True,
        form="{:.3f}",
        of=SCAN_ALWAYS.name,
        beside=(),
    ),
    Goal(
        "it tells: what the timer overshoots by, pages",
        100,
        _worst_mean,
        at_least=True,
        form=_PAGES,
        of=TIMER.name,
        beside=(),
    ),
)
