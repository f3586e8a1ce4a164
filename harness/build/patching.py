# SPDX-License-Identifier: MIT
"""Patched kernel trees.

The difference between a patched tree and the pristine one is computed as an overlay: the files
of `kernel_patches/common/` and the patched copies of the files that the patches touch.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

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
from harness.build.tree_file import Overlay, TreeFile, read_file, write_file
from harness.core import typed_json
from harness.core.editors import is_temporary
from harness.core.errors import PatchError, UsageError, VerdictError
from harness.core.paths import COMMON
from harness.core.process import RunOptions, require, run
from harness.targets.model import Target
from harness.ui.workspace import Workspace

# Files at a tree's top that become part of a kernel's release, which is ours.
_RELEASE = re.compile(r"localversion[^/]*|\.scmversion")
# Endings of the files that failed patches leave beside a file.
_LEFTOVERS = (".orig", ".rej")


@dataclass(frozen=True)
class PatchReport:
    """The outcome of one patch of the series; `detail` names files and hunks."""

    patch: str
    outcome: Outcome
    detail: str


# --- files and patches to apply ---------------------------------------------


def steps(target: Target, extra: Sequence[Path] = ()) -> list[Step]:
    """Return the steps of `target`'s series in their order, then those of `extra`.

    An unpatched target only has the optional steps of its series. Raises PatchError if the
    series is missing or names a missing patch, and UsageError if one of `extra` is missing.
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
        replace(step, folder=target.patches) for step in listed if target.patched or step.optional
    ]
    for step in found:
        for patch in step.files:
            if not patch.is_file():
                raise PatchError(f"{target.name}/series lists {patch.name}, which is not beside it")
    for patch in extra:
        if not patch.is_file():
            raise UsageError(f"no such patch: {patch}")
    return [*found, *(Step((one.name,), folder=one.parent, ours=False) for one in extra)]


def common_files(target: Target) -> dict[str, TreeFile]:
    """Return the files of `kernel_patches/common/`, by their path in a kernel tree."""
    files: dict[str, TreeFile] = {}
    if not target.patched:
        return files
    for path in sorted(COMMON.rglob("*")):
        name = path.relative_to(COMMON).as_posix()
        hidden = path.name.startswith(".") or path.name.endswith(_LEFTOVERS)
        if not (hidden or is_temporary(name)) and (file := read_file(path)) is not None:
            files[name] = file
    return files


def inputs(target: Target, extra: Sequence[Path] = ()) -> dict[str, bytes]:
    """Return everything that determines the overlay on a given tree, by name."""
    found = {f"common/{name}": file.data for name, file in common_files(target).items()}
    number = 0
    for step in steps(target, extra):
        if is_needed(target, step.condition):
            for patch in step.files:
                number += 1
                found[f"patch {number}: {patch.name}"] = patch.read_bytes()
            found.update(_fault_inputs(target, step))
    return found


def _fault_inputs(target: Target, step: Step) -> dict[str, bytes]:
    """Return what determines, besides the tree, whether a step finds its fault."""
    script = script_of(step.files[0])
    if script is None:
        return {}
    inputs = {f"fault: {script.name}": script.read_bytes()}
    if (condition := step.condition) is not None:
        version = tool_version(target, condition.tool)
        inputs[f"tool: {condition.tool}"] = repr(version).encode()
    return inputs


# --- the overlay ------------------------------------------------------------


def check(ws: Workspace, source: KernelSource) -> list[PatchReport]:
    """Try every patch, each on top of those before it, without changing any tree."""
    with ws.reporter.phase("check patches"):
        return _try(source, ())[0]


