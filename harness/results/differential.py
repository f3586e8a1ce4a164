# SPDX-License-Identifier: MIT
"""Compares the results of a scenario on the stock kernel and on the patched one. Pure.

A cell is one observation of a scenario, as text for people.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.kernel_output.records import parse_log
from harness.scenarios.catalogue import Scenario, uid_of
from harness.scenarios.evidence import UsageSample
from harness.scenarios.observations import Observations

_MB = 1_000_000
_ALIKE = 1.25
NOTHING = "—"

# The observations of a scenario, and the samples of memory use during it.
Seen = tuple[Observations, Sequence[UsageSample]]


@dataclass(frozen=True)
class Difference:
    """A cell of a scenario under a policy, on the stock kernel and on the patched one."""

    scenario: str
    policy: str
    cell: str
    stock: str
    patched: str

    @property
    def differs(self) -> bool:
        """Whether the two kernels behaved differently."""
        return self.stock != self.patched


def cells(scenario: Scenario, seen: Observations) -> Mapping[str, str]:
    """Return the cells of a scenario by name; `scenario` is the one for a kernel with limits."""
    records = parse_log(seen.section.text, raw=True).records
    ends, answers = _children(scenario, seen), _settings(scenario, seen)
    return dict([*ends, *answers, ("kill records", str(len(records)))])


def compare(scenario: Scenario, policy: str, stock: Seen, patched: Seen) -> tuple[Difference, ...]:
    """Compare all cells, in the scenario's order; return also those that are the same."""
    one, other = cells(scenario, stock[0]), cells(scenario, patched[0])
    found = [(name, one.get(name, NOTHING), other.get(name, NOTHING)) for name in {**one, **other}]
    found += _memory(scenario, stock[1], patched[1])
    return tuple(Difference(scenario.name, policy, *cell) for cell in found)


def _children(scenario: Scenario, seen: Observations) -> Iterator[tuple[str, str]]:
    """Yield how each child ended; of a run with many children, how many ended in each way."""
    for run in scenario.runs:
        if run.name not in seen.runs:
            yield f"{run.name}: its children", "not known"
            continue
        ends = {end.index: end.outcome for end in seen.runs[run.name].output.children}
        if len(run.children) > _MOST_CHILDREN:
            counts = [f"{list(ends.values()).count(end)} {end}" for end in sorted({*ends.values()})]
            yield f"{run.name}: {len(run.children)} children", ", ".join(counts) or "not known"
            continue
        for index, child in enumerate(run.children):
            size = f"{child.size / _MB:g} MB"
            yield f"{run.name}: child {index}, {size}", ends.get(index, "not known")


_MOST_CHILDREN = 8


def _settings(scenario: Scenario, seen: Observations) -> Iterator[tuple[str, str]]:
    """Yield what each set_mm_limits() returned."""
    for number, step in enumerate(scenario.settings):
        limit = step.limit if isinstance(step.limit, str) else f"{step.limit / _MB:g} MB"
        name = f"call {number + 1}: {step.caller} sets {step.user} to {limit}"
        answers = seen.settings[number].output.limits if number < len(seen.settings) else ()
        if len(answers) != 1:
            yield name, "not known"
        elif answers[0].ret >= 0:
            yield name, str(answers[0].ret)
        else:
            yield name, f"errno {answers[0].errno}"


def _memory(
    scenario: Scenario, stock: Sequence[UsageSample], patched: Sequence[UsageSample]
) -> Iterator[tuple[str, str, str]]:
    """Compare the largest memory sample of each user; yield a cell's name, stock and patched.

    The times of the samples are chance, so sums within 25 % of each other count as the same.
    A stock kernel has no sums of its own, so our kernel's own sums are left out.
    """
    for user in dict.fromkeys(run.user for run in scenario.runs):
        one, other = _most(stock, uid_of(user)), _most(patched, uid_of(user))
        if one and other:
            alike = max(one, other) <= _ALIKE * min(one, other)
            words = [f"about {size / _MB:.0f} MB" for size in (one, one if alike else other)]
            yield f"{user}: most memory seen", words[0], words[1]


def _most(samples: Sequence[UsageSample], uid: int) -> int:
    seen = (one.rss for one in samples if one.uid == uid and not one.is_kernels)
    return max(seen, default=0)
