# SPDX-License-Identifier: MIT
"""The matrix of a sweep: a TOML file, expanded to its cells. docs/sweeps.md describes the file.

The cells are the product of the axes of each `[[run]]`, without what an `[[exclude]]` matches, and
then each `[[include]]`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from harness.bench.plan import PARTS
from harness.build.git_source import parse_git_source
from harness.core.boot_tests import boot_test_name
from harness.core.errors import UsageError
from harness.core.text import visible
from harness.scenarios.catalogue import SCENARIOS, check_trigger, policies_of, select
from harness.scenarios.fuzz_round import MOST_SEED
from harness.sweep import guess
from harness.sweep.cell import Build, Cell
from harness.sweep.matrix_file import (
    BuildOptions,
    Exclude,
    Include,
    MatrixFile,
    Run,
    Seeds,
    Work,
    at,
    keys_of,
    place,
    read_file,
)
from harness.targets.model import DEFAULT_TOOLCHAIN, TOOLCHAINS, QemuMachine
from harness.targets.table import get_target

# Before anything is left out.
MOST_CELLS = 10_000
_RANGE = re.compile(r"(?P<first>[0-9]{1,10})-(?P<last>[0-9]{1,10})(?:/(?P<step>[0-9]{1,10}))?")
_SEED_HINT = f'0 to {MOST_SEED}: a number, a range "0-99" or "0-90/10", or a list of these'


@dataclass(frozen=True)
class Task:
    """What a task has: axes besides those of all tasks, options, options of the build."""

    axes: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    build: tuple[str, ...] = ()


TASKS: Mapping[str, Task] = MappingProxyType(
    {
        "emulator-test": Task(
            axes=("policy", "trigger"),
            options=("scenarios",),
            build=("source", "emulator", "toolchain", "debug", "config", "patch"),
        ),
        "fuzz": Task(
            axes=("seed",),
            options=("rounds", "minutes"),
            build=("source", "emulator", "toolchain", "debug", "patch"),
        ),
        "bench": Task(options=("quick", "parts"), build=("source", "toolchain")),
        "boot-test": Task(axes=("file",), build=("source", "toolchain", "debug")),
    }
)
# The key of a `[[run]]` for each axis.
_KEYS: Mapping[str, str] = MappingProxyType(
    {
        "kernel": "kernels",
        "configuration": "configurations",
        "policy": "policies",
        "trigger": "triggers",
        "seed": "seeds",
        "file": "files",
        "repetition": "repetitions",
    }
)
_BUILD_AXES = ("kernel", "configuration")
# How many of the values on an axis an error names.
_SHOWN = 12

_W = TypeVar("_W", bound=Work)


@dataclass(frozen=True)
class Matrix:
    """The cells of a sweep, each with another title, and the content of the file."""

    name: str
    cells: tuple[Cell, ...]
    content: bytes

    @property
    def builds(self) -> tuple[Build, ...]:
        """The kernels that the cells need, each once."""
        return tuple(dict.fromkeys(cell.build for cell in self.cells))


@dataclass(frozen=True)
class _Point:
    """The values of a cell on the axes; `where` is the part of the file that asks for it."""

    where: str
    work: Work
    kernel: str
    configuration: str = ""
    policy: str = ""
    trigger: str = ""
    seed: int | None = None
    file: str = ""
    repetition: int = 1

    def value(self, axis: str) -> object:
        """Return its value on an axis, as an `[[exclude]]` names it."""
        return getattr(self.work if axis in ("task", "name") else self, axis)


def read_matrix(path: Path) -> Matrix:
    """Return the matrix in a TOML file; UsageError names the key that is wrong, in one line."""
    with at(visible(str(path))):
        file = read_file(path)
        points = tuple(_points(file))
        _check_number(len(points))
        if not points:
            raise UsageError(
                "there is no cell: all are excluded" if file.runs else "there is no [[run]]",
                hint="docs/sweeps.md describes the file",
            )
        cells = tuple(_cells(file, points, path.absolute().parent))
        return Matrix(file.title, cells, file.content)


# --- from the axes to points --------------------------------------------------------


def _points(file: MatrixFile) -> Iterator[_Point]:
    """Yield the points of all runs that no exclude matches, then those of the includes."""
    _check_words(file.axes)
    runs = []
    for where, run, given in _placed("run", file.runs, file.given):
        with at(where):
            _check_keys(run, given, tuple(_KEYS[axis] for axis in _axes_of(run)))
            _check_words(run)
            runs.append((where, run, _values(run, file.axes)))
    # Before the product is made, which may not fit into the memory.
    _check_number(sum(math.prod(map(len, axes.values())) for _, _, axes in runs))
    points = [
        _Point(where, run, **dict(zip(axes, values, strict=True)))
        for where, run, axes in runs
        for values in product(*axes.values())
    ]
    for number, exclude in enumerate(file.excludes, 1):
        with at(place("exclude", number)):
            _check_matches(exclude, points)
    yield from (
        point for point in points if not any(_matches(exclude, point) for exclude in file.excludes)
    )
    for where, include, given in _placed("include", file.includes, file.included):
        with at(where):
            yield _included(where, include, given)


def _placed(
    table: str, works: Sequence[_W], given: Sequence[Iterable[str]]
) -> Iterator[tuple[str, _W, Iterable[str]]]:
    for number, (work, keys) in enumerate(zip(works, given, strict=True), 1):
        yield place(table, number), work, keys


def _check_number(count: int) -> None:
    if count > MOST_CELLS:
        raise UsageError(f"{count:,} cells, at most {MOST_CELLS:,}", hint="several smaller files")


def _axes_of(work: Work) -> tuple[str, ...]:
    """Return the axes of the work's task; UsageError if no cell has such a task."""
    if work.task not in TASKS:
        raise UsageError(
            f"task: a cell cannot be {visible(work.task)!r}", hint=f"one of: {', '.join(TASKS)}"
        )
    return (*_BUILD_AXES, *TASKS[work.task].axes, "repetition")


