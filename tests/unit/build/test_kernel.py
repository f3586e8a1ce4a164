# SPDX-License-Identifier: MIT
"""Building a kernel, tried on the tree in miniature."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakekernel import HOOK_PATCH, LIMITS_C, FakeRepository
from stand_ins import script

from harness.build.kernel import (
    KernelBuild,
    build,
    patch,
    prepared,
    requested_config,
)
from harness.build.kernel_make import CCACHED, KernelMake
from harness.build.patching import overlay
from harness.build.tree_file import Overlay
from harness.build.work_tree import WorkTree
from harness.core.errors import (
    BuildError,
    HarnessError,
    KconfigError,
    PatchError,
    SourceMovedError,
    ToolMissingError,
    UsageError,
)
from harness.core.process import Completed, run
from harness.targets.goldfish_3_4 import GOLDFISH_3_4
from harness.targets.linux_6_1 import LINUX_6_1


def build_it(fake: FakeRepository, *extra: Path, config: str | None = None) -> KernelBuild:
    """The kernel, with the lines of `config` after those of the fragments."""
    file = fake.folder / "extra.config"
    file.write_text(config or "")
    lines = file if config is not None else None
    return build(fake.ws, fake.target, str(fake.pristine), extra, lines)


def refused(
    fake: FakeRepository,
    message: str,
    error: type[HarnessError] = BuildError,
    config: str | None = None,
) -> HarnessError:
    """The error of a build, which leaves no entry."""
    before = entries(fake)
    with pytest.raises(error, match=message) as caught:
        build_it(fake, config=config)
    assert entries(fake) == before
    return caught.value


def log_of(fake: FakeRepository) -> str:
    """The log of the newest build."""
    logs = sorted(fake.ws.logs.glob("kernel-*.log"), key=lambda path: path.stat().st_mtime_ns)
    return logs[-1].read_text()


def entries(fake: FakeRepository) -> list[str]:
    folder = fake.ws.cache.root / "kernel"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def write_limits(fake: FakeRepository, text: str) -> None:
    (fake.common / "mm/limits.c").write_text(text)


@pytest.mark.parametrize("name", ["localversion-rt", "localversion", ".scmversion"])
def test_a_tree_that_names_its_release_has_ours(fake: FakeRepository, name: str) -> None:
    """As PREEMPT_RT's does, and a tarball that was made of a git work tree."""
    (fake.pristine / name).write_text("-rt15\n")
    kernel = build_it(fake)
    assert kernel.release.startswith("6.1.99-gfoom-")
    with prepared(fake.ws, kernel, fake.ws.logs / "x.log") as make:
        assert make.release_built() == kernel.release
    assert (fake.pristine / name).is_file()


def test_a_patch_that_names_the_release_does_no_harm(fake: FakeRepository) -> None:
    rt = fake.folder / "rt.patch"
    rt.write_text("--- /dev/null\n+++ b/localversion-rt\n@@ -0,0 +1 @@\n+-rt15\n")
    assert build_it(fake, rt).release.startswith("6.1.99-gfoom-")


def test_a_kernel_and_its_proof(fake: FakeRepository) -> None:
    kernel = build_it(fake)
    assert kernel.release == f"6.1.99-gfoom-{kernel.key[:12]}"
    assert f"Linux version {kernel.release} " in kernel.image.read_bytes().decode("latin1")
    assert kernel.config.read_text().startswith(
        "CONFIG_MMU=y\n# CONFIG_MODULES is not set\nCONFIG_SMP=y\n"
    )
    assert {path.name for path in kernel.folder.iterdir()} == {
        *("zImage", "vmlinux", "config", "System.map", "Module.symvers"),
        *("build.log", "build.json", "overlay", ".seal"),
    }
    record = json.loads((kernel.folder / "build.json").read_text())
    assert record["release"] == kernel.release
    assert "common/mm/limits.c" in record["inputs"]
    assert f"LOCALVERSION=-gfoom-{kernel.key[:12]}" in record["command"]
    assert sorted(kernel.overlay) == ["include/linux/mm.h", "mm/limits.c", "mm/page_alloc.c"]


