# SPDX-License-Identifier: MIT
"""Patch series as data: the `series` file, the patches, and the output of `patch`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple, get_args

from unidiff.errors import UnidiffParseError
from unidiff.patch import PatchedFile, PatchSet

from harness.core.errors import PatchError

# "in the tree" and "not needed" are reasons why a patch is left out.
Outcome = Literal["applies", "fuzz", "conflict", "in the tree", "not needed"]
Tool = Literal["gcc", "binutils", "hostgcc", "make", "perl"]
TOOLS: tuple[Tool, ...] = get_args(Tool)

# Patches for faults of old trees, which many trees have fixed long ago. A script beside a patch
# tells whether the tree has the fault (harness/build/tree_faults.py).
_OPTIONAL = "compat/"
# The default of GNU patch.
_MOST_FUZZ = 2
_CONDITION = re.compile(r"(?P<tool>\w+)>=(?P<since>\d+(?:\.\d+)*)")

# Terminal colours, as `git diff --color=always` writes them.
_COLOUR = re.compile(r"^\x1b\[[0-9;]*m(?:diff|---|\+\+\+|@@)", re.MULTILINE)
# What git writes for a merge: one column for each parent.
_COMBINED = re.compile(r"^@@@+ ", re.MULTILINE)
_GIT_FILE = re.compile(r"^diff --git (?P<names>.+)$", re.MULTILINE)
_PREFIXED = "make it with git diff --src-prefix=a/ --dst-prefix=b/"

_FILE = re.compile(r"(?:patching|checking) file '?(?P<file>[^']+?)'?(?: \(.*\))?")
_FAILED = re.compile(r"Hunk #(?P<hunk>\d+) (?:FAILED|ignored) at (?P<line>\d+)\b.*")
_MOVED = re.compile(
    r"Hunk #(?P<hunk>\d+) succeeded at \d+"
    r"(?: with fuzz (?P<fuzz>\d+))?(?: \(offset (?P<offset>.+)\))?\."
)
_QUOTED_OLD = re.compile(r"\|--- (?:[^/\s]+/)?(?P<file>\S+).*")
_EXISTS = re.compile(r"The next patch would create the file '?(?P<file>[^']+?)'?,")
_GONE = re.compile(r"The next patch would delete the file '?(?P<file>[^']+?)'?,")


@dataclass(frozen=True)
class Condition:
    """The condition that `tool` is of version `since` or later."""

    tool: Tool
    since: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.tool}>={'.'.join(map(str, self.since))}"


@dataclass(frozen=True)
class Step:
    """One step of a series: the first of `patches` that applies.

    They are names of files in `folder`; `ours`: from `kernel_patches/`.
    """

    patches: tuple[str, ...]
    condition: Condition | None = None
    folder: Path = Path()
    ours: bool = True

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of the patches."""
        return tuple(self.folder / name for name in self.patches)

    @property
    def optional(self) -> bool:
        """Whether a tree that already has the change needs no patch."""
        return self.patches[0].startswith(_OPTIONAL)


class Applied(NamedTuple):
    """The result of applying a patch; `detail` names file and hunk of everything unusual."""

    outcome: Outcome
    detail: str


def parse_series(text: str, name: str) -> tuple[Step, ...]:
    """Return the steps that a `series` file lists, in order.

    A line is `PATCH [| PATCH]... [TOOL>=VERSION]`; the patches are beside the file or in
    `compat/`. `#` begins a comment, and a line that ends with a backslash goes on in the next
    one. Raises PatchError, naming `name` and the line, if a line has another form, or names a
    patch for the second time.
    """
    steps: list[Step] = []
    seen: set[str] = set()
    words: list[str] = []
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.split("#", 1)[0].strip()
        words += line.removesuffix("\\").split()
        if line.endswith("\\") or not words:
            continue
        step = _step(words, f"{name}:{number}")
        for patch in step.patches:
            if patch in seen:
                raise PatchError(f"{name}:{number}: {patch} is listed twice")
            seen.add(patch)
        steps.append(step)
        words = []
    if words:
        raise PatchError(f"{name}: the last line ends with a backslash")
    return tuple(steps)


def _step(words: list[str], place: str) -> Step:
    condition = _condition(words[-1], place) if ">=" in words[-1] else None
    names = words[: len(words) - (condition is not None)]
    if len(names) % 2 == 0 or any(word != "|" for word in names[1::2]):
        raise PatchError(f"{place}: not the name of a patch beside it: {' '.join(words)}")
    for patch in names[::2]:
        if "/" in patch.removeprefix(_OPTIONAL) or patch in ("|", ".", "..", _OPTIONAL):
            raise PatchError(f"{place}: not the name of a patch beside it: {patch}")
    return Step(tuple(names[::2]), condition)


def _condition(word: str, place: str) -> Condition:
    found = _CONDITION.fullmatch(word)
    for tool in TOOLS:
        if found is not None and found["tool"] == tool:
            return Condition(tool, tuple(map(int, found["since"].split("."))))
    raise PatchError(
        f"{place}: not a condition: {word}", hint=f"TOOL>=VERSION, with one of {', '.join(TOOLS)}"
    )