def _check_keys(work: Work, given: Iterable[str], axes: Sequence[str]) -> None:
    """Check that the task has the axes and the options that were given, and the options."""
    known = ("task", "name", *axes, *TASKS[work.task].options)
    for key in given:
        if key not in known:
            raise UsageError(
                f"{key}: means nothing to {work.task}", hint=f"one of: {', '.join(known)}"
            )
    if work.rounds is not None and work.minutes is not None:
        raise UsageError("rounds and minutes: only one of them", hint="rounds = 1")
    for part in work.parts:
        if part not in PARTS:
            raise UsageError(
                f"parts: no part is called {visible(part)!r}", hint=f"one of: {', '.join(PARTS)}"
            )


def _check_words(axes: Run) -> None:
    """Check the values on axes that can be wrong by themselves."""
    for key, check in (
        ("kernels", get_target),
        ("policies", policies_of),
        ("triggers", check_trigger),
        ("files", boot_test_name),
    ):
        for word in getattr(axes, key) or ():
            with at(key):
                check(word)
    if axes.seeds is not None:
        with at("seeds"):
            _seeds(axes.seeds)


def _values(run: Run, defaults: Run) -> dict[str, Sequence[Any]]:
    """Return the values of a run on each of its axes: its own, or else the defaults."""
    axes: dict[str, Sequence[Any]] = {}
    for axis in _axes_of(run):
        own = getattr(run, _KEYS[axis])
        value = getattr(defaults, _KEYS[axis]) if own is None else own
        if axis == "seed":
            axes[axis] = _seeds(value)
        elif axis == "file":
            # Without files: one cell for all of them.
            axes[axis] = [""] if value is None else [boot_test_name(name) for name in value]
        elif axis == "repetition":
            axes[axis] = range(1, value + 1)
        else:
            axes[axis] = value
    return axes


def _seeds(seeds: Seeds) -> Sequence[int]:
    """Return the seeds in numbers and ranges, in their order."""
    ranges = [_range(one) for one in (seeds if isinstance(seeds, tuple) else [seeds])]
    _check_number(sum(map(len, ranges)))
    return [seed for one in ranges for seed in one]


