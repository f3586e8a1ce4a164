# SPDX-License-Identifier: MIT
"""What the page of a sweep shows, prepared for the template. Pure.

Builds are rows. A column is a task with its policy and trigger, or its file. Cells that differ
only in their seed or their repetition share a place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from harness.core.text import public
from harness.results.run_result import Status
from harness.sweep.cell import Build, Cell
from harness.sweep.result import Attempt, CellResult, SweepResult, same_cell

# In this order; tasks that are not named come last.
_TASKS = ("emulator-test", "fuzz", "bench", "boot-test")
_COUNTED: Mapping[Status, str] = MappingProxyType(
    {
        Status.PASSED: "passed",
        Status.FAILED: "failed",
        Status.ERROR: "no verdict",
        Status.MISSING: "not run",
    }
)
# In characters, for all lines of attempts that are no pass, and for one of them.
_ALL_LINES, _LONGEST_LINE, _SHORTEST_LINE = 800_000, 500, 60
_NO_LINE = "it said nothing"
_GRAVITY: Mapping[Status, int] = MappingProxyType(
    {status: number for number, status in enumerate(Status)}
)


@dataclass(frozen=True)
class Item:
    """A cell of the sweep; `number` counts from 1 in the matrix's order.

    `name` tells it from the other cells of its place; empty if there is no other. `link` leads
    to the files of the attempt that counts, `links` to those of each attempt; empty without
    files. `line` and `lines` are the attempts' last lines, shortened. `before` is the status
    in the last sweep if it was another one. `is_new` says that the last sweep had no such cell.
    """

    number: int
    result: CellResult
    name: str
    links: tuple[str, ...]
    lines: tuple[str, ...]
    before: Status | None
    is_new: bool
    is_flaky: bool

    @property
    def cell(self) -> Cell:
        """The cell itself."""
        return self.result.cell

    @property
    def status(self) -> Status:
        """Its verdict."""
        return self.result.status

    @property
    def link(self) -> str:
        """The link of the attempt that counts."""
        return self.links[-1] if self.links else ""

    @property
    def line(self) -> str:
        """The last line of the attempt that counts."""
        return self.lines[-1] if self.lines else ""

    @property
    def seconds(self) -> float:
        """How long its last attempt took."""
        return self.result.last.seconds if self.result.last is not None else 0.0

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """All attempts at it."""
        return self.result.attempts

    @property
    def told(self) -> str:
        """Why it is no pass, or was tried again; empty if there is nothing to tell."""
        if len(self.attempts) > 1:
            told = self.lines[:-1] if self.status is Status.PASSED else self.lines
            return f"{len(self.attempts)} attempts: {'; '.join(map(_without_word, told))}"
        return "" if self.status is Status.PASSED else _without_word(self.line)

    @property
    def marks(self) -> tuple[str, ...]:
        """What is worth noting about it beside its verdict, as the filters call it."""
        told = {
            "flaky": self.is_flaky,
            "changed": self.before is not None,
            "new": self.is_new,
            "tried again": len(self.attempts) > 1,
        }
        return tuple(word for word, holds in told.items() if holds)


@dataclass(frozen=True)
class Place:
    """The cells of a build in a column, those that are no pass first."""

    items: tuple[Item, ...]

    @property
    def status(self) -> Status:
        """The gravest of their verdicts."""
        return min((one.status for one in self.items), key=_GRAVITY.__getitem__)

    @property
    def seconds(self) -> float:
        """How long all of them took, one after the other."""
        return sum(one.seconds for one in self.items)

    @property
    def _counts(self) -> Counter[Status]:
        return Counter(one.status for one in self.items)

    @property
    def words(self) -> str:
        """What the cells are, and how many of them have which verdict."""
        is_fuzz = any(one.cell.seed is not None for one in self.items)
        is_repeated = any(one.cell.repetition > 1 for one in self.items)
        what = "runs" if is_fuzz and is_repeated else "seeds" if is_fuzz else "repetitions"
        return f"{len(self.items)} {what}: {counted(self._counts)}"

    @property
    def marks(self) -> tuple[tuple[str, int], ...]:
        """The marks of the cells, each with how many have it."""
        return tuple(Counter(mark for one in self.items for mark in one.marks).items())


@dataclass(frozen=True)
class Column:
    """A column: `heading` is shared by columns next to each other, `name` is its own."""

    heading: str
    name: str
    policy: str
    trigger: str
    title: str


@dataclass(frozen=True)
class Heading:
    """A heading above `columns`, whose numbers count from 0."""

    text: str
    columns: tuple[int, ...]
    is_alone: bool


@dataclass(frozen=True)
class Row:
    """A build, and its place in each column; None where the matrix has no such cell.

    `kernels` are the releases that its cells booted, as far as they are known.
    """

    build: Build
    kernels: tuple[str, ...]
    places: tuple[Place | None, ...]


@dataclass(frozen=True)
class Changes:
    """What differs from the last sweep of the same file.

    `changed` are the cells with another status, by the status before and now, the gravest
    first; `gone` are cells that only the last sweep has.
    """

    before: SweepResult
    changed: tuple[tuple[Status, Status, tuple[Item, ...]], ...]
    new: tuple[Item, ...]
    gone: tuple[CellResult, ...]
    has_other_file: bool


@dataclass(frozen=True)
class View:
    """All of the page.

    `told` are the cells with details, the gravest first; `flaky` are groups of repetitions that
    came out differently.
    """

    columns: tuple[Column, ...]
    headings: tuple[Heading, ...]
    rows: tuple[Row, ...]
    items: tuple[Item, ...]
    told: tuple[Item, ...]
    flaky: tuple[tuple[Item, ...], ...]
    changes: Changes | None
    filters: tuple[tuple[str, tuple[str, ...]], ...]


def build(
    sweep: SweepResult, before: SweepResult | None, link_of: Callable[[Attempt], str]
) -> View:
    """Return what is to be shown of a sweep; `link_of` returns the link to an attempt's files."""
    items = _items(sweep, before, link_of)
    places = _Places()
    for one in items:
        places.add(one)
    columns = places.columns()
    rows = places.rows(columns)
    flaky: dict[Cell, list[Item]] = {}
    for one in items:
        if one.is_flaky:
            flaky.setdefault(same_cell(one.cell), []).append(one)
    return View(
        columns=tuple(columns),
        headings=tuple(_headings(columns)),
        rows=rows,
        items=items,
        told=tuple(
            sorted((one for one in items if one.told), key=lambda one: _GRAVITY[one.status])
        ),
        flaky=tuple(tuple(group) for group in flaky.values()),
        changes=None if before is None else _changes(sweep, before, items),
        filters=tuple(_filters(items)),
    )


