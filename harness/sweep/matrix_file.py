# SPDX-License-Identifier: MIT
"""The TOML file of a matrix: its keys, their types, and errors that name them."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from harness.core.errors import UsageError
from harness.core.text import visible
from harness.targets.model import DEFAULT_TARGET

T = TypeVar("T")

# msgspec 0.22 may crash at the end of a process that has a Meta with a pattern, so values are
# checked here: see _check_values().
_Names = tuple[str, ...]
# Numbers, and ranges as text.
Seeds = int | str | tuple[int | str, ...]

_PLACE = re.compile(r"(?P<what>.*?)(?: - at `\$?\.?(?P<where>.*)`)?", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(\w+)`.*")
_WORDS = {
    "array": "a list",
    "bool": "true or false",
    "float": "a number",
    "int": "a whole number",
    "null": "nothing",
    "object": "a table",
    "str": "text",
}
_IN_QUOTES = 'a name with a dot needs quotes: [kernel."…"]'
_MOST_BYTES = 1 << 20
# A name becomes a part of the names of cells and of files.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,39}")
_NAME_HINT = "letters, digits and . _ + -, at most 40 characters"
_NAMES = ("name", "configuration", "configurations")
_COUNTS = ("rounds", "minutes", "repetition", "repetitions")
_MOST = 1_000_000


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """How a kernel is built and what it boots on; empty values are the task's defaults.

    `source` and `emulator` are the tasks' options of these names, and so are the others. `config`
    and `patch` are files.
    """

    source: str = ""
    emulator: str = ""
    toolchain: str = ""
    debug: bool = False
    config: str = ""
    patch: str | _Names = ""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What is run, and how. `name` tells apart two runs that differ only in these options.

    `scenarios` are for emulator-test, `rounds` and `minutes` for fuzz, `quick` and `parts` for
    bench.
    """

    task: str
    name: str = ""
    scenarios: _Names = ()
    rounds: int | None = None
    minutes: float | None = None
    quick: bool = False
    parts: _Names = ()


@dataclass(frozen=True, kw_only=True)
class Run(Work):
    """A `[[run]]`: what is run, with axes that take the place of the file's; None: the file's."""

    kernels: _Names | None = None
    configurations: _Names | None = None
    policies: _Names | None = None
    triggers: _Names | None = None
    seeds: Seeds | None = None
    files: _Names | None = None
    repetitions: int | None = None


@dataclass(frozen=True, kw_only=True)
class Include(Work):
    """An `[[include]]`: one further cell. Nothing is taken from the file's axes."""

    kernel: str
    configuration: str = ""
    policy: str = ""
    trigger: str = ""
    seed: int | None = None
    file: str = ""
    repetition: int = 1


@dataclass(frozen=True, kw_only=True)
class Exclude:
    """An `[[exclude]]`: the values of cells that are left out; None matches all."""

    task: str | _Names | None = None
    name: str | _Names | None = None
    kernel: str | _Names | None = None
    configuration: str | _Names | None = None
    policy: str | _Names | None = None
    trigger: str | _Names | None = None
    seed: int | tuple[int, ...] | None = None
    file: str | _Names | None = None
    repetition: int | tuple[int, ...] | None = None

    def values(self) -> Iterator[tuple[str, Sequence[object]]]:
        """Yield each axis that it names, with the values that are left out."""
        for axis in keys_of(Exclude):
            value = getattr(self, axis)
            if value is not None:
                yield axis, value if isinstance(value, tuple) else [value]


@dataclass(frozen=True, kw_only=True)
class _File:
    """The whole file; its inner tables are converted one by one, so that errors name them."""

    title: str = ""
    kernels: _Names = (DEFAULT_TARGET,)
    configurations: _Names = ("",)
    policies: _Names = ("rss",)
    triggers: _Names = ("alloc",)
    seeds: Seeds = (0,)
    repetitions: int = 1
    kernel: dict[str, dict[str, Any]] = field(default_factory=dict)
    configuration: dict[str, dict[str, Any]] = field(default_factory=dict)
    run: list[dict[str, Any]] = field(default_factory=list)
    exclude: list[dict[str, Any]] = field(default_factory=list)
    include: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class MatrixFile:
    """What the file says, and its `content`.

    `axes` has the file's own axes, which the runs' replace. `given` are the keys of each run and
    `included` those of each include, as they are written.
    """

    title: str
    content: bytes
    axes: Run
    kernels: Mapping[str, BuildOptions]
    configurations: Mapping[str, BuildOptions]
    runs: tuple[Run, ...]
    excludes: tuple[Exclude, ...]
    includes: tuple[Include, ...]
    given: tuple[frozenset[str], ...]
    included: tuple[frozenset[str], ...]


def keys_of(kind: type[Any]) -> tuple[str, ...]:
    """Return the keys that a table of the file may have."""
    return tuple(one.name for one in fields(kind))