def _range(told: int | str) -> range:
    if isinstance(told, int):
        found = range(told, told + 1)
    else:
        parsed = _RANGE.fullmatch(told)
        if parsed is None:
            raise UsageError(f"not a range: {visible(told[:40])!r}", hint=_SEED_HINT)
        first, last, step = (int(parsed[name] or 1) for name in ("first", "last", "step"))
        if last < first or step == 0:
            raise UsageError(f"no seed is in the range {told}", hint=_SEED_HINT)
        found = range(first, last + 1, step)
    if not 0 <= found[0] <= found[-1] <= MOST_SEED:
        raise UsageError(f"not a seed: {told}", hint=_SEED_HINT)
    return found


def _matches(exclude: Exclude, point: _Point) -> bool:
    return all(point.value(axis) in values for axis, values in exclude.values())


def _check_matches(exclude: Exclude, points: Sequence[_Point]) -> None:
    """Check that the exclude leaves something out, and that each of its values is in use."""
    if not any(True for _ in exclude.values()):
        raise UsageError("it names nothing", hint='kernel = "…", trigger = "…" and so on')
    for axis, values in exclude.values():
        known = {point.value(axis): None for point in points}
        for value in values:
            if value not in known:
                shown = ", ".join(str(one) for one in [*known][:_SHOWN] if one not in ("", None))
                raise UsageError(
                    f"{axis}: no cell has {visible(str(value))!r}",
                    hint=f"one of: {shown}" if shown else "leave it out",
                )
    if not any(_matches(exclude, point) for point in points):
        raise UsageError("no cell has all of these values", hint="leave it out, or look for a typo")


def _included(where: str, include: Include, given: Iterable[str]) -> _Point:
    """Return the point of an include, which has to name a value on each axis of its task."""
    axes = _axes_of(include)
    _check_keys(include, given, axes)
    for axis in TASKS[include.task].axes:
        # A boot-test without a file does all of them.
        if getattr(include, axis) in ("", None) and axis != "file":
            raise UsageError(f"{axis}: {include.task} needs one", hint=f"{axis} = …")
    with at("kernel"):
        get_target(include.kernel)
    if include.policy:
        with at("policy"):
            policies_of(include.policy)
    if include.trigger:
        with at("trigger"):
            check_trigger(include.trigger)
    if include.seed is not None:
        with at("seed"):
            _range(include.seed)
    values = {axis: getattr(include, axis) for axis in axes}
    if include.file:
        with at("file"):
            values["file"] = boot_test_name(include.file)
    return _Point(where, include, **values)


# --- from points to cells -----------------------------------------------------------


def _cells(file: MatrixFile, points: Sequence[_Point], folder: Path) -> Iterator[Cell]:
    """Yield the cells; UsageError if one cannot be run, or is there twice.

    Relative paths in the file are relative to `folder`.
    """
    for name in file.kernels:
        with at(f"[kernel.{name!r}]"):
            get_target(name)
    made: dict[tuple[str, str], Build] = {}
    commands: dict[tuple[object, ...], _Point] = {}
    titles: dict[str, _Point] = {}
    for point in points:
        key = (point.kernel, point.configuration)
        with at(point.where):
            options = _options_of(file, *key)
            _check_build(point, options)
            if key not in made:
                made[key] = Build(*key, words=tuple(_build_words(point.kernel, options, folder)))
            cell = _cell(point, made[key], options.debug)
            other = commands.setdefault((cell.command, cell.repetition), point)
            if other is not point:
                raise UsageError(
                    f"{cell.title!r} is there already, by {other.where}", hint="repetitions = 2"
                )
            other = titles.setdefault(cell.title, point)
            if other is not point:
                raise UsageError(
                    f"{cell.title!r} is also the name of a cell of {other.where}",
                    hint='name = "…" in one of them',
                )
        yield cell


def _options_of(file: MatrixFile, kernel: str, configuration: str) -> BuildOptions:
    """Return the options of a build: the configuration's, or else the kernel's."""
    if configuration and configuration not in file.configurations:
        known = ", ".join(file.configurations)
        raise UsageError(
            f"configurations: there is no [configuration.{configuration!r}]",
            hint=f'one of: {known}; "" is the kernel\'s own' if known else "add this table",
        )
    own = file.configurations.get(configuration, BuildOptions())
    others = file.kernels.get(kernel, BuildOptions())
    names = keys_of(BuildOptions)
    return BuildOptions(**{name: getattr(own, name) or getattr(others, name) for name in names})