def most_fuzz(text: str, name: str) -> int:
    """Return how many lines of context `patch` may ignore, so that at least one has to match.

    A hunk without any context would apply anywhere. Raises PatchError as `touched_files` does.
    """
    context = _MOST_FUZZ + 1
    for file in _patched_files(text, name):
        for hunk in file:
            kinds = [line.line_type for line in hunk]
            before = next((i for i, kind in enumerate(kinds) if kind != " "), 0)
            after = next((i for i, kind in enumerate(reversed(kinds)) if kind != " "), 0)
            context = min(context, max(before, after))
    return max(context - 1, 0)


def touched_files(text: str, name: str) -> tuple[str, ...]:
    """Return the files that a patch reads or writes, relative to the tree, in order.

    Raises PatchError if the text is no patch, is truncated, or names a file outside the tree.
    """
    touched: dict[str, None] = {}
    level = strip_level(text)
    for file in _patched_files(text, name):
        for side in (file.source_file, file.target_file):
            if side != "/dev/null":
                touched[_inside(side, name, level)] = None
    return tuple(touched)


def strip_level(text: str) -> int:
    """Return how many folders to strip from a patch's file names, as for `patch -p`.

    With diff.noprefix git writes no prefix, and both names are the same. Otherwise they begin
    with a/ and b/, or with two other letters.
    """
    heads = [found["names"].strip() for found in _GIT_FILE.finditer(text)]
    return 0 if heads and all(_is_twice_the_same(head) for head in heads) else 1


def _is_twice_the_same(names: str) -> bool:
    half = len(names) // 2
    return names[half : half + 1] == " " and names[:half] == names[half + 1 :]


def _patched_files(text: str, name: str) -> list[PatchedFile]:
    if reason := _unreadable(text):
        raise PatchError(f"{name} {reason[0]}", hint=reason[1])
    try:
        files = list(PatchSet(text))
    except UnidiffParseError as error:
        raise PatchError(f"{name} is damaged: {error}") from error
    if not files:
        raise PatchError(f"{name} holds no change (is it a patch in unified form?)")
    return files


def _unreadable(text: str) -> tuple[str, str] | None:
    """Return why a text is no usable patch, and what to do; None if no such reason is known."""
    if _COLOUR.search(text):
        return "has the colours of a terminal in it", "make it with git diff --no-color"
    if "\0" in text:
        return "is not in UTF-8 (PowerShell's > writes UTF-16)", "git diff --output=FILE"
    if _COMBINED.search(text):
        return "is the difference to both parents of a merge", "git diff FIRST-PARENT"
    return None


def _inside(path: str, name: str, level: int) -> str:
    """Return `a/mm/x.c` as `mm/x.c`; a path that leads out of the tree is refused."""
    parts = PurePosixPath(path).parts
    if path.startswith("/") or ".." in parts or len(parts) <= level:
        raise PatchError(f"{name} names a file that is not in a/ or b/: {path}", hint=_PREFIXED)
    return "/".join(parts[level:])


def classify(status: int, output: str) -> Applied:
    """Return what `patch`'s exit status and output (in English) mean."""
    notes: dict[str, list[str]] = {"conflict": [], "fuzz": [], "offset": []}
    file = "?"
    for line in output.splitlines():
        if found := _FILE.fullmatch(line) or _QUOTED_OLD.fullmatch(line):
            file = found["file"]
        elif noted := _note(line, file):
            notes[noted[0]].append(noted[1])
    if notes["conflict"]:
        return Applied("conflict", "; ".join(notes["conflict"]))
    if status != 0:
        said = [line for line in output.splitlines() if line.strip()]
        return Applied("conflict", said[-1] if said else "patch failed and said nothing")
    if notes["fuzz"]:
        return Applied("fuzz", "; ".join(notes["fuzz"]))
    return Applied("applies", "; ".join(notes["offset"]))


def _note(line: str, file: str) -> tuple[str, str] | None:
    """Return the kind and a text for a noteworthy line of `patch` about `file`, or None."""
    if found := _FAILED.fullmatch(line):
        return "conflict", f"{file}: hunk {found['hunk']}, at line {found['line']}"
    if line.startswith("Reversed (or previously applied) patch detected"):
        return "conflict", f"{file}: hunk 1 is in the file already"
    if line.startswith("No file to patch."):
        return "conflict", f"{file}: no such file in the tree"
    if found := _EXISTS.fullmatch(line):
        return "conflict", f"{found['file']}: the file is to be made, and is there already"
    if found := _GONE.fullmatch(line):
        return "conflict", f"{found['file']}: the file is to be deleted, and is not as expected"
    if found := _MOVED.fullmatch(line):
        if found["fuzz"]:
            return "fuzz", f"{file}: hunk {found['hunk']}, fuzz {found['fuzz']}"
        if found["offset"]:
            return "offset", f"{file}: hunk {found['hunk']}, offset {found['offset']}"
    return None