def counted(count: Mapping[Status, int]) -> str:
    """Return how many there are of each status, in words."""
    return ", ".join(
        f"{count[status]:,} {word}" for status, word in _COUNTED.items() if count.get(status)
    )


def took(seconds: float) -> str:
    """Return a duration for people."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole // 60 % 60:02} min"


@dataclass
class _Places:
    """The cells, by build and column."""

    _found: dict[Build, dict[Column, list[Item]]] = field(default_factory=dict)

    def add(self, item: Item) -> None:
        row = self._found.setdefault(item.cell.build, {})
        row.setdefault(_column(item.cell), []).append(item)

    def columns(self) -> list[Column]:
        """Return all columns: those of a task next to each other, else in the matrix's order."""
        found = {
            column: _rank(row[column][0].cell) for row in self._found.values() for column in row
        }
        tasks = {column.heading: rank for column, rank in found.items()}
        order = {heading: number for number, heading in enumerate(tasks)}
        return sorted(found, key=lambda one: (tasks[one.heading], order[one.heading]))

    def rows(self, columns: Sequence[Column]) -> tuple[Row, ...]:
        return tuple(
            Row(
                build,
                _kernels(item for items in row.values() for item in items),
                tuple(_place(row[one]) if one in row else None for one in columns),
            )
            for build, row in self._found.items()
        )


def _kernels(items: Iterable[Item]) -> tuple[str, ...]:
    last = (one.result.last for one in items)
    return tuple(dict.fromkeys(one.kernel for one in last if one is not None and one.kernel))


def _place(items: Sequence[Item]) -> Place:
    return Place(tuple(sorted(items, key=lambda one: _GRAVITY[one.status])))


