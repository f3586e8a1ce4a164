# SPDX-License-Identifier: MIT
"""Patch series as data: the `series` file, the patches, what `patch` says of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from unidiff.errors import UnidiffParseError
from unidiff.patch import PatchSet

from harness.errors import PatchError

Outcome = Literal["applies", "fuzz", "conflict"]

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
class Applied:
    """How a patch went on: `detail` names file and hunk of whatever is not plain."""

    outcome: Outcome
    detail: str


def parse_series(text: str, name: str) -> tuple[str, ...]:
    """The patches that a `series` file lists, in order.

    `#` begins a comment. Raises PatchError, naming `name` and the line, where
    a line is not one file name, or names a patch for the second time.
    """
    patches: list[str] = []
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.split("#", 1)[0].strip()
        if not line:
            continue
        if len(line.split()) != 1 or "/" in line or line in (".", ".."):
            raise PatchError(f"{name}:{number}: not the name of a patch beside it: {line}")
        if line in patches:
            raise PatchError(f"{name}:{number}: {line} is listed twice")
        patches.append(line)
    return tuple(patches)


def touched_files(text: str, name: str) -> tuple[str, ...]:
    """The files that a patch reads or writes, relative to the tree, in order.

    Raises PatchError where the text is no patch, is cut off, or names a file
    outside the tree.
    """
    try:
        files = list(PatchSet(text))
    except UnidiffParseError as error:
        raise PatchError(f"{name} is damaged: {error}") from error
    if not files:
        raise PatchError(f"{name} holds no change (is it a patch in unified form?)")
    touched: dict[str, None] = {}
    for file in files:
        for side in (file.source_file, file.target_file):
            if side != "/dev/null":
                touched[_inside(side, name)] = None
    return tuple(touched)


def _inside(path: str, name: str) -> str:
    """`a/mm/x.c` as `mm/x.c`; what leads out of the tree is refused."""
    parts = PurePosixPath(path).parts
    if path.startswith("/") or ".." in parts or len(parts) < 2:
        raise PatchError(f"{name} names a file that is not in a/ or b/: {path}")
    return "/".join(parts[1:])


def classify(status: int, output: str) -> Applied:
    """What `patch`'s exit status and output (in English) say."""
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
    """A line of `patch` about `file` that is worth telling: its kind, and a text."""
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
