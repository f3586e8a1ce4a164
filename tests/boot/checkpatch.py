# SPDX-License-Identifier: MIT
"""The kernel's own checks of our C: `checkpatch.pl --strict`, and sparse."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from harness.build.compiler_warnings import Warnings
from harness.build.kernel import KernelBuild, prepared
from harness.build.kernel_make import KernelMake
from harness.build.modules import copy_sources, module_sources
from harness.build.patching import steps
from harness.build.source import KernelSource
from harness.build.tree_file import Overlay
from harness.core.errors import VerdictError
from harness.core.paths import COMMON
from harness.core.process import require, run
from harness.ui.workspace import Workspace

_SHOWN = 20
# The compatibility header has to ask for the kernel's version, in one line.
_MEANT = re.compile(r".*/mm_limits_compat\.h:\d+: WARNING:LINUX_VERSION_CODE: .*")
_FINDING = re.compile(r"(?P<file>[^\s:]+):(?P<line>\d+):\d+: (?:warning|error): .*")
# Names of a kernel's files: checkpatch knows no others.
_CHECKED = re.compile(r".*\.[chS]|Kconfig.*|Makefile|Kbuild")


def run_checkpatch(ws: Workspace, source: KernelSource) -> int:
    """Check every file of `common/` and `module/`, and every patch; return how many.

    The script comes from `source`. Raise VerdictError with the findings.
    """
    require("perl")
    script = source.tree / "scripts" / "checkpatch.pl"
    files = [path for path in sorted(COMMON.rglob("*")) if path.is_file()]
    files = [path for path in (*files, *module_sources()) if _CHECKED.fullmatch(path.name)]
    patches = [patch for step in steps(source.target) for patch in step.files]
    options = ["--no-tree", "--strict", "--terse", "--show-types", "--no-summary", "--color=never"]
    # Files and patches apart: with -f, checkpatch expects whole files, without a commit message.
    checks = [["-f", *map(str, files)], list(map(str, patches))]
    findings: list[str] = []
    with ws.reporter.phase("checkpatch"):
        for words in checks:
            done = run(["perl", script, *options, *words], check=False)
            said = done.output.splitlines()
            left = [line for line in said if not _MEANT.fullmatch(line)]
            if left or (done.status != 0 and not said):
                findings += left or [f"status {done.status}"]
    _judge("checkpatch", findings)
    return len(files) + len(patches)


def run_sparse(ws: Workspace, kernel: KernelBuild) -> int:
    """Run sparse on our C files in `kernel`, and on the modules; return how many files.

    In a file of the kernel itself, only lines that we added count. Raise VerdictError with the
    findings.
    """
    require("sparse")
    log = ws.logs / f"sparse-{kernel.target.name}-{kernel.key}.log"
    files = kernel.overlay
    ours = [path for path, file in files.items() if file is not None and path.endswith(".c")]
    with ws.reporter.phase("sparse"), prepared(ws, kernel, log) as make:
        objects = [f"{path.removesuffix('.c')}.o" for path in ours]
        said = make("C=2", "CHECK=sparse", *objects).splitlines()
        findings = list(_new_findings(make, files, said))
        folder = copy_sources(make)
        said = make(f"M={folder}", "C=2", "CHECK=sparse", "modules").splitlines()
        findings += [line for line in said if _FINDING.fullmatch(line)]
    _judge("sparse", findings, log)
    return len(ours) + len(list(folder.glob("*.ko")))


def _new_findings(make: KernelMake, files: Overlay, said: Iterable[str]) -> Iterable[str]:
    """Yield the findings in `said` that are about lines of our own."""
    warnings = Warnings(make, files, {path: make.tree.pristine.read(path) for path in files})
    for line in said:
        if found := _FINDING.fullmatch(line):
            number = int(found["line"])
            if any(warnings.is_ours(name, number) for name in make.files_named(found["file"])):
                yield make.shorten(line)


def _judge(name: str, findings: list[str], log: Path | None = None) -> None:
    if findings:
        raise VerdictError(
            f"{name} found {len(findings)} thing(s)", tail="\n".join(findings[:_SHOWN]), log=log
        )
