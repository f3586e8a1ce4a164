# SPDX-License-Identifier: MIT
"""The workflows for other people's CI: their form, and that their commands exist."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from invoke.collection import Collection
from invoke.parser.context import ParserContext
from invoke.parser.parser import Parser
from invoke.vendor import yaml

import tasks
from harness.core.paths import REPO
from harness.sweep.ci_jobs import ci_matrix
from harness.sweep.matrix import read_matrix
from harness.targets.table import TARGETS

WORKFLOWS = REPO / ".github" / "workflows"
KERNELS, SWEEP = WORKFLOWS / "kernels.yml", WORKFLOWS / "sweep.yml"
# How many lines of each call ./inv.
CALLS = {KERNELS: 6, SWEEP: 1}
# What GitHub knows of a job and of a step.
JOB_KEYS = {
    *("name", "runs-on", "container", "timeout-minutes", "strategy", "steps", "needs", "if", "env"),
    *("permissions", "outputs"),
}
STEP_KEYS = {"name", "run", "uses", "with", "if", "env", "id", "working-directory", "shell"}
MATRIX = ci_matrix(read_matrix(REPO / "docs" / "portability.toml").cells).include

each = pytest.mark.parametrize("path", CALLS, ids=lambda path: path.name)


def load(path: Path) -> dict[Any, Any]:
    loaded = yaml.safe_load(path.read_text())  # type: ignore[no-untyped-call]
    assert isinstance(loaded, dict)
    return loaded


def steps(workflow: dict[Any, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_every_workflow_is_looked_at() -> None:
    assert set(WORKFLOWS.iterdir()) == set(CALLS)


@each
def test_its_form(path: Path) -> None:
    workflow = load(path)
    # "on" is a truth value to YAML 1.1.
    assert set(workflow) == {"name", True, "permissions", "concurrency", "env", "jobs"}
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert set(job) <= JOB_KEYS
        assert job["runs-on"]
        assert 0 < job["timeout-minutes"] <= 90
        assert set(job.get("needs", "").split()) <= set(workflow["jobs"])
        for step in job["steps"]:
            assert set(step) <= STEP_KEYS
            assert ("run" in step) != ("uses" in step)
            if "uses" in step:
                assert re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|[0-9a-f]{40})", step["uses"])


def test_both_kernels_are_tested() -> None:
    assert load(KERNELS)["jobs"]["verdict"]["strategy"]["matrix"]["kernel"] == list(TARGETS)


@each
def test_every_expression_is_closed(path: Path) -> None:
    text = path.read_text()
    assert text.count("${{") == len(re.findall(r"\$\{\{[^{}]+\}\}", text))


def parse(line: str) -> None:
    contexts: list[ParserContext] = Collection.from_module(tasks).to_contexts()
    words = line.split()
    assert words[0] == "./inv"
    parsed = Parser(contexts=contexts).parse_argv(words[1:])
    assert [context.name for context in parsed if context.name]


@each
def test_its_commands_are_tasks_and_options_that_exist(path: Path) -> None:
    runs = "\n".join(step.get("run", "") for step in steps(load(path)))
    lines = [line.partition(" | ")[0] for line in runs.splitlines() if "./inv" in line]
    assert len(lines) == CALLS[path]
    for line in lines:
        parse(line.strip().replace("${{ matrix.kernel }}", "goldfish-3.4"))


# --- the sweep ----------------------------------------------------------------------


def run_step(job: str, part: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = load(SWEEP)["jobs"][job]["steps"]
    (step,) = (one for one in found if part in one.get("run", ""))
    return step


def bash(script: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a step's script as GitHub's `shell: bash` does."""
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_sweep_uses_only_what_its_matrix_has() -> None:
    text = SWEEP.read_text()
    used = set(re.findall(r"matrix\.(\w+)", text)) - {"outputs"}
    assert used <= set(vars(MATRIX[0]))
    jobs = load(SWEEP)["jobs"]
    assert jobs["run"]["needs"] == "cells"
    assert jobs["run"]["strategy"]["matrix"] == "${{ fromJSON(needs.cells.outputs.matrix) }}"
    assert jobs["cells"]["outputs"] == {"matrix": "${{ steps.list.outputs.matrix }}"}
    assert run_step("cells", "GITHUB_OUTPUT")["id"] == "list"


def test_the_jobs_of_the_sweep_are_commands_that_exist() -> None:
    for job in MATRIX:
        parse(job.setup)
        for line in job.command.splitlines():
            parse(line)


def fake_inv(folder: Path, script: str) -> None:
    inv = folder / "inv"
    inv.write_text(f"#!/bin/sh\n{script}\n")
    inv.chmod(0o755)


@pytest.mark.parametrize("status", [0, 2])
def test_the_list_of_cells_becomes_an_output(tmp_path: Path, status: int) -> None:
    fake_inv(tmp_path, f"echo '{{\"include\": []}}'; exit {status}")
    output = tmp_path / "output"
    step = run_step("cells", "GITHUB_OUTPUT")
    done = bash(step["run"], tmp_path, GITHUB_OUTPUT=str(output))
    assert done.returncode == status
    if status == 0:
        name, _, value = output.read_text().rstrip("\n").partition("=")
        assert (name, json.loads(value)) == ("matrix", {"include": []})


def test_every_cell_of_a_job_is_run_and_a_failure_is_kept(tmp_path: Path) -> None:
    fake_inv(tmp_path, 'echo "$#:$2" >> done; cat; [ "$2" != "a b" ]')
    step = run_step("run", "CELLS")
    assert step["env"] == {"CELLS": "${{ matrix.command }}"}
    cells = "./inv x 1\n./inv x 'a b'\n./inv x 3"
    done = bash(step["run"], tmp_path, CELLS=cells)
    assert (tmp_path / "done").read_text().splitlines() == ["2:1", "2:a b", "2:3"]
    assert done.returncode == 1
    assert bash(step["run"], tmp_path, CELLS="./inv x 1\n./inv x 2").returncode == 0


def test_a_wrong_option_would_be_found() -> None:
    from invoke.exceptions import ParseError

    contexts: list[ParserContext] = Collection.from_module(tasks).to_contexts()
    with pytest.raises(ParseError):
        Parser(contexts=contexts).parse_argv(["setup", "--no-such-option"])
