# SPDX-License-Identifier: MIT
"""Patched kernel trees.

What a patched tree has over the pristine one is computed as an overlay: the
files of `kernel_patches/common/` and the patched copies of those that the
patches touch. A work tree is a copy of the pristine tree that is brought in
step with an overlay by writing only the files that differ. So the times of all
others stay, make rebuilds only what changed, repeating it changes nothing, and
a tree that a killed run left half-applied is mended on the way.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.build import source
from harness.build.series import (
    Applied,
    Outcome,
    Step,
    classify,
    most_fuzz,
    parse_series,
    strip_level,
    touched_files,
)
from harness.build.source import KernelSource
from harness.build.toolchain import is_needed, tool_version
from harness.build.tree_faults import is_sound, script_of
from harness.core.cache import digest, disk_full_named
from harness.core.errors import PatchError, UsageError, VerdictError
from harness.core.paths import COMMON, REPO
from harness.core.process import require, run
from harness.targets.model import Target
from harness.ui.workspace import Workspace

Kind = Literal["file", "program", "link"]

# What editors and failed patches leave beside a file.
_LEFTOVERS = ("~", ".orig", ".rej", ".swp")


@dataclass(frozen=True)
class PatchReport:
    """How one patch of the series goes on; `detail` names files and hunks."""

    patch: str
    outcome: Outcome
    detail: str


@dataclass(frozen=True)
class PatchStep:
    """A step of a series, and the files of its patches; `ours`: from `kernel_patches/`."""

    files: tuple[Path, ...]
    step: Step
    ours: bool = True


@dataclass(frozen=True)
class TreeFile:
    """A file as it is in a tree; the data of a link is where it leads."""

    data: bytes
    kind: Kind


# Path in the tree to what is there; None where the file is deleted.
Overlay = Mapping[str, TreeFile | None]


def read_file(path: Path) -> TreeFile | None:
    """What is at `path`, or None where there is no file."""
    try:
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            return TreeFile(os.fsencode(path.readlink()), "link")
        if stat.S_ISREG(status.st_mode):
            return TreeFile(path.read_bytes(), "program" if status.st_mode & 0o100 else "file")
    except (FileNotFoundError, NotADirectoryError):
        pass
    return None


# --- what there is to apply -------------------------------------------------


def steps(target: Target, extra: Sequence[Path] = ()) -> list[PatchStep]:
    """The steps of `target`'s series in their order, those of `extra` last.

    Raises PatchError where the series is missing or names a patch that is not
    there, and UsageError where one of `extra` is not.
    """
    series = target.patches / "series"
    try:
        listed = parse_series(series.read_text(), f"{target.name}/series")
    except FileNotFoundError:
        raise PatchError(
            f"{target.name} has no patch series: {series} is missing",
            hint="an incomplete checkout? git status",
        ) from None
    found = [
        PatchStep(tuple(target.patches / name for name in step.patches), step) for step in listed
    ]
    if not target.patched:
        found = [step for step in found if step.step.optional]
    for step in found:
        for patch in step.files:
            if not patch.is_file():
                raise PatchError(f"{target.name}/series lists {patch.name}, which is not beside it")
    for patch in extra:
        if not patch.is_file():
            raise UsageError(f"no such patch: {patch}")
    return [*found, *(PatchStep((patch,), Step((patch.name,)), ours=False) for patch in extra)]


def patch_files(target: Target, extra: Sequence[Path] = ()) -> list[Path]:
    """Every patch for `target`; errors as those of `steps`."""
    return [patch for step in steps(target, extra) for patch in step.files]


def common_files(target: Target) -> dict[str, TreeFile]:
    """The files of `kernel_patches/common/`, by their path in a kernel tree."""
    files: dict[str, TreeFile] = {}
    if not target.patched:
        return files
    for path in sorted(COMMON.rglob("*")):
        hidden = path.name.startswith(".") or path.name.endswith(_LEFTOVERS)
        if not hidden and (file := read_file(path)) is not None:
            files[path.relative_to(COMMON).as_posix()] = file
    return files


def inputs(target: Target, extra: Sequence[Path] = ()) -> dict[str, bytes]:
    """Everything that decides what an overlay on a given tree is, by name."""
    found = {f"common/{name}": file.data for name, file in common_files(target).items()}
    number = 0
    for step in steps(target, extra):
        if is_needed(target, step.step.condition):
            for patch in step.files:
                number += 1
                found[f"patch {number}: {patch.name}"] = patch.read_bytes()
            found.update(_fault_inputs(target, step))
    return found


def _fault_inputs(target: Target, step: PatchStep) -> dict[str, bytes]:
    """What decides, beside the tree, whether a step finds its fault."""
    script = script_of(step.files[0])
    if script is None:
        return {}
    inputs = {f"fault: {script.name}": script.read_bytes()}
    if (condition := step.step.condition) is not None:
        version = tool_version(target, condition.tool)
        inputs[f"tool: {condition.tool}"] = repr(version).encode()
    return inputs


# --- the overlay ------------------------------------------------------------


def check(ws: Workspace, source: KernelSource, extra: Sequence[Path] = ()) -> list[PatchReport]:
    """Tries every patch, each on top of those before it; no tree is touched."""
    with ws.reporter.phase("check patches"):
        return _try(source, extra)[0]


def overlay(
    ws: Workspace, source: KernelSource, extra: Sequence[Path] = ()
) -> dict[str, TreeFile | None]:
    """What the patched tree has over `source`.

    Raises PatchError, naming patch, file and hunk, where a patch conflicts;
    says so where one applies with fuzz.
    """
    reports, files = _try(source, extra)
    for report in reports:
        if report.outcome == "conflict":
            raise PatchError(
                f"{report.patch} does not apply to {source.origin}: {report.detail}",
                hint="./inv patch-kernel --check tries all patches",
            )
        if report.outcome == "fuzz":
            ws.reporter.say(f"{report.patch} applies with fuzz: {report.detail}")
        elif report.outcome == "in the tree":
            ws.reporter.say(f"{report.patch} is left out: {source.origin} has it already")
    return files


def _try(
    source: KernelSource, extra: Sequence[Path]
) -> tuple[list[PatchReport], dict[str, TreeFile | None]]:
    """Applies everything to copies, in a scratch folder, of the files it touches."""
    require("patch")
    common = common_files(source.target)
    with tempfile.TemporaryDirectory(prefix="gfoom-patch-") as name:
        stage = Path(name)
        staged = set(common)
        for path, file in common.items():
            if read_file(source.tree / path) is not None:
                raise PatchError(
                    f"{source.origin} has a file of kernel_patches/common already: {path}",
                    hint="is it patched already? give an unpatched source",
                )
            write_file(stage / path, file)
        reports = [_take(step, source, stage, staged) for step in steps(source.target, extra)]
        files = {path: read_file(stage / path) for path in sorted(staged)}
    reports += _taken_syscalls(source)
    changed = {path: f for path, f in files.items() if f != read_file(source.tree / path)}
    return reports, changed


def _taken_syscalls(source: KernelSource) -> list[PatchReport]:
    """Our syscalls whose numbers the unpatched tree gives to somebody else."""
    listed = source.target.syscall_list
    file = read_file(source.tree / listed.file)
    ours = {number: name for name, number in source.target.syscalls.items()}
    reports = []
    lines = file.data.decode(errors="replace").splitlines() if file is not None else []
    for place, line in enumerate(lines, start=1):
        found = re.fullmatch(listed.pattern, line)
        if found is not None and (name := ours.get(int(found["number"]))) is not None:
            detail = f"{listed.file}:{place}: {found['number']} is {found['name']} already"
            reports.append(PatchReport(f"syscall {name}", "conflict", detail))
    return reports


def _take(step: PatchStep, source: KernelSource, stage: Path, staged: set[str]) -> PatchReport:
    """Takes one step in `stage`: the first of its patches that applies there."""
    condition = step.step.condition
    if not is_needed(source.target, condition):
        return PatchReport(step.files[0].name, "not needed", f"only for {condition}")
    script = script_of(step.files[0])
    if script is not None and is_sound(source.target, script, source.tree):
        return PatchReport(step.files[0].name, "not needed", "the tree has no such fault")
    for patch in step.files:
        _bring(patch, source.tree, stage, staged)
    *others, last = step.files
    conflicts = []
    for patch in others:
        tried = _patch(patch, stage, "--dry-run", "--fuzz=0")
        if tried.outcome == "applies":
            return PatchReport(patch.name, *_outcome(_patch(patch, stage, "--fuzz=0")))
        conflicts.append(f"{patch.name}: {tried.detail}")
    if step.step.optional:
        backwards = _patch(last, stage, "--dry-run", "--fuzz=0", "--reverse")
        if backwards.outcome == "applies":
            return PatchReport(last.name, "in the tree", "")
    # Our hunks have little context, of which none may be left out. With a user's
    # patch this is to be as tolerant as `patch` by itself.
    options = [f"--fuzz={most_fuzz(_text(last), last.name)}"] if step.ours else []
    applied = _patch(last, stage, *options)
    if applied.outcome == "conflict" and conflicts:
        detail = "; ".join([applied.detail, "nor", *conflicts])
        return PatchReport(last.name, "conflict", detail)
    return PatchReport(last.name, *_outcome(applied))


def _outcome(applied: Applied) -> tuple[Outcome, str]:
    return applied.outcome, applied.detail


def _text(patch: Path) -> str:
    return patch.read_text(errors="replace")


def _bring(patch: Path, pristine: Path, stage: Path, staged: set[str]) -> None:
    """Brings the files into `stage` that a patch is the first to touch."""
    touched = touched_files(_text(patch), patch.name)
    for path in touched:
        if path not in staged and (file := read_file(pristine / path)) is not None:
            write_file(stage / path, file)
    staged.update(touched)


def _patch(patch: Path, stage: Path, *options: str) -> Applied:
    """Runs `patch` in `stage`."""
    # Leave no .orig and .rej files.
    common = ["--no-backup-if-mismatch", "--reject-file=-", f"-p{strip_level(_text(patch))}"]
    # Never ask, and never think better of the direction.
    forward = ["--force"] if "--reverse" in options else ["--batch", "--forward"]
    done = run(
        ["patch", *common, *forward, *options, "--directory", stage, "--input", patch.resolve()],
        env={"PATCH_GET": "0"},
        check=False,
    )
    return classify(done.status, done.output)


def write_file(path: Path, file: TreeFile, scratch: Path | None = None) -> None:
    """Puts `file` at `path`, at once: by way of `scratch`, on the same disk, if given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = scratch or path
    new.unlink(missing_ok=True)
    if file.kind == "link":
        new.symlink_to(os.fsdecode(file.data))
    else:
        new.write_bytes(file.data)
        new.chmod(0o755 if file.kind == "program" else 0o644)
    if scratch is not None:
        scratch.replace(path)