def test_nothing_is_touched_where_the_entry_is_there(fake: FakeRepository) -> None:
    kernel = build_it(fake)
    WorkTree.of(fake.ws, kernel.source).folder.rename(fake.folder / "elsewhere")
    assert build_it(fake) == kernel
    assert not WorkTree.of(fake.ws, kernel.source).folder.exists()
    assert "build kernel: up to date" in fake.said.getvalue()


def test_every_input_makes_another_kernel(fake: FakeRepository, tmp_path: Path) -> None:
    keys = [build_it(fake).key]
    write_limits(fake, LIMITS_C + "/* changed */\n")
    keys.append(build_it(fake).key)
    extra = tmp_path / "extra.patch"
    extra.write_text(
        "--- a/mm/limits.c\n+++ b/mm/limits.c\n@@ -5 +5 @@\n-\treturn 0;\n+\treturn 1;\n"
    )
    keys.append(build_it(fake, extra).key)
    keys.append(build_it(fake, config="CONFIG_MODULES=y\n# CONFIG_SMP is not set\n").key)
    (fake.pristine / "init/version.c").open("a").write("/* changed */\n")
    keys.append(build_it(fake).key)
    assert len(set(keys)) == len(keys) == len(entries(fake))


def test_only_what_changed_is_compiled_again(fake: FakeRepository) -> None:
    build_it(fake)
    write_limits(fake, LIMITS_C.replace("return 0", "return 7"))
    build_it(fake)
    compiled = [line for line in log_of(fake).splitlines() if line.startswith("  CC")]
    # In miniature every file is compiled with the release; here it is the tree that counts.
    assert "  CC      mm/limits.o" in compiled
    page_alloc = WorkTree.of(fake.ws, build_it(fake).source).tree / "mm/page_alloc.c"
    first = page_alloc.stat().st_mtime_ns
    write_limits(fake, LIMITS_C)
    build_it(fake)
    assert page_alloc.stat().st_mtime_ns == first


def test_extra_configuration_is_merged_and_checked(fake: FakeRepository) -> None:
    text = build_it(fake, config="CONFIG_MODULES=y\n").config.read_text()
    assert "CONFIG_MODULES=y" in text
    error = refused(fake, "^Kconfig dropped 1 of 3 ", KconfigError, config="CONFIG_KASAN=y\n")
    assert error.tail == "extra.config: CONFIG_KASAN=y (got: n)"
    assert "this kernel has no CONFIG_KASAN" in error.hint
    with pytest.raises(UsageError, match="no such configuration fragment"):
        requested_config(fake.target, Path("none.config"))


def test_a_compiler_error_is_shown_first(fake: FakeRepository) -> None:
    write_limits(fake, "int check_limits(void)\n{\n\treturn missing;\n}\n")
    error = refused(fake, r"^make modules failed: mm/limits\.c:3:16: error: .*missing")
    assert error.log is not None
    assert "CC      mm/limits.o" in error.log.read_text()
    write_limits(fake, LIMITS_C)
    assert build_it(fake).image.is_file()


def with_defconfig(fake: FakeRepository, command: str, text: str) -> FakeRepository:
    """The repository for a board whose defconfig a command makes; `text` is in $(S)/board."""
    (fake.pristine / "board").write_text(text)
    (fake.pristine / "Makefile").open("a").write(f"\nx_defconfig:\n\t@{command}\n")
    board = replace(fake.target.board, base_config="x_defconfig")
    return replace(fake, target=replace(fake.target, boards={"qemu": board}))


def test_a_tree_without_the_boards_configuration_is_told(fake: FakeRepository) -> None:
    missing = '*** Can\'t find default configuration "arch/arm/configs/x_defconfig"!'
    board = with_defconfig(fake, "cat $(S)/board; exit 1", f"***\n{missing}\n***\n")
    assert refused(board, "x_defconfig").message == f"make x_defconfig failed: {missing}"


UNUSED = "int check_limits(void)\n{\n\tint unused;\n\n\treturn 0;\n}\n"


def test_a_warning_in_our_files_stops_the_build_each_time(fake: FakeRepository) -> None:
    write_limits(fake, UNUSED)
    for _ in range(2):
        refused(fake, r"1 compiler warning\(s\) in our own files: mm/limit")
    write_limits(fake, LIMITS_C)
    build_it(fake)