def _check_build(point: _Point, options: BuildOptions) -> None:
    """Check that the task takes the options, and that the kernel can be built and run with them."""
    excluded = f'[[exclude]] with kernel = "{point.kernel}"'
    if point.configuration:
        excluded += f', configuration = "{point.configuration}"'
    for name in keys_of(BuildOptions):
        if getattr(options, name) and name not in TASKS[point.work.task].build:
            raise UsageError(
                f"{point.work.task} has no --{name}, which {point.kernel} has in the configuration"
                f" {point.configuration!r}",
                hint="give this run its own configurations = […]",
            )
    target = get_target(point.kernel)
    if options.emulator:
        with at("emulator"):
            target = get_target(point.kernel, options.emulator)
            if not isinstance(target.machine, QemuMachine):
                raise UsageError("a sweep runs on QEMU only", hint='emulator = "qemu"')
    with at("toolchain", excluded if options.toolchain in TOOLCHAINS else ""):
        target.with_toolchain(options.toolchain or DEFAULT_TOOLCHAIN)


def _build_words(kernel: str, options: BuildOptions, folder: Path) -> Iterator[str]:
    """Yield the words of a build for the command line; UsageError if a file is not there."""
    yield from ("--kernel", kernel)
    if options.source:
        with at("source"):
            yield from ("--source", _source(options.source, folder))
    if options.emulator:
        yield from ("--emulator", options.emulator)
    if options.toolchain:
        yield from ("--toolchain", options.toolchain)
    if options.debug:
        yield "--debug"
    if options.config:
        with at("config"):
            yield from ("--config", _file(options.config, folder))
    patches = options.patch if isinstance(options.patch, tuple) else [options.patch]
    for patch in filter(None, patches):
        with at("patch"):
            yield from ("--patch", _file(patch, folder))


def _source(text: str, folder: Path) -> str:
    """Return a --source for any working directory: an absolute path, or a git URL."""
    path = _path(text, folder)
    if path is not None:
        return str(path)
    url, commit = parse_git_source(text)
    path = _path(url, folder)
    return text if path is None else f"{path}@{commit}"


def _file(text: str, folder: Path) -> str:
    path = _path(text, folder)
    if path is None or not path.is_file():
        raise UsageError(
            f"there is no such file: {visible(text)}", hint="relative paths begin at the matrix"
        )
    return str(path)


def _path(text: str, folder: Path) -> Path | None:
    """Return the absolute path that the text names, if something is there."""
    # A name may be too long, have a NUL, or a user that does not exist.
    with suppress(OSError, ValueError, RuntimeError):
        path = folder / Path(text).expanduser()
        if path.exists():
            return path.resolve()
    return None


def _cell(point: _Point, build: Build, debug: bool) -> Cell:
    work = point.work
    return Cell(
        build,
        work.task,
        tuple(_words(point)),
        policy=point.policy,
        trigger=point.trigger,
        seed=point.seed,
        file=point.file,
        repetition=point.repetition,
        seconds=guess.seconds_of(
            work, point.policy, point.file, daemon=point.trigger == "daemon", debug=debug
        ),
        label=work.name,
    )


def _words(point: _Point) -> Iterator[str]:
    """Yield the words of the task other than those of the build."""
    work = point.work
    if point.policy:
        yield from ("--policy", point.policy)
    if point.trigger:
        yield from ("--trigger", point.trigger)
        known = {one.name for one in SCENARIOS}.issuperset(work.scenarios)
        with at("scenarios", "a run of its own for these scenarios" if known else ""):
            select(tuple(work.scenarios) or None, point.trigger)
    for scenario in work.scenarios:
        yield from ("--scenario", scenario)
    if point.seed is not None:
        yield from ("--seed", str(point.seed))
        if work.minutes is None:
            yield from ("--rounds", str(work.rounds or guess.ROUNDS))
        else:
            yield from ("--minutes", f"{work.minutes:g}")
    if point.file:
        yield from ("--file", point.file)
    if work.quick:
        yield "--quick"
    for part in work.parts:
        yield from ("--part", part)
