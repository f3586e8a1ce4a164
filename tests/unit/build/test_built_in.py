# SPDX-License-Identifier: MIT
"""What a build in the user's own tree left there is told from its source by the tree's make."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakekernel import FakeRepository

from harness.build.built_in import built_in
from harness.build.listing import walk
from harness.build.source import fetch

CLEAN = "\nclean-objects:\n\t@find . -name '*.o' -type f -delete\nmrproper: clean-objects\n"


@pytest.fixture
def tree(fake: FakeRepository) -> Path:
    """A tree that has been built in, whose `make mrproper` removes objects too."""
    makefile = fake.pristine / "Makefile"
    makefile.write_text(makefile.read_text() + CLEAN)
    for name in (".config", "include/config/auto.conf", "mm/limits.o", "mm/page_alloc.o"):
        (fake.pristine / name).parent.mkdir(exist_ok=True)
        (fake.pristine / name).write_text("built")
    return fake.pristine


def left(fake: FakeRepository) -> set[str]:
    return set(built_in(fake.ws, fake.target, fake.pristine, list(walk(fake.pristine))))


def asked(fake: FakeRepository) -> int:
    return fake.said.getvalue().count("has been built in")


def test_a_tree_that_was_not_built_in_is_all_source(fake: FakeRepository) -> None:
    (fake.pristine / "mm/firmware.o").touch()
    assert left(fake) == set()
    assert asked(fake) == 0


def test_what_mrproper_removes_is_built(fake: FakeRepository, tree: Path) -> None:
    before = {file.name: file.stamp for file in walk(tree)}
    names = {".config", "include/config/auto.conf", "mm/limits.o", "mm/page_alloc.o"}
    assert left(fake) == names
    assert {file.name: file.stamp for file in walk(tree)} == before


def test_make_is_asked_only_if_there_is_something_new(fake: FakeRepository, tree: Path) -> None:
    names = left(fake)
    (tree / "mm/limits.o").write_text("built again")
    (tree / "mm/page_alloc.o").unlink()
    (tree / "mm/page_alloc.c").write_text("int x;\n")
    assert left(fake) == names - {"mm/page_alloc.o"}
    assert asked(fake) == 1
    for name in ("mm/new.c", "mm/new.o"):
        (tree / name).touch()
    assert left(fake) == names - {"mm/page_alloc.o"} | {"mm/new.o"}
    assert asked(fake) == 2
    makefile = tree / "Makefile"
    makefile.write_text(makefile.read_text().replace("'*.o'", "'new.o'"))
    assert left(fake) == {".config", "include/config/auto.conf", "mm/new.o"}
    assert asked(fake) == 3


def test_a_make_that_fails_leaves_what_is_known_anyway(fake: FakeRepository, tree: Path) -> None:
    (tree / "Makefile").open("a").write("\n$(error this make is too new)\n")
    assert left(fake) == {".config", "include/config/auto.conf"}


def test_a_build_in_the_tree_makes_no_other_source(fake: FakeRepository, tree: Path) -> None:
    keys = {fetch(fake.ws, fake.target, str(tree)).key}
    (tree / "mm/limits.o").write_text("built again")
    (tree / "mm/new.o").write_text("built")
    keys.add(fetch(fake.ws, fake.target, str(tree)).key)
    # As `make mrproper` in the tree does.
    for name in (".config", "include/config/auto.conf", *(f.name for f in walk(tree))):
        if not name.endswith((".c", ".h", "Makefile", "Kconfig")):
            (tree / name).unlink(missing_ok=True)
    keys.add(fetch(fake.ws, fake.target, str(tree)).key)
    assert len(keys) == 1


def test_a_build_that_goes_on_in_the_tree_is_no_change_of_its_source(
    fake: FakeRepository, tree: Path
) -> None:
    listing = fetch(fake.ws, fake.target, str(tree)).listing
    assert listing is not None
    (tree / "mm/new.o").write_text("built")
    (tree / "mm/limits.o").unlink()
    listing.check_unmoved()
    (tree / "mm/new.c").touch()
    assert listing.moved() == ["mm/new.c"]


def test_a_build_that_begins_in_the_tree_is_no_change_of_its_source(fake: FakeRepository) -> None:
    listing = fetch(fake.ws, fake.target, str(fake.pristine)).listing
    assert listing is not None
    (fake.pristine / ".config").touch()
    (fake.pristine / "include/config").mkdir()
    (fake.pristine / "include/config/auto.conf").touch()
    listing.check_unmoved()
    (fake.pristine / "mm/page_alloc.c").touch()
    assert listing.moved() == ["mm/page_alloc.c"]