def interrupt(fake: FakeRepository, function: str) -> None:
    """Builds until a function of the module is called."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(f"harness.build.kernel.{function}", stop)
        with pytest.raises(KeyboardInterrupt):
            build_it(fake)


def test_a_warning_counts_though_the_build_was_stopped_behind_it(fake: FakeRepository) -> None:
    write_limits(fake, UNUSED)
    interrupt(fake, "Warnings.judge")
    refused(fake, "unused")


def test_a_warning_elsewhere_is_not_ours(fake: FakeRepository) -> None:
    (fake.pristine / "mm/other.c").write_text(UNUSED.replace("check_limits", "other"))
    build_it(fake)
    assert "warning: unused variable" in log_of(fake)


def test_an_interrupted_build_leaves_no_entry_and_goes_on(fake: FakeRepository) -> None:
    interrupt(fake, "_collect")
    assert entries(fake) == []
    build_it(fake)
    # Nothing was compiled a second time.
    assert "  CC" not in log_of(fake)


def test_a_kernel_with_another_release_is_refused(fake: FakeRepository) -> None:
    makefile = fake.pristine / "Makefile"
    makefile.write_text(makefile.read_text().replace("$(LOCALVERSION)", "-other"))
    refused(fake, r"calls itself 6\.1\.99-other, not 6\.1\.99-gfoom-")


def test_a_kernel_whose_image_lies_is_refused(fake: FakeRepository) -> None:
    (fake.pristine / "init/version.c").write_text('const char x[] = "Linux version 6.1.99 ";\n')
    refused(fake, "vmlinux does not call itself")


def test_a_missing_compiler_is_named(fake: FakeRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(fake.folder))
    refused(fake, "not installed: gcc", ToolMissingError)


def test_patch_gives_the_tree(fake: FakeRepository) -> None:
    tree = patch(fake.ws, fake.target, str(fake.pristine))
    assert (tree / "mm/limits.c").read_text() == LIMITS_C
    patch(fake.ws, fake.target, str(fake.pristine))
    assert "patch kernel: up to date" in fake.said.getvalue()


def test_a_half_patched_tree_is_told(fake: FakeRepository) -> None:
    tree = patch(fake.ws, fake.target, str(fake.pristine))
    state = tree.parent / "state.json"
    state.write_text(state.read_text().replace("true", "false"))
    patch(fake.ws, fake.target, str(fake.pristine))
    assert "left half-patched" in fake.said.getvalue()


def test_paths_in_messages_are_those_of_the_kernel(fake: FakeRepository) -> None:
    tree = WorkTree.of(fake.ws, fake.source)
    make = KernelMake(fake.ws, fake.target, tree, "", "", fake.ws.logs / "x.log")
    assert make.shorten(f"{tree.tree}/mm/x.c:1: error: a") == "mm/x.c:1: error: a"
    assert make.shorten("../source/mm/x.c:1: error: a") == "mm/x.c:1: error: a"


# --- a folder that somebody works in -------------------------------------------------


def edit(fake: FakeRepository, old: str, new: str, name: str = "mm/page_alloc.c") -> None:
    """Save a file of the user's as an editor does, by another one that takes its place."""
    file = fake.pristine / name
    text = file.read_text()
    assert old in text
    (fake.pristine / ".new").write_text(text.replace(old, new))
    (fake.pristine / ".new").rename(file)


def trees(fake: FakeRepository) -> list[Path]:
    return list((fake.ws.cache.root / "trees").iterdir())


def test_an_edit_is_built_in_the_same_tree(fake: FakeRepository) -> None:
    first = build_it(fake)
    old = {path: path.stat().st_mtime_ns for path in trees(fake)[0].rglob("source/**/*.[ch]")}
    edit(fake, "pages -= 1 << order;", "pages -= 1 << order + 0;")
    second = build_it(fake)
    assert second.key != first.key
    assert len(trees(fake)) == 1
    assert not (fake.ws.cache.root / "sources").exists()
    changed = [path.name for path, time in old.items() if path.stat().st_mtime_ns != time]
    assert changed == ["page_alloc.c"]
    assert (first.is_new, second.is_new) == (True, True)


