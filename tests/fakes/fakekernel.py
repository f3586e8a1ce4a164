# SPDX-License-Identifier: MIT
"""A target and a repository in miniature, around the kernel tree in `fakelinux/`."""

from __future__ import annotations

import io
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from stand_ins import workspace

from harness.build.patching import steps
from harness.build.source import KernelSource
from harness.targets.linux_6_1 import LINUX_6_1
from harness.targets.model import ElfAbi, Target
from harness.ui.workspace import Workspace

TREE = Path(__file__).parent / "fakelinux"

HOOK_PATCH = """\
Subject: [PATCH] mm: hook

---
diff --git a/mm/page_alloc.c b/mm/page_alloc.c
--- a/mm/page_alloc.c
+++ b/mm/page_alloc.c
@@ -10,5 +10,6 @@ int alloc_pages(int order)
 {
 \tint taken = pages << order;
 
+\tcheck_limits();
 \tpages += taken;
 \treturn taken;
--
2.39.5
"""  # noqa: W293
DECLARE_PATCH = """\
diff --git a/include/linux/mm.h b/include/linux/mm.h
--- a/include/linux/mm.h
+++ b/include/linux/mm.h
@@ -1,3 +1,4 @@
 /* SPDX-License-Identifier: GPL-2.0-only */
+int check_limits(void);
 int alloc_pages(int order);
 void free_pages(int order);
"""
LIMITS_C = """\
#include <linux/mm.h>

int check_limits(void)
{
\treturn 0;
}
"""
MODULE_C = """\
#include <linux/mm.h>

int start(void)
{
\treturn check_limits();
}
"""


def patch_files(target: Target) -> list[Path]:
    """Return every patch in the series of `target`."""
    return [patch for step in steps(target) for patch in step.files]


def host_machine() -> str:
    """Return the ELF machine of this host, as pyelftools calls it."""
    with Path(sys.executable).open("rb") as stream:
        return str(ELFFile(stream)["e_machine"])


@dataclass(frozen=True)
class FakeRepository:
    """Folders like those of the repository, for the harness to use instead."""

    folder: Path
    target: Target
    ws: Workspace
    said: io.StringIO

    @property
    def patches(self) -> Path:
        return self.folder / "kernel_patches" / self.target.name

    @property
    def common(self) -> Path:
        return self.folder / "kernel_patches" / "common"

    @property
    def module(self) -> Path:
        return self.folder / "module"

    @property
    def pristine(self) -> Path:
        return self.folder / "pristine"

    @property
    def source(self) -> KernelSource:
        return KernelSource(self.target, self.pristine, "fake", "6.1.99", "the fake kernel")

    def write_series(self, **patches: str) -> None:
        """Write the patches, and a series that names them in this order."""
        for name, text in patches.items():
            (self.patches / f"{name}.patch").write_text(text)
        lines = ["# the series", "", *(f"{name}.patch" for name in patches)]
        (self.patches / "series").write_text("\n".join(lines) + "\n")


def make_repository(folder: Path, monkeypatch: pytest.MonkeyPatch) -> FakeRepository:
    """Make a repository with one common file, two patches and a module, and an empty cache."""
    target = replace(
        LINUX_6_1,
        cross_compile="",
        elf=ElfAbi(machine=host_machine(), elf_class=64, hard_float=False),
    )
    said = io.StringIO()
    ws = replace(workspace(folder / "cache", said), jobs=2)
    fake = FakeRepository(folder, target, ws, said)
    for path in (fake.patches, fake.common / "mm", fake.module):
        path.mkdir(parents=True)
    shutil.copytree(TREE, fake.pristine, symlinks=True)
    (fake.common / "mm" / "limits.c").write_text(LIMITS_C)
    fake.write_series(a=DECLARE_PATCH, b=HOOK_PATCH)
    (fake.patches / "fragment.config").write_text("CONFIG_MMU=y\n# No modules yet.\nCONFIG_SMP=y\n")
    (fake.module / "Kbuild").write_text("obj-m := limiter.o\n")
    (fake.module / "limiter.c").write_text(MODULE_C)
    monkeypatch.setattr("harness.build.patching.COMMON", fake.common)
    monkeypatch.setattr("harness.targets.model.KERNEL_PATCHES", folder / "kernel_patches")
    monkeypatch.setattr("harness.build.modules.MODULES", fake.module)
    return fake
