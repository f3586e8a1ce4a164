# SPDX-License-Identifier: MIT
"""What is outside is met in one place each, and no module asks which target it has.

That imports go down only is import-linter's to see: see `pyproject.toml`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from harness.core.paths import REPO
from harness.targets.table import TARGETS

# Packages that one module or package alone may import, and those that none may.
DOORS = {
    "adbutils": "machine/adb",
    "dask": "sweep/cluster",
    "distributed": "sweep/cluster",
    "pexpect": "machine/console",
    "qemu": "machine/qmp",
}
FORBIDDEN = {"invoke", "pytest"}

HARNESS = REPO / "harness"
MODULES = sorted(str(path.relative_to(HARNESS).with_suffix("")) for path in HARNESS.rglob("*.py"))


def imports_in(text: str) -> Iterator[str]:
    """The dotted names that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide what is imported"
            module = node.module or ""
            if module == "harness":
                yield from (f"harness.{alias.name}" for alias in node.names)
            else:
                yield module


def test_walker_sees_every_form() -> None:
    text = "import a.b\nfrom harness import x, y\ndef f():\n    from harness.z import q\n"
    assert list(imports_in(text)) == ["a.b", "harness.x", "harness.y", "harness.z"]


@pytest.mark.parametrize("module", MODULES)
def test_outside_packages_have_one_door(module: str) -> None:
    text = (HARNESS / f"{module}.py").read_text()
    packages = {name.split(".")[0] for name in imports_in(text)}
    assert not packages & FORBIDDEN
    places = {module, module.rpartition("/")[0]}
    assert {DOORS[name] for name in packages & DOORS.keys()} <= places


def test_tasks_import_the_harness_lazily() -> None:
    body = ast.parse((REPO / "tasks.py").read_text()).body
    top = "\n".join(ast.unparse(node) for node in body if not isinstance(node, ast.FunctionDef))
    runtime = top.partition("if TYPE_CHECKING:")[0]
    # The table is data, and the help names the targets.
    allowed = {"harness.targets.table"}
    assert {name for name in imports_in(runtime) if name.startswith("harness")} == allowed


# --- what differs between the targets is in one place --------------------------------

# What tells one target from another. A name may be shown and go into a key.
TELLING = ("target.name", "target.version", "target.emulator", "kernel.name", "kernel.version")
VERSIONS = {target.version for target in TARGETS.values()}
ASKING_METHODS = {"startswith", "endswith", "removeprefix"}


def target_names_in(text: str) -> set[str]:
    """The names and constants of single targets that a module knows."""
    found: set[str] = set()
    constants = {name.upper().replace("-", "_").replace(".", "_") for name in TARGETS}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found |= TARGETS.keys() & {node.value}
        elif isinstance(node, ast.ImportFrom):
            found |= constants & {alias.name for alias in node.names}
        elif isinstance(node, ast.Name | ast.Attribute):
            name = node.id if isinstance(node, ast.Name) else node.attr
            found |= constants & {name}
    return found


def is_telling(node: ast.expr) -> bool:
    """Whether an expression is a target's name, version or emulator, or a version itself."""
    if isinstance(node, ast.Constant):
        return node.value in TARGETS or node.value in VERSIONS
    return ast.unparse(node).endswith(TELLING)


def questions_in(text: str) -> set[str]:
    """The places where a module asks which target it has before it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Compare):
            asked = [node.left, *node.comparators]
        elif isinstance(node, ast.Match):
            asked = [node.subject]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            asked = [node.func.value] if node.func.attr in ASKING_METHODS else []
        else:
            continue
        if any(is_telling(part) for part in asked):
            found.add(ast.unparse(node))
    return found


@pytest.mark.parametrize(
    "text",
    [
        "if kernel == 'goldfish-3.4': pass",
        "x = 'linux-6.1' in names",
        "if self.target.name != other: pass",
        "if ws.target.version.startswith('3.'): pass",
        "match target.emulator:\n    case 'sdk': pass",
        "if version == '3.4': pass",
    ],
)
def test_a_question_is_seen(text: str) -> None:
    assert questions_in(text)


def test_a_name_is_seen() -> None:
    assert target_names_in("from harness.targets.model import GOLDFISH_3_4") == {"GOLDFISH_3_4"}
    assert target_names_in("x = targets.LINUX_6_1") == {"LINUX_6_1"}
    assert target_names_in("x = {'goldfish-3.4': 1}") == {"goldfish-3.4"}


def test_to_show_a_name_is_no_question() -> None:
    text = "log = f'kernel-{target.name}.log'\nif target.warnings_stop: say(target.version)"
    assert not questions_in(text)
    assert not target_names_in(text)


@pytest.mark.parametrize("module", [name for name in MODULES if not name.startswith("targets/")])
def test_no_module_asks_which_target_it_has(module: str) -> None:
    text = (HARNESS / f"{module}.py").read_text()
    assert questions_in(text) == set()
    assert target_names_in(text) == set()