def test_an_edit_that_is_taken_back_gives_the_first_kernel(fake: FakeRepository) -> None:
    first = build_it(fake)
    edit(fake, "pages -= 1 << order;", "pages -= 1 << order + 0;")
    build_it(fake)
    edit(fake, "pages -= 1 << order + 0;", "pages -= 1 << order;")
    logs = len(list(fake.ws.logs.iterdir()))
    third = build_it(fake)
    assert (third, third.is_new) == (first, False)
    assert len(list(fake.ws.logs.iterdir())) == logs
    # And the tree, which is still at the other edit, is brought back for modules.
    with prepared(fake.ws, third, fake.ws.logs / "x.log") as make:
        assert "1 << order;" in (make.tree.tree / "mm/page_alloc.c").read_text()


# What our patch adds a line to, and what is left if somebody is in the middle of a change.
HOOKED = "\tint taken = pages << order;\n\n\tpages += taken;\n\treturn taken;\n"
HALF = "\tint ta\n"


def test_a_patch_that_no_longer_applies_is_told_and_the_next_edit_works(
    fake: FakeRepository,
) -> None:
    first = build_it(fake)
    edit(fake, HOOKED, HALF)
    refused(fake, r"b\.patch does not apply to .*mm/page_alloc\.c", PatchError)
    edit(fake, HALF, HOOKED)
    assert build_it(fake) == first
    edit(fake, "pages -= 1 << order;", "pages -= 1 << order + 0;")
    assert build_it(fake).is_new


def test_a_new_file_of_the_user_is_built_and_a_removed_one_is_not(fake: FakeRepository) -> None:
    file = fake.pristine / "mm/mine.c"
    file.write_text("int mine;\n")
    assert "mine" in (build_it(fake).folder / "System.map").read_text()
    file.rename(file.with_name("yours.c"))
    symbols = (build_it(fake).folder / "System.map").read_text()
    assert "mine" in symbols
    assert not list(trees(fake)[0].rglob("mine.*"))
    file.with_name("yours.c").unlink()
    assert "mine" not in (build_it(fake).folder / "System.map").read_text()


def during(monkeypatch: pytest.MonkeyPatch, work: Callable[[], None], times: int) -> list[int]:
    """Do `work` at the end of each of the next patchings, before the tree is in step."""
    real = overlay
    done: list[int] = []

    def slow(*arguments: Any) -> Overlay:
        files = real(*arguments)
        if len(done) < times:
            done.append(1)
            work()
        return files

    monkeypatch.setattr("harness.build.kernel.overlay", slow)
    return done


