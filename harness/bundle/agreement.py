# SPDX-License-Identifier: MIT
"""Says whether a repeated run has the same outcomes as the original. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from harness.bundle.manifest import Original
from harness.core.text import visible
from harness.scenarios.verdict import Outcome

_MOST_SHOWN = 3
# In place of a missing outcome.
NOT_JUDGED = "not judged"


@dataclass(frozen=True)
class Difference:
    """A scenario or log with different outcomes, which are given as text for people."""

    where: str
    original: str
    now: str


@dataclass(frozen=True)
class Agreement:
    """The comparison of two runs; `count` is how many scenarios and logs were compared.

    `original` is the original's result line, and `same_end` says whether the new run has the
    same one.
    """

    count: int
    differences: tuple[Difference, ...]
    original: str
    same_end: bool

    @property
    def agrees(self) -> bool:
        """Whether all outcomes are the same; without any outcome, whether the ends are."""
        return not self.differences and (self.count > 0 or self.same_end)

    @property
    def line(self) -> str:
        """The comparison as text for people."""
        if not self.count and self.same_end:
            return f"agrees with the original: {visible(self.original)}"
        if not self.count:
            return f"cannot be compared with the original, which ended: {visible(self.original)}"
        if self.agrees:
            return f"agrees with the original: all {self.count} outcomes are the same"
        shown = [
            f"{one.where}: {one.now}, was {one.original}" for one in self.differences[:_MOST_SHOWN]
        ]
        if len(self.differences) > _MOST_SHOWN:
            shown.append(f"and {len(self.differences) - _MOST_SHOWN} more")
        return visible(
            f"differs from the original in {len(self.differences)} of {self.count} outcomes: "
            + "; ".join(shown)
        )


def compare(original: Original, now: Original) -> Agreement:
    """Compare the outcomes of two runs by policy and scenario."""
    before, after = (
        {(one.policy, one.scenario): one.outcome for one in run.outcomes} for run in (original, now)
    )
    places = list(dict.fromkeys((*before, *after)))
    if _DIED in before.values() and _DIED in after.values():
        # How far other guests got before the kernel died is chance.
        places = [place for place in places if place in before and place in after]
    differences = []
    for policy, scenario in places:
        was, came = (one.get((policy, scenario), NOT_JUDGED) for one in (before, after))
        if was != came:
            where = f"{scenario} (policy {policy})" if policy else scenario
            differences.append(Difference(where, _words(was), _words(came)))
    same_end = original.result == now.result
    return Agreement(len(places), tuple(differences), original.result, same_end)


_DIED = Outcome.KERNEL_DIED.name


def _words(outcome: str) -> str:
    """Return an outcome's name as words: of another harness's outcome only the name is known."""
    return outcome.lower().replace("_", " ")
