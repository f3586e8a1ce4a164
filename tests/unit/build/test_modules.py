# SPDX-License-Identifier: MIT
"""Modules built outside the tree, tried on the tree in miniature."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
from fakekernel import LIMITS_C, MODULE_C, FakeRepository

from harness.build.kernel import KernelBuild
from harness.build.kernel import build as build_kernel
from harness.build.modules import build, check_module, module_info
from harness.build.work_tree import WorkTree
from harness.core.errors import BuildError
from harness.targets.model import ElfAbi


@pytest.fixture
def kernel(fake: FakeRepository) -> KernelBuild:
    return build_kernel(fake.ws, fake.target, str(fake.pristine))


def test_modules_are_built_for_the_kernel_once(fake: FakeRepository, kernel: KernelBuild) -> None:
    before = sorted(fake.module.iterdir())
    built = build(fake.ws, kernel)
    assert module_info(built.path("limiter"))["vermagic"] == f"{kernel.release} SMP"
    assert built.path("limiter.ko") == built.path("limiter")
    assert sorted(fake.module.iterdir()) == before
    log = (built.folder / "build.log").read_text()
    assert "modules_prepare" not in log
    assert build(fake.ws, kernel) == built
    assert "build modules: up to date" in fake.said.getvalue()


def test_what_a_build_in_the_folder_left_is_ignored(
    fake: FakeRepository, kernel: KernelBuild
) -> None:
    key = build(fake.ws, kernel).key
    for name in ("limiter.ko", "limiter.o", "limiter.mod.c", ".limiter.o.cmd", "Module.symvers"):
        (fake.module / name).write_text("x")
    # Emacs, while it edits the file.
    (fake.module / ".#limiter.c").symlink_to("me@host.1234")
    assert build(fake.ws, kernel).key == key


def test_a_tree_whose_build_folder_has_gone_is_prepared_again(
    fake: FakeRepository, kernel: KernelBuild
) -> None:
    shutil.rmtree(WorkTree.of(fake.ws, kernel.source).build)
    built = build(fake.ws, kernel)
    assert "modules_prepare" in (built.folder / "build.log").read_text()


def test_another_kernel_has_other_modules_and_the_tree_is_brought_back(
    fake: FakeRepository, kernel: KernelBuild
) -> None:
    (fake.common / "mm/limits.c").write_text(LIMITS_C.replace("return 0", "return 1"))
    other = build_kernel(fake.ws, fake.target, str(fake.pristine))
    tree = WorkTree.of(fake.ws, kernel.source)
    assert "return 1" in (tree.tree / "mm/limits.c").read_text()
    built = build(fake.ws, kernel)
    assert module_info(built.path("limiter"))["vermagic"] == f"{kernel.release} SMP"
    assert (tree.tree / "mm/limits.c").read_text() == LIMITS_C
    assert build(fake.ws, other).key != built.key


def test_a_tree_that_is_gone_is_made_again(fake: FakeRepository, kernel: KernelBuild) -> None:
    shutil.rmtree(WorkTree.of(fake.ws, kernel.source).folder)
    built = build(fake.ws, kernel)
    assert module_info(built.path("limiter"))["vermagic"] == f"{kernel.release} SMP"


def write_module(fake: FakeRepository, text: str) -> None:
    (fake.module / "limiter.c").write_text(text)


def refused(fake: FakeRepository, kernel: KernelBuild, message: str) -> None:
    """The build fails, and leaves no entry."""
    with pytest.raises(BuildError, match=message):
        build(fake.ws, kernel)
    assert list((fake.ws.cache.root / "modules").iterdir()) == []


ABSENT = "int absent(void);\nint f(void) { int unused; return absent(); }\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ABSENT.replace("int unused; ", ""), r"absent.* undefined"),
        # An error from GCC 14 on.
        (MODULE_C.replace("check_limits()", "gone()"), r"(warning\(s\) in module/|failed): .*gone"),
        (MODULE_C.replace("return", "int unused; return"), "unused variable"),
        (MODULE_C.replace("return", "retrun"), "make modules failed: .*error"),
    ],
)
def test_warnings_and_errors_stop_the_build(
    fake: FakeRepository, kernel: KernelBuild, text: str, message: str
) -> None:
    write_module(fake, text)
    refused(fake, kernel, message)


def test_a_module_of_another_kernel_or_cpu_is_refused(
    fake: FakeRepository, kernel: KernelBuild
) -> None:
    built = build(fake.ws, kernel)
    with pytest.raises(BuildError, match="module/ has no nothing"):
        built.path("nothing")
    module = built.path("limiter")
    with pytest.raises(BuildError, match=r"for the kernel '6\.1\.99-gfoom-.* SMP', not 6\.1\.98"):
        check_module(module, replace(kernel, release="6.1.98"))
    abi = ElfAbi(machine="EM_68K", elf_class=32, hard_float=False)
    with pytest.raises(BuildError, match="not EM_68K"):
        check_module(module, replace(kernel, target=replace(kernel.target, elf=abi)))


# --- a target whose warnings are only told -------------------------------------------


@pytest.fixture
def old_kernel(kernel: KernelBuild) -> KernelBuild:
    """The kernel as one that is older than its compiler."""
    return replace(kernel, target=replace(kernel.target, warnings_stop=False))


def test_a_compilers_warning_may_be_only_told(
    fake: FakeRepository, old_kernel: KernelBuild
) -> None:
    write_module(fake, MODULE_C.replace("return", "int unused; return"))
    assert build(fake.ws, old_kernel).path("limiter").is_file()
    assert "unused variable" in fake.said.getvalue()


def test_what_the_kernels_own_headers_bring_along_is_not_told(fake: FakeRepository) -> None:
    header = fake.pristine / "include/linux/mm.h"
    noise = "static inline int noise(void) { int of_the_header; return 0; }\n"
    header.write_text(header.read_text() + noise)
    write_module(fake, MODULE_C.replace("return", "int of_ours; return"))
    target = replace(fake.target, warnings_stop=False)
    built = build(fake.ws, build_kernel(fake.ws, target, str(fake.pristine)))
    assert "of_the_header" in (built.folder / "build.log").read_text()
    assert "of_ours" in fake.said.getvalue()
    assert "of_the_header" not in fake.said.getvalue()


def test_a_symbol_that_the_kernel_lacks_stops_the_build_all_the_same(
    fake: FakeRepository, old_kernel: KernelBuild
) -> None:
    write_module(fake, ABSENT)
    refused(fake, old_kernel, r"^1 warning\(s\) in module/: .*absent.* undefined!")
    assert "unused variable" in fake.said.getvalue()


@pytest.mark.parametrize(
    ("said", "stops"),
    [
        ('WARNING: "absent" [/x/limiter.ko] undefined!', True),
        ('WARNING: "here" [/x/limiter.ko] has no CRC!', True),
        ("WARNING: modpost: Found 1 section mismatch(es).", False),
    ],
)
def test_what_modpost_of_3_4_says(fake: FakeRepository, said: str, stops: bool) -> None:
    makefile = fake.pristine / "Makefile"
    compiles = '\t@echo "  CC [M]'
    text = makefile.read_text()
    makefile.write_text(text.replace(compiles, f"\t@echo '{said}'\n{compiles}"))
    target = replace(fake.target, warnings_stop=False)
    old_kernel = build_kernel(fake.ws, target, str(fake.pristine))
    if stops:
        refused(fake, old_kernel, r"^1 warning\(s\) in module/: WARNING: ")
    else:
        build(fake.ws, old_kernel)
    assert said in fake.said.getvalue()