def test_a_save_while_it_is_read_is_not_lost(
    fake: FakeRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = during(monkeypatch, lambda: edit(fake, "1 << order", "1 << order + 0"), 2)
    kernel = build_it(fake)
    assert len(done) == 2
    assert fake.said.getvalue().count("it is read again") == 2
    assert build_it(fake) == kernel
    assert "1 << order + 0 + 0;" in (trees(fake)[0] / "source/mm/page_alloc.c").read_text()


def test_a_file_that_goes_before_it_is_copied_has_the_folder_read_again(
    fake: FakeRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = fake.pristine / "mm/gone.c"
    gone.write_text("int gone;\n")

    def late(*words: Any, **options: Any) -> Completed:
        gone.unlink(missing_ok=True)
        return run(*words, **options)

    monkeypatch.setattr("harness.build.pristine.run", late)
    assert "gone" not in (build_it(fake).folder / "System.map").read_text()
    assert fake.said.getvalue().count("it is read again") == 1


def test_a_patch_that_fails_on_half_a_save_is_tried_again(
    fake: FakeRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = build_it(fake)
    edit(fake, HOOKED, HALF)
    real = overlay

    def patch_then_save(*arguments: Any) -> Overlay:
        try:
            return real(*arguments)
        except PatchError:
            edit(fake, HALF, HOOKED)
            raise

    monkeypatch.setattr("harness.build.kernel.overlay", patch_then_save)
    assert build_it(fake) == good


def test_a_folder_that_never_rests_is_an_error(
    fake: FakeRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = during(monkeypatch, lambda: edit(fake, "1 << order", "1 << order + 0"), 1000)
    refused(fake, "pristine changed while it was read: mm/page_alloc.c", SourceMovedError)
    assert len(done) == 5


def test_a_tree_is_kept_for_the_modules_while_another_run_waits(fake: FakeRepository) -> None:
    with ExitStack() as held:
        kernel = build(fake.ws, fake.target, str(fake.pristine), held=held)
        edit(fake, "pages -= 1 << order;", "pages -= 1 << order + 0;")
        taken: list[bool] = []

        def other() -> None:
            name = f"tree-{WorkTree.of(fake.ws, kernel.source).folder.name}"
            with fake.ws.cache.lock(name, wait=False, again=True) as ours:
                taken.append(ours)

        def at_once() -> None:
            thread = threading.Thread(target=other)
            thread.start()
            thread.join()

        at_once()
        with prepared(fake.ws, kernel, fake.ws.logs / "x.log") as make:
            assert "1 << order;" in (make.tree.tree / "mm/page_alloc.c").read_text()
    at_once()
    assert taken == [False, True]


def test_modules_of_a_state_that_is_gone_are_refused(fake: FakeRepository) -> None:
    kernel = build_it(fake)
    edit(fake, "pages -= 1 << order;", "pages -= 1 << order + 0;")
    build_it(fake)
    with (
        pytest.raises(SourceMovedError, match="pristine changed while it was read"),
        prepared(fake.ws, kernel, fake.ws.logs / "x.log"),
    ):
        pytest.fail("its tree is gone")


def configured(fake: FakeRepository) -> bool:
    """Whether the last kernel was configured anew."""
    phases = [line for line in fake.said.getvalue().splitlines() if "configure kernel:" in line]
    return "up to date" not in phases[-1]


def test_it_is_configured_only_if_something_may_ask_for_it(fake: FakeRepository) -> None:
    build_it(fake)
    assert configured(fake)
    edit(fake, "pages -= 1 << order;", "pages -= 1 << order + 0;")
    build_it(fake)
    assert not configured(fake)
    build_it(fake, config="CONFIG_MODULES=y\n")
    assert configured(fake)
    # With the configuration of the user's file gone, too.
    (fake.common / "mm/limits.c").write_text(LIMITS_C + "/* more */\n")
    build_it(fake)
    assert configured(fake)
    (fake.pristine / "Kconfig").open("a").write("# more\n")
    build_it(fake)
    assert configured(fake)
    (WorkTree.of(fake.ws, build_it(fake).source).build / ".config").open("a").write("# by hand\n")
    write_limits(fake, LIMITS_C)
    build_it(fake)
    assert configured(fake)


def test_what_another_compiler_made_is_made_anew(
    fake: FakeRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_it(fake)
    stray = WorkTree.of(fake.ws, build_it(fake).source).build / "stray.o"
    stray.touch()
    build_it(fake, config="CONFIG_MODULES=y\n")
    assert stray.exists()
    monkeypatch.setattr("harness.build.kernel.toolchain_version", lambda _: "gcc 99")
    build_it(fake)
    assert not stray.exists()


# --- a target whose warnings are only told -------------------------------------------


@pytest.fixture
def lenient(fake: FakeRepository) -> FakeRepository:
    """The repository for a kernel that is older than its compiler."""
    return replace(fake, target=replace(fake.target, warnings_stop=False))


OURS = "compiler warning(s) in our own files: "


def test_a_warning_in_our_files_may_be_only_told(lenient: FakeRepository) -> None:
    write_limits(lenient, UNUSED)
    assert build_it(lenient).image.is_file()
    assert f"1 {OURS}mm/limits.c:3:" in lenient.said.getvalue()
    # By each build in which it is.
    build_it(lenient, config="CONFIG_MODULES=y\n")
    assert lenient.said.getvalue().count(OURS) == 2
    # A kernel that is there already is not compiled, and says nothing.
    build_it(lenient)
    write_limits(lenient, LIMITS_C)
    build_it(lenient)
    assert lenient.said.getvalue().count(OURS) == 2


def test_an_error_stops_the_build_all_the_same(lenient: FakeRepository) -> None:
    write_limits(lenient, UNUSED.replace("return 0", "return missing"))
    refused(lenient, r"mm/limits\.c:5:16: error: ")


@pytest.mark.parametrize("stops", [True, False])
def test_of_a_patched_file_only_our_lines_count(fake: FakeRepository, stops: bool) -> None:
    fake = replace(fake, target=replace(fake.target, warnings_stop=stops))
    page_alloc = fake.pristine / "mm/page_alloc.c"
    text = page_alloc.read_text()
    page_alloc.write_text(text.replace("\tpages -= 1", "\tint theirs;\n\n\tpages -= 1"))
    patch_text = HOOK_PATCH.replace("+\tcheck_limits();", "+\tint ours = check_limits();")
    (fake.patches / "b.patch").write_text(patch_text)
    if stops:
        error = refused(fake, "warning")
        told = error.message
        assert error.tail == ""
    else:
        build_it(fake)
        (told,) = (line for line in fake.said.getvalue().splitlines() if OURS in line)
    assert told.startswith(f"1 {OURS}mm/page_alloc.c:13:")
    assert "ours" in told
    assert "theirs" in log_of(fake)


# --- another compiler ----------------------------------------------------------------


@pytest.mark.parametrize("ccache", [False, True])
def test_make_is_given_the_compiler_and_the_targets_variables(
    fake: FakeRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ccache: bool
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("ccache", "arm-eabi-ld.bfd") if ccache else ():
        (tools / name).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tools))
    target = GOLDFISH_3_4.with_cross_compile(f"{tools}/arm-eabi-")
    tree = WorkTree.of(fake.ws, fake.source)
    argv = KernelMake(fake.ws, target, tree, "", "-x", fake.ws.logs / "x.log").argv("zImage")
    assert argv[:3] == ["make", "-C", str(tree.tree)]
    assert argv[-1] == "zImage"
    variables = dict(word.split("=", 1) for word in argv if "=" in word)
    assert (variables["O"], variables["ARCH"]) == (str(tree.build), "arm")
    assert variables["CROSS_COMPILE"] == f"{tools}/arm-eabi-"
    before, linker = (f"{tree.folder}/ccached ", "ld.bfd") if ccache else ("", "ld")
    assert variables["CC"] == f"{before}{tools}/arm-eabi-gcc"
    assert variables["LD"] == f"{tools}/arm-eabi-{linker}"
    assert variables["LOCALVERSION"] == "-x"
    assert target.make_variables
    assert set(target.make_variables) <= set(argv)


@pytest.mark.parametrize("ccache", [False, True])
def test_make_is_told_to_take_clang(
    fake: FakeRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ccache: bool
) -> None:
    if ccache:
        (tmp_path / "ccache").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    target = LINUX_6_1.with_toolchain("llvm")
    tree = WorkTree.of(fake.ws, replace(fake.source, target=target))
    assert tree.folder.name.endswith("-llvm")
    assert tree.folder != WorkTree.of(fake.ws, fake.source).folder
    argv = KernelMake(fake.ws, target, tree, "", "-x", fake.ws.logs / "x.log").argv("zImage")
    variables = dict(word.split("=", 1) for word in argv if "=" in word)
    assert variables["CC"] == (f"{tree.folder}/ccached clang" if ccache else "clang")
    assert (variables["LLVM"], variables["LD"]) == ("1", "ld.lld")
    assert "CROSS_COMPILE" not in variables


@pytest.mark.parametrize(
    ("source", "cached"),
    [
        ("mm/oom_kill.c", True),
        ("arch/arm/boot/compressed/piggy.S", False),
        ("/a/tree/usr/initramfs_data.S", False),
        ("/a/tree/kernel/configs.c", False),
    ],
)
def test_what_incbin_takes_in_is_compiled_anew(
    put_on_path: Callable[[str, str], Path], source: str, cached: bool
) -> None:
    for name in ("ccache", "gcc"):
        put_on_path(name, f'echo {name} "$@"')
    said = run([CCACHED, "gcc", "-c", "-o", "x.o", source]).output
    expected = f"gcc -c -o x.o {source}\n"
    assert said == (f"ccache {expected}" if cached else expected)


def test_a_kernel_is_built_by_the_compiler_that_was_given(
    fake: FakeRepository, tmp_path: Path
) -> None:
    prefix = f"{tmp_path}/own-"
    for tool in ("gcc", "ld"):
        calls = f'echo {tool} >>{tmp_path}/called; exec {tool} "$@"'
        script(Path(f"{prefix}{tool}"), calls)
    plain = build_it(fake)
    own = replace(fake, target=fake.target.with_cross_compile(prefix))
    kernel = build_it(own)
    assert kernel.key != plain.key
    assert "gcc" in (tmp_path / "called").read_text().split()
    record = json.loads((kernel.folder / "build.json").read_text())
    assert f"CROSS_COMPILE={prefix} " in record["command"]
    assert f"{prefix}gcc" in record["command"]
    assert record["inputs"]["make"].startswith(prefix)


def test_a_stock_kernel_is_asked_for_nothing_of_ours(fake: FakeRepository) -> None:
    fragment = fake.patches / "fragment.config"
    fragment.write_text("CONFIG_MMU=y\nCONFIG_MM_LIMITS=y\nCONFIG_MM_LIMITS_SLOTS=10\n")
    (stock,) = requested_config(fake.target.stock())
    assert stock.values == {"CONFIG_MMU": "y"}
    (ours,) = requested_config(fake.target)
    assert len(ours.values) == 3


# --- choices -------------------------------------------------------------------------


def hz_of(kernel: KernelBuild) -> list[str]:
    """The lines about the choice of the tree in miniature."""
    return [line for line in kernel.config.read_text().splitlines() if "HZ" in line]


def test_a_users_member_of_a_choice_wins_over_the_fragments(fake: FakeRepository) -> None:
    fragment = fake.patches / "fragment.config"
    fragment.write_text("CONFIG_MMU=y\nCONFIG_HZ_100=y\n")
    plain, extra = build_it(fake), build_it(fake, config="CONFIG_HZ_1000=y\n")
    assert hz_of(plain) == ["CONFIG_HZ_100=y", "# CONFIG_HZ_1000 is not set"]
    assert hz_of(extra) == ["# CONFIG_HZ_100 is not set", "CONFIG_HZ_1000=y"]
    assert plain.key != extra.key
    # The other way round it is the same lines, and another kernel.
    fragment.write_text("CONFIG_MMU=y\nCONFIG_HZ_1000=y\n")
    swapped = build_it(fake, config="CONFIG_HZ_100=y\n")
    assert hz_of(swapped) == hz_of(plain)
    assert len({plain.key, extra.key, swapped.key}) == 3


def test_a_users_member_of_a_choice_wins_over_a_defconfigs(fake: FakeRepository) -> None:
    text = "CONFIG_MMU=y\nCONFIG_HZ_100=y\n"
    board = with_defconfig(fake, "cp $(S)/board $(O)/.config", text)
    kernel = build_it(board, config="CONFIG_HZ_1000=y\n")
    assert hz_of(kernel) == ["# CONFIG_HZ_100 is not set", "CONFIG_HZ_1000=y"]


def test_the_debug_fragments_member_of_a_choice_wins_and_the_users_over_it(
    fake: FakeRepository,
) -> None:
    (fake.patches / "fragment.config").write_text("CONFIG_HZ_100=y\n")
    (fake.patches / "debug.config").write_text("CONFIG_HZ_1000=y\nCONFIG_SMP=y\n")
    debug = replace(fake, target=fake.target.checking_itself())
    assert hz_of(build_it(debug)) == ["# CONFIG_HZ_100 is not set", "CONFIG_HZ_1000=y"]
    kernel = build_it(debug, config="CONFIG_HZ_100=y\n")
    assert hz_of(kernel) == ["CONFIG_HZ_100=y", "# CONFIG_HZ_1000 is not set"]
    assert "CONFIG_SMP=y" in kernel.config.read_text()


def test_two_members_of_a_choice_in_one_file_are_refused(fake: FakeRepository) -> None:
    both = "CONFIG_HZ_1000=y\nCONFIG_HZ_100=y\n"
    message = "extra.config asks for CONFIG_HZ_1000 and CONFIG_HZ_100, of which a kernel has one"
    refused(fake, f"^{message}\n", KconfigError, config=both)


def test_a_file_without_a_line_makes_the_same_kernel(fake: FakeRepository) -> None:
    assert build_it(fake, config="# Nothing yet.\n").key == build_it(fake).key