def _column(cell: Cell) -> Column:
    heading = f"{cell.task}, trigger {cell.trigger}" if cell.trigger else cell.task
    name = " ".join(word for word in (cell.policy, cell.file, cell.label) if word)
    words = (cell.task, cell.policy, cell.trigger, cell.file, cell.label)
    title = " ".join(word for word in words if word)
    return Column(heading, name, cell.policy, cell.trigger, title)


def _rank(cell: Cell) -> int:
    return _TASKS.index(cell.task) if cell.task in _TASKS else len(_TASKS)


def _headings(columns: Sequence[Column]) -> Iterable[Heading]:
    """Yield the headings above the columns, each over those next to each other that share it."""
    found: dict[str, list[int]] = {}
    for number, column in enumerate(columns):
        found.setdefault(column.heading, []).append(number)
    for text, numbers in found.items():
        is_alone = len(numbers) == 1 and not columns[numbers[0]].name
        yield Heading(text, tuple(numbers), is_alone)


def _items(
    sweep: SweepResult, before: SweepResult | None, link_of: Callable[[Attempt], str]
) -> tuple[Item, ...]:
    earlier = {} if before is None else {one.cell.title: one.status for one in before.cells}
    flaky = sweep.flaky()
    is_alone = Counter((one.cell.build, _column(one.cell)) for one in sweep.cells)
    lines = sum(
        len(one.attempts)
        for one in sweep.cells
        if one.status is not Status.PASSED or one.attempts[1:]
    )
    longest = max(_SHORTEST_LINE, min(_LONGEST_LINE, _ALL_LINES // max(lines, 1)))
    found = []
    for number, one in enumerate(sweep.cells, 1):
        title = one.cell.title
        was = earlier.get(title)
        # What a sweep has not come to yet is no change.
        is_known = bool(one.attempts) or sweep.finished
        found.append(
            Item(
                number=number,
                result=one,
                name="" if is_alone[one.cell.build, _column(one.cell)] == 1 else _name(one.cell),
                links=tuple(link_of(attempt) for attempt in one.attempts),
                lines=tuple(
                    _shortened(attempt.line or _NO_LINE, longest) for attempt in one.attempts
                ),
                before=was if was is not one.status and is_known else None,
                is_new=before is not None and was is None,
                is_flaky=title in flaky,
            )
        )
    return tuple(found)


def _name(cell: Cell) -> str:
    """Return what tells a cell from the others in its place."""
    if cell.seed is None:
        return f"repetition {cell.repetition}"
    again = f", repetition {cell.repetition}" if cell.repetition > 1 else ""
    return f"seed {cell.seed}{again}"


def _without_word(line: str) -> str:
    """Return a last line without the FAIL that it begins with also where there is no verdict."""
    return line.removeprefix("FAIL: ")


def _shortened(line: str, longest: int) -> str:
    line = public(line)
    return line if len(line) <= longest else f"{line[:longest]}…"


def _changes(sweep: SweepResult, before: SweepResult, items: Sequence[Item]) -> Changes:
    kinds: dict[tuple[Status, Status], list[Item]] = {}
    for one in items:
        if one.before is not None:
            kinds.setdefault((one.status, one.before), []).append(one)
    ordered = sorted(kinds, key=lambda kind: [_GRAVITY[status] for status in kind])
    titles = {one.cell.title for one in items}
    return Changes(
        before=before,
        changed=tuple((was, now, tuple(kinds[now, was])) for now, was in ordered),
        new=tuple(one for one in items if one.is_new),
        gone=tuple(one for one in before.cells if one.cell.title not in titles),
        has_other_file=before.sha256 != sweep.sha256,
    )


def _filters(items: Sequence[Item]) -> Iterable[tuple[str, tuple[str, ...]]]:
    """Yield what can be filtered by, each with its values; what has only one is left out."""
    found: dict[str, dict[str, None]] = {}
    for one in items:
        cell = one.cell
        kinds = {"kernel": cell.build.kernel, "policy": cell.policy, "trigger": cell.trigger}
        for what, value in kinds.items():
            if value:
                found.setdefault(what, {})[value] = None
    statuses = {one.status for one in items}
    yield "verdict", tuple(status.word for status in Status if status in statuses)
    yield from ((what, tuple(values)) for what, values in found.items())
    marks = {mark for one in items for mark in one.marks}
    if marks:
        yield "mark", tuple(sorted(marks))