def save_overlay(files: Overlay, folder: Path) -> None:
    """Writes an overlay into a new folder, for `load_overlay`."""
    folder.mkdir()
    kinds = {path: file and file.kind for path, file in files.items()}
    (folder / "overlay.json").write_text(json.dumps(kinds, indent=1) + "\n")
    for path, file in files.items():
        if file is not None:
            write_file(folder / "tree" / path, file)


def load_overlay(folder: Path) -> dict[str, TreeFile | None]:
    """The overlay that `save_overlay` wrote."""
    kinds = json.loads((folder / "overlay.json").read_text())
    return {
        path: read_file(folder / "tree" / path) if kind else None for path, kind in kinds.items()
    }


# --- the work tree ----------------------------------------------------------


@dataclass(frozen=True)
class _State:
    """Which files of a tree are not the pristine ones, and whether that is sure."""

    whole: bool
    files: tuple[str, ...]


@dataclass(frozen=True)
class WorkTree:
    """A kernel tree to build in, one for each source, repository, and `Target.tree`.

    `folder` holds the tree, the build folder beside it, and what is known
    about both. Use it under `lock`.
    """

    folder: Path
    pristine: Path

    @classmethod
    def of(cls, ws: Workspace, source: KernelSource) -> WorkTree:
        """The work tree for `source` in this repository; nothing is made yet."""
        name = f"{source.target.name}-{source.key}-{digest(str(REPO))[:8]}"
        name += f"-{source.target.tree}" if source.target.tree else ""
        return cls(ws.cache.root / "trees" / name, source.tree)

    @property
    def tree(self) -> Path:
        """The patched tree."""
        return self.folder / "source"

    @property
    def build(self) -> Path:
        """The folder for `make O=`. Its name is as long in every repository."""
        return self.folder / "build"

    @contextmanager
    def lock(self, ws: Workspace) -> Iterator[None]:
        """Keeps other runs away from the tree and the build folder."""
        with ws.cache.lock(f"tree-{self.folder.name}"), disk_full_named(ws.cache.root):
            self.folder.mkdir(parents=True, exist_ok=True)
            ws.cache.used(self.folder)
            yield

    def sync(self, files: Overlay) -> list[str]:
        """Brings the tree in step with an overlay; returns what was written.

        Files that an earlier overlay had and this one has not, and those that
        somebody changed by hand, become the pristine ones again.
        """
        state = self._load()
        if state is None or not self.tree.is_dir():
            self._copy()
            state = _State(whole=False, files=())
        doubtful = {*state.files, *files, *self._changed_by_others()}
        wrong = [path for path in sorted(doubtful) if not self._is_right(path, files)]
        target = _State(whole=True, files=tuple(sorted(files)))
        if wrong or state != target:
            # Until it is whole, all that was and all that will be is in doubt.
            self._save(_State(whole=False, files=tuple(sorted(doubtful))))
            for path in wrong:
                self._put(path, self._wanted(path, files))
            self._save(target)
        return wrong

    def half_applied(self) -> bool:
        """Whether a run was stopped between the first and the last file."""
        state = self._load()
        return state is not None and not state.whole

    @property
    def _state_file(self) -> Path:
        return self.folder / "state.json"

    def _load(self) -> _State | None:
        try:
            known = json.loads(self._state_file.read_text())
            return _State(bool(known["whole"]), tuple(known["files"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _save(self, state: _State) -> None:
        new = self.folder / "state.new"
        new.write_text(json.dumps({"whole": state.whole, "files": state.files}, indent=1) + "\n")
        new.replace(self._state_file)

    def _copy(self) -> None:
        """Makes the tree anew. Objects built from the old one can't be trusted by their times."""
        for path in (self.tree, self.build):
            shutil.rmtree(path, ignore_errors=True)
        new = self.folder / "source.new"
        shutil.rmtree(new, ignore_errors=True)
        run(["cp", "-a", "--reflink=auto", self.pristine, new], what="copy of the kernel tree")
        self._save(_State(whole=False, files=()))
        new.rename(self.tree)

    def _changed_by_others(self) -> Iterator[str]:
        """Files that changed after this class was done: the release must not lie."""
        done = self._state_file.stat().st_ctime_ns
        folders = [self.tree]
        while folders:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(Path(entry.path))
                    elif entry.stat(follow_symlinks=False).st_ctime_ns > done:
                        yield Path(entry.path).relative_to(self.tree).as_posix()

    def _wanted(self, path: str, files: Overlay) -> TreeFile | None:
        return files[path] if path in files else read_file(self.pristine / path)

    def _is_right(self, path: str, files: Overlay) -> bool:
        return read_file(self.tree / path) == self._wanted(path, files)

    def _put(self, path: str, file: TreeFile | None) -> None:
        place = self.tree / path
        if file is not None:
            # Its time is now, also where it is pristine again: make must see it.
            write_file(place, file, scratch=self.folder / "file.new")
            return
        place.unlink(missing_ok=True)
        for folder in place.relative_to(self.tree).parents:
            if (self.pristine / folder).is_dir():
                break
            with os.scandir(self.tree / folder) as entries:
                if any(entries):
                    break
            (self.tree / folder).rmdir()


def report_check(
    ws: Workspace,
    target: Target,
    source_name: str | None = None,
    extra: Sequence[Path] = (),
) -> None:
    """Prints a line for each patch; raises VerdictError where one conflicts."""
    kernel = source.fetch(ws, target, source_name)
    reports = check(ws, kernel, extra)
    for report in reports:
        detail = f": {report.detail}" if report.detail else ""
        ws.reporter.say(f"{report.outcome:<11}  {report.patch}{detail}")
    conflicts = [report.patch for report in reports if report.outcome == "conflict"]
    if conflicts:
        raise VerdictError(f"{len(conflicts)} of {len(reports)} patches do not apply")
