# SPDX-License-Identifier: MIT
"""Whether a run that was repeated came out as the original did. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.bundle.manifest import Original, Told
from harness.core.text import visible
from harness.scenarios.verdict import Outcome

_MOST_SHOWN = 3
# What stands for an outcome that is not there.
NOT_JUDGED = "not judged"


@dataclass(frozen=True)
class Difference:
    """A scenario, or a log, that came out differently; the outcomes are as people read them."""

    where: str
    original: str
    now: str


@dataclass(frozen=True)
class Agreement:
    """The two runs, side by side: `count` is how many scenarios and logs either judged.

    `original` is how that one ended, and `same_end` whether this one did so, too.
    """

    count: int
    differences: tuple[Difference, ...]
    original: str
    same_end: bool

    @property
    def agrees(self) -> bool:
        """Whether each of them came out as before; where there is none, the end counts."""
        return not self.differences and (self.count > 0 or self.same_end)

    @property
    def line(self) -> str:
        """It, for people."""
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
    """The outcomes of two runs, each with its place in the run."""
    before, after = _by_place(original.outcomes), _by_place(now.outcomes)
    places = list(dict.fromkeys((*before, *after)))
    if _DIED in before.values() and _DIED in after.values():
        # How far other guests had come by then is chance.
        places = [place for place in places if place in before and place in after]
    differences = tuple(_differences(before, after, places))
    return Agreement(len(places), differences, original.result, original.result == now.result)


_DIED = Outcome.KERNEL_DIED.name
_Places = dict[tuple[str, str], str]


def _by_place(told: Sequence[Told]) -> _Places:
    return {(one.policy, one.scenario): one.outcome for one in told}


def _differences(
    before: _Places, after: _Places, places: Sequence[tuple[str, str]]
) -> Iterator[Difference]:
    for place in places:
        policy, scenario = place
        was, came = before.get(place, NOT_JUDGED), after.get(place, NOT_JUDGED)
        if was != came:
            where = f"{scenario} (policy {policy})" if policy else scenario
            yield Difference(where, _words(was), _words(came))


def _words(outcome: str) -> str:
    """An outcome's name as words: an outcome of another harness's has nothing else."""
    return outcome.lower().replace("_", " ")
