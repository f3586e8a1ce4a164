# SPDX-License-Identifier: MIT
"""The harness imports only downwards; what is outside is met in one place each."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter

import pytest

from harness.paths import REPO
from harness.targets import TARGETS

# From the bottom up. Modules of one layer may import each other, as long as
# there is no circle; "building" and "booting" stand side by side.
LAYERS: dict[str, set[str]] = {
    "errors": {"errors"},
    "ground": {
        # what every step stands on
        *("cache", "environment", "lifetime", "paths", "patience", "ports", "process"),
        "side_by_side",
        # what a run tells while it goes
        *("events", "live_picture", "live_view", "progress", "sinks"),
        *("packages", "targets", "tools", "workspace"),
        # pure data and parsing
        *(
            "elfcheck",
            "kconfig",
            "kernel_reports",
            "klog",
            "oracle",
            "proc_mm_limits",
            "programs_output",
        ),
        *("fuzz_round", "records", "scenario_script", "scenarios", "series", "summary"),
        *("differential", "junit", "kcidb", "ktap", "usage", "verdict"),
        *("agreement", "bundle_archive", "bundle_manifest", "scrub", "typed_json"),
        *("baselines", "bench_goals", "bench_output", "bench_plan", "bench_result"),
        *("bench_docs", "bench_stats"),
        *("evidence", "json_fields", "run_result"),
        *("report_chart", "report_index", "report_log", "report_units", "report_view"),
    },
    "building": {
        *("built", "checkpatch", "debian", "decoded_reports", "git_source", "initramfs", "kernel"),
        *("kernel_symbols", "modules", "ndk", "patching", "programs", "rootfs", "source"),
        *("toolchain", "tree_faults"),
    },
    "booting": {"adb", "avd", "console", "qemu", "qmp", "snapshot", "sdk"},
    "session": {"equipment", "session"},
    "jobs": {
        *("bench", "bench_harness", "bench_page", "bench_plot"),
        *(
            "boot",
            "checks",
            "clean",
            "stored",
            "cli",
            "doctor",
            "emulator_test",
            "fuzz",
            "guests",
            "patch_check",
        ),
        *("bundle", "replay", "report", "report_page", "results", "scenario_run", "setup"),
        *("step_summary",),
    },
}
RANKS = {"errors": 0, "ground": 1, "building": 2, "booting": 2, "session": 3, "jobs": 4}
LAYER_OF = {module: layer for layer, modules in LAYERS.items() for module in modules}

# Packages that one module alone may import, and those that none may.
DOORS = {"adbutils": "adb", "pexpect": "console", "qemu": "qmp"}
FORBIDDEN = {"invoke", "pytest"}

HARNESS = REPO / "harness"
MODULES = sorted(path.stem for path in HARNESS.glob("*.py") if path.stem != "__init__")


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


def imports_of(module: str) -> set[str]:
    return set(imports_in((HARNESS / f"{module}.py").read_text()))


def harness_imports(module: str) -> set[str]:
    return {name.split(".")[1] for name in imports_of(module) if name.startswith("harness.")}


def may_import(importer: str, imported: str) -> bool:
    above, below = LAYER_OF[importer], LAYER_OF[imported]
    return above == below or RANKS[above] > RANKS[below]


def test_walker_sees_every_form() -> None:
    text = "import a.b\nfrom harness import x, y\ndef f():\n    from harness.z import q\n"
    assert list(imports_in(text)) == ["a.b", "harness.x", "harness.y", "harness.z"]


def test_rule_can_fail() -> None:
    assert not may_import("kernel", "qemu")
    assert not may_import("qemu", "kernel")
    assert not may_import("errors", "cache")
    assert not may_import("session", "emulator_test")
    assert may_import("session", "qemu")


@pytest.mark.parametrize("module", MODULES)
def test_module_has_a_layer(module: str) -> None:
    assert module in LAYER_OF, f"say in {__file__} which layer harness/{module}.py belongs to"


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_downwards(module: str) -> None:
    wrong = {name for name in harness_imports(module) if not may_import(module, name)}
    assert not wrong


def test_no_circles() -> None:
    TopologicalSorter({module: harness_imports(module) for module in MODULES}).prepare()


@pytest.mark.parametrize("module", MODULES)
def test_outside_packages_have_one_door(module: str) -> None:
    packages = {name.split(".")[0] for name in imports_of(module)}
    assert not packages & FORBIDDEN
    assert {DOORS[name] for name in packages & DOORS.keys()} <= {module}


def test_tasks_import_the_harness_lazily() -> None:
    body = ast.parse((REPO / "tasks.py").read_text()).body
    top = "\n".join(ast.unparse(node) for node in body if not isinstance(node, ast.FunctionDef))
    runtime = top.partition("if TYPE_CHECKING:")[0]
    assert not [name for name in imports_in(runtime) if name.startswith("harness")]


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
    assert target_names_in("from harness.targets import GOLDFISH_3_4") == {"GOLDFISH_3_4"}
    assert target_names_in("x = targets.LINUX_6_1") == {"LINUX_6_1"}
    assert target_names_in("x = {'goldfish-3.4': 1}") == {"goldfish-3.4"}


def test_to_show_a_name_is_no_question() -> None:
    text = "log = f'kernel-{target.name}.log'\nif target.warnings_stop: say(target.version)"
    assert not questions_in(text)
    assert not target_names_in(text)


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"targets"}))
def test_no_module_asks_which_target_it_has(module: str) -> None:
    text = (HARNESS / f"{module}.py").read_text()
    assert questions_in(text) == set()
    assert target_names_in(text) == set()