def overlay(
    ws: Workspace, source: KernelSource, extra: Sequence[Path] = ()
) -> dict[str, TreeFile | None]:
    """Return the overlay of the patched tree over `source`, without files that name its release.

    Raises PatchError, naming patch, file and hunk, if a patch conflicts. Reports patches that
    apply with fuzz, and patches that the tree has already.
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
    top = {*files, *(path.name for path in source.tree.iterdir())}
    return {**files, **dict.fromkeys(sorted(filter(_RELEASE.fullmatch, top)))}


def _try(
    source: KernelSource, extra: Sequence[Path]
) -> tuple[list[PatchReport], dict[str, TreeFile | None]]:
    """Apply everything to copies of the files that it touches, in a scratch folder."""
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
    """Return a conflict for each of our syscall numbers that the unpatched tree uses otherwise."""
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


def _take(step: Step, source: KernelSource, stage: Path, staged: set[str]) -> PatchReport:
    """Apply one step in `stage`: the first of its patches that applies there."""
    condition = step.condition
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
            return PatchReport(patch.name, *_patch(patch, stage, "--fuzz=0"))
        conflicts.append(f"{patch.name}: {tried.detail}")
    if step.optional:
        backwards = _patch(last, stage, "--dry-run", "--fuzz=0", "--reverse")
        if backwards.outcome == "applies":
            return PatchReport(last.name, "in the tree", "")
    # Our hunks may have little context, of which one line at least must match. A user's patch is
    # treated as leniently as `patch` does by default.
    options = [f"--fuzz={most_fuzz(_text(last), last.name)}"] if step.ours else []
    applied = _patch(last, stage, *options)
    if applied.outcome == "conflict" and conflicts:
        detail = "; ".join([applied.detail, "nor", *conflicts])
        return PatchReport(last.name, "conflict", detail)
    return PatchReport(last.name, *applied)


def _text(patch: Path) -> str:
    return patch.read_text(errors="replace")


def _bring(patch: Path, pristine: Path, stage: Path, staged: set[str]) -> None:
    """Copy into `stage` the files that this patch is the first to touch."""
    touched = touched_files(_text(patch), patch.name)
    for path in touched:
        if path not in staged and (file := read_file(pristine / path)) is not None:
            write_file(stage / path, file)
    staged.update(touched)


def _patch(patch: Path, stage: Path, *options: str) -> Applied:
    """Run `patch` in `stage`."""
    # Leave no .orig and .rej files.
    common = ["--no-backup-if-mismatch", "--reject-file=-", f"-p{strip_level(_text(patch))}"]
    # Never ask, and never change the direction.
    forward = ["--force"] if "--reverse" in options else ["--batch", "--forward"]
    done = run(
        ["patch", *common, *forward, *options, "--directory", stage, "--input", patch.resolve()],
        RunOptions(env={"PATCH_GET": "0"}),
        check=False,
    )
    return classify(done.status, done.output)


def save_overlay(files: Overlay, folder: Path) -> None:
    """Write an overlay into a new folder, for `load_overlay`."""
    folder.mkdir()
    kinds = {path: file and file.kind for path, file in files.items()}
    (folder / "overlay.json").write_text(typed_json.to_text(kinds, exact=True))
    for path, file in files.items():
        if file is not None:
            write_file(folder / "tree" / path, file)


def load_overlay(folder: Path) -> dict[str, TreeFile | None]:
    """Return the overlay that `save_overlay` wrote."""
    kinds = typed_json.read(dict[str, str | None], (folder / "overlay.json").read_text())
    return {
        path: read_file(folder / "tree" / path) if kind else None for path, kind in kinds.items()
    }


def report_check(ws: Workspace, target: Target, source_name: str | None = None) -> None:
    """Print a line for each patch; raise VerdictError if one conflicts."""
    reports = check(ws, source.fetch(ws, target, source_name))
    for report in reports:
        detail = f": {report.detail}" if report.detail else ""
        ws.reporter.say(f"{report.outcome:<11}  {report.patch}{detail}")
    conflicts = [report.patch for report in reports if report.outcome == "conflict"]
    if conflicts:
        raise VerdictError(f"{len(conflicts)} of {len(reports)} patches do not apply")
