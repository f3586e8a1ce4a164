# SPDX-License-Identifier: MIT
"""What holds for every file of the repository."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from harness.core.paths import REPO
from harness.scenarios.catalogue import select

LARGEST_BYTES = 300_000
KERNEL_CODE = ("kernel_patches/", "module/")
# Texts of licences, what a tool writes, and files whose form has no comments.
WITHOUT_SPDX = re.compile(
    r"LICENSES/.*|requirements\.lock|.*\.(json|patch|log|txt|png|svg)|.*/series|.*\.gitkeep"
)
# Where Debian, PyPI and this project's makers happen to get and keep things.
PLACES = re.compile(
    r"(deb|security|ftp|archive|ports|snapshot)\.(debian|ubuntu)\.(org|com)|pypi\.org"
    r"|pythonhosted\.org|/root/|/work/(main|shared)|/home/[a-z]"
)


def tracked() -> list[str]:
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z"],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=True,
    )
    return [name for name in listed.stdout.split("\0") if (REPO / name).is_file()]


FILES = tracked()


def text_of(name: str) -> str:
    return (REPO / name).read_text(errors="replace")


def test_there_are_files() -> None:
    assert {"inv", "tasks.py", "requirements.lock", "README.md"} <= set(FILES)


@pytest.mark.parametrize("name", [name for name in FILES if not WITHOUT_SPDX.fullmatch(name)])
def test_licence_is_named(name: str) -> None:
    head = "\n".join(text_of(name).splitlines()[:3])
    found = re.search(r"SPDX-License-Identifier: (GPL-2\.0-only|MIT)\b", head)
    assert found is not None, f"{name}: no SPDX line"
    if name.startswith(KERNEL_CODE) and name.endswith((".c", ".h")):
        assert found[1] == "GPL-2.0-only"
    if name.endswith(".py"):
        assert found[1] == "MIT"


def test_licences_are_here() -> None:
    names = {path.stem for path in (REPO / "LICENSES").iterdir()}
    assert names == {"GPL-2.0-only", "MIT"}


# This file names the places itself.
@pytest.mark.parametrize("name", [name for name in FILES if Path(name).name != Path(__file__).name])
def test_no_place_of_one_machine(name: str) -> None:
    found = PLACES.search(text_of(name))
    assert found is None, f"{name}: {found[0] if found else ''}"


def test_no_file_is_large() -> None:
    sizes = {name: (REPO / name).stat().st_size for name in FILES}
    assert {name: size for name, size in sizes.items() if size > LARGEST_BYTES} == {}


def test_nothing_generated_is_tracked() -> None:
    generated = re.compile(r".*\.(pyc|o|ko|so|cpio|gz|xz|img)|results/.*|.*/__pycache__/.*")
    assert [name for name in FILES if generated.fullmatch(name)] == []


def requirement_name(text: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", text, maxsplit=1)[0].lower().replace(".", "-")


def test_lock_holds_every_dependency_with_hashes() -> None:
    project = tomllib.loads(text_of("pyproject.toml"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    entries = re.findall(
        r"^(\S+)==\S+ \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)",
        text_of("requirements.lock"),
        re.MULTILINE,
    )
    assert {requirement_name(name) for name in wanted} <= {name for name, _ in entries}
    pins = re.findall(r"^[a-z].*$", text_of("requirements.lock"), re.MULTILINE)
    assert len(entries) == len(pins)


def test_ci_runs_what_the_readme_says() -> None:
    assert "./inv setup test" in text_of(".ci/run")
    assert "./inv setup test" in text_of("README.md")
    assert "./inv setup emulator-test --policy rss" in text_of("README.md")


def test_readme_says_how_many_scenarios_there_are() -> None:
    alloc, daemon = (len(select(None, trigger)) for trigger in ("alloc", "daemon"))
    said = f"{alloc} scenarios under each policy ({daemon} with `--trigger daemon`)"
    assert said in text_of("README.md")


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".md")])
def test_the_files_that_a_page_links_to_are_here(name: str) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text_of(name))
    folder = (REPO / name).parent
    assert [link for link in links if not (folder / link).exists()] == []


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/adding-a-kernel.md"])
def test_what_a_page_for_contributors_names_is_here(page: str) -> None:
    text = text_of(page)
    folders = "|".join({re.escape(name.partition("/")[0]) for name in FILES if "/" in name})
    paths = set(re.findall(rf"`((?:{folders})/[\w./-]+)`", text))
    assert paths
    assert [path for path in sorted(paths) if not (REPO / path).exists()] == []
    names = set(re.findall(r"`(\w+)(?:\(\))?` (?:in|of)\s+`([\w./-]*[./][\w./-]+)`", text))
    assert names
    assert [(name, path) for name, path in sorted(names) if name not in text_of(path)] == []


def test_the_tests_that_the_design_names_are_here() -> None:
    named = set(re.findall(r"`(test_\w+)`", text_of("docs/design.md")))
    tests = "".join(path.read_text() for path in (REPO / "tests").rglob("test_*.py"))
    assert named
    assert {name for name in named if f"def {name}(" not in tests} == set()


def test_invoke_configuration_has_what_tasks_read() -> None:
    keys = set(re.findall(r"^  (\w+):", text_of("invoke.yaml"), re.MULTILINE))
    read = set(re.findall(r"(?:goldfish_oom|defaults)\.(\w+)", text_of("tasks.py")))
    assert read == keys


def test_the_kernels_version_is_asked_for_in_the_compatibility_header_alone() -> None:
    asks = re.compile(r"\b(LINUX_VERSION_CODE|KERNEL_VERSION|MM_LIMITS_SINCE)\b")
    code = [name for name in FILES if name.startswith(KERNEL_CODE)]
    asking = [name for name in code if asks.search(text_of(name))]
    assert asking == ["kernel_patches/common/include/linux/mm_limits_compat.h"]