@contextmanager
def at(where: str, hint: str = "") -> Iterator[None]:
    """Have a UsageError begin with the key that is wrong; `hint` takes the place of its own."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{where}: {error.message}", hint=hint or error.hint) from error


def place(table: str, number: int) -> str:
    """Return how an error names an entry of a list of tables, such as `[[run]] 2`."""
    return f"[[{table}]] {number}"


def read_file(path: Path) -> MatrixFile:
    """Read a matrix's file; UsageError names what is wrong in it, but not the file."""
    content = _content(path)
    raw = _toml(content)
    told = _convert(_File, raw)
    axes = ("kernels", "configurations", "policies", "triggers", "seeds", "repetitions")
    if not told.title.isprintable():
        raise UsageError(f"title: {visible(told.title)} is not printable")
    return MatrixFile(
        title=told.title or path.stem,
        content=content,
        axes=Run(task="", **{axis: getattr(told, axis) for axis in axes}),
        kernels=dict(_options("kernel", told.kernel)),
        configurations=dict(_options("configuration", told.configuration)),
        runs=tuple(_all(Run, "run", told.run)),
        excludes=tuple(_all(Exclude, "exclude", told.exclude)),
        includes=tuple(_all(Include, "include", told.include)),
        given=tuple(frozenset(one) for one in told.run),
        included=tuple(frozenset(one) for one in told.include),
    )


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            content = stream.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "this is no path"
        raise UsageError(f"cannot be read: {why}", hint="docs/sweeps.md has an example") from error
    if len(content) > _MOST_BYTES:
        raise UsageError(f"is larger than {_MOST_BYTES >> 20} MiB", hint="name a TOML file")
    return content


def _toml(content: bytes) -> dict[str, Any]:
    hint = "docs/sweeps.md describes the file"
    try:
        return tomllib.loads(content.decode())
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UsageError(f"line {line} is not UTF-8", hint="save it as UTF-8") from error
    except RecursionError as error:
        raise UsageError("is nested too deeply", hint=hint) from error
    except ValueError as error:
        raise UsageError(f"is no TOML: {visible(str(error))}", hint=hint) from error


def _options(table: str, found: Mapping[str, dict[str, Any]]) -> Iterator[tuple[str, BuildOptions]]:
    """Yield the options of each kernel, or of each configuration."""
    for name, raw in found.items():
        where = f"[{table}.{visible(name)!r}]"
        inner = [key for key, value in raw.items() if isinstance(value, dict)]
        if inner:
            raise UsageError(f"{where}: unknown key {visible(inner[0])!r}", hint=_IN_QUOTES)
        if not _NAME.fullmatch(name):
            raise UsageError(f"{where}: not a name", hint=_NAME_HINT)
        with at(where):
            yield name, _convert(BuildOptions, raw)


def _all(kind: type[T], table: str, found: Sequence[dict[str, Any]]) -> Iterator[T]:
    for number, raw in enumerate(found, 1):
        with at(place(table, number)):
            yield _convert(kind, raw)


def _convert(kind: type[T], raw: dict[str, Any]) -> T:
    known = keys_of(kind)
    unknown = [key for key in raw if key not in known]
    if unknown:
        raise UsageError(f"unknown key {visible(unknown[0])!r}", hint=f"one of: {', '.join(known)}")
    try:
        found = msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        missing = _MISSING.fullmatch(str(error))
        if missing is not None:
            raise UsageError(f"{missing[1]}: it is missing", hint=f"{missing[1]} = …") from error
        told = _PLACE.fullmatch(str(error))
        assert told is not None
        what = _in_words(told["what"])
        raise UsageError(f"{told['where']}: {what}" if told["where"] else what) from error
    for key in raw:
        with at(key):
            _check_value(key, getattr(found, key))
    return found


def _check_value(key: str, value: object) -> None:
    """Check what the types do not say: names, numbers that count something, no empty list."""
    if value == ():
        raise UsageError("the list is empty", hint="leave it out, or name something")
    if key in _COUNTS and isinstance(value, int | float) and not 0 < value <= _MOST:
        raise UsageError(f"{value:g} is not a number above 0 and up to {_MOST:,}")
    names = value if isinstance(value, tuple) else (value,) if isinstance(value, str) else ()
    if key in _NAMES and not all(one == "" or _NAME.fullmatch(one) for one in names):
        raise UsageError("not a name", hint=_NAME_HINT)


def _in_words(text: str) -> str:
    """Return msgspec's message with the words of TOML for its types."""
    text = re.sub(r"`([^`]*)`", lambda found: _kinds(found[1]), text)
    return visible(text[:1].lower() + text[1:])


def _kinds(names: str) -> str:
    kinds = [one for one in names.split(" | ") if one != "null" or names == "null"]
    return " or ".join(_WORDS.get(one, one) for one in kinds)
