# SPDX-License-Identifier: MIT
"""The workflow for other people's CI: its form, and that its commands exist."""

from __future__ import annotations

import re
from typing import Any

import pytest
from invoke.collection import Collection
from invoke.parser.context import ParserContext
from invoke.parser.parser import Parser
from invoke.vendor import yaml

import tasks
from harness.core.paths import REPO
from harness.targets.table import TARGETS

WORKFLOW = REPO / ".github" / "workflows" / "kernels.yml"
# What GitHub knows of a job and of a step.
JOB_KEYS = {
    *("name", "runs-on", "container", "timeout-minutes", "strategy", "steps", "needs", "if", "env"),
    "permissions",
}
STEP_KEYS = {"name", "run", "uses", "with", "if", "env", "id", "working-directory", "shell"}


@pytest.fixture
def workflow() -> dict[Any, Any]:
    loaded = yaml.safe_load(WORKFLOW.read_text())  # type: ignore[no-untyped-call]
    assert isinstance(loaded, dict)
    return loaded


def steps(workflow: dict[Any, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_its_form(workflow: dict[Any, Any]) -> None:
    # "on" is a truth value to YAML 1.1.
    assert set(workflow) == {"name", True, "permissions", "concurrency", "env", "jobs"}
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert set(job) <= JOB_KEYS
        assert job["runs-on"]
        assert 0 < job["timeout-minutes"] <= 90
        for step in job["steps"]:
            assert set(step) <= STEP_KEYS
            assert ("run" in step) != ("uses" in step)
            if "uses" in step:
                assert re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|[0-9a-f]{40})", step["uses"])


def test_both_kernels_are_tested(workflow: dict[Any, Any]) -> None:
    assert workflow["jobs"]["verdict"]["strategy"]["matrix"]["kernel"] == list(TARGETS)


def test_every_expression_is_closed() -> None:
    text = WORKFLOW.read_text()
    assert text.count("${{") == len(re.findall(r"\$\{\{[^{}]+\}\}", text))


def test_its_commands_are_tasks_and_options_that_exist(workflow: dict[Any, Any]) -> None:
    runs = "\n".join(step.get("run", "") for step in steps(workflow))
    lines = [line.partition(" | ")[0] for line in runs.splitlines() if "./inv" in line]
    assert len(lines) == 5
    contexts: list[ParserContext] = Collection.from_module(tasks).to_contexts()
    for line in lines:
        words = line.replace("${{ matrix.kernel }}", "goldfish-3.4").split()
        assert words[0] == "./inv"
        parsed = Parser(contexts=contexts).parse_argv(words[1:])
        assert [context.name for context in parsed if context.name]


def test_a_wrong_option_would_be_found() -> None:
    from invoke.exceptions import ParseError

    contexts: list[ParserContext] = Collection.from_module(tasks).to_contexts()
    with pytest.raises(ParseError):
        Parser(contexts=contexts).parse_argv(["setup", "--no-such-option"])
