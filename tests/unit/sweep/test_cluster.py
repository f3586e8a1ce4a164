# SPDX-License-Identifier: MIT
"""Addresses, TLS and what workers announce; tests/unit/sweep/test_faults.py has the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import InfrastructureError, UsageError
from harness.sweep import announced
from harness.sweep.address import NO_TLS, Tls, checked
from harness.sweep.cluster import connection
from harness.sweep.cluster.connection import Cluster, connected
from harness.sweep.cluster.local import throwaway_tls
from harness.sweep.happening import Workers


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    return throwaway_tls(tmp_path)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("tcp://host:8786", "tcp://host:8786"),
        ("host:8786", "tcp://host:8786"),
        ("tcp://[::1]:1", "tcp://[::1]:1"),
    ],
)
def test_an_address(given: str, found: str) -> None:
    assert checked(given, NO_TLS) == found


@pytest.mark.parametrize(
    "given",
    [
        *("", "host", "tcp://host", "http://host:1", "tcp://:1", "host:x"),
        *("tcp://host:²", "tcp://[::1:8786", "host:65536", f"host:{'1' * 5000}"),
    ],
)
def test_what_is_no_address(given: str) -> None:
    with pytest.raises(UsageError, match="not a scheduler's address"):
        checked(given, NO_TLS)


def test_tls_and_the_address_fit(tls: Tls, tmp_path: Path) -> None:
    assert checked("tls://host:1", tls) == "tls://host:1"
    with pytest.raises(UsageError, match="needs the files"):
        checked("tls://host:1", Tls(tls.ca, tls.cert))
    with pytest.raises(UsageError, match="has none"):
        checked("host:1", tls)
    with pytest.raises(UsageError, match="there is no file"):
        checked("tls://host:1", Tls(tls.ca, tls.cert, str(tmp_path / "none")))
    assert (Path(tls.key).stat().st_mode & 0o777) == 0o600


def test_what_a_worker_announces_is_what_orders_need() -> None:
    has = announced.announced("code", 2, ("a", "b"), ("a",))
    for needed in (
        announced.needs("b", "code", guest=True, build=""),
        announced.needs("a", "code", guest=True, build="a"),
        announced.needs("a", "code", guest=False, build="a"),
    ):
        assert all(has.get(name, 0) >= amount for name, amount in needed.items())
    for needed in (
        announced.needs("c", "code", guest=True, build=""),
        announced.needs("b", "code", guest=False, build="b"),
        announced.needs("a", "other", guest=True, build=""),
    ):
        assert not all(has.get(name, 0) >= amount for name, amount in needed.items())
    assert announced.BUILD not in announced.announced("code", 2, ("a",), ())


@pytest.mark.parametrize(
    "name",
    [
        *("inv_program.py", "tasks.py", "harness/a.py", "tests/fakes/b.py", "tests/conftest.py"),
        *("invoke.yaml", "pyproject.toml", "requirements.lock"),
    ],
)
def test_the_code_is_all_that_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(announced, "REPO", tmp_path)
    before = announced.this_code()
    assert not announced.is_changed(before)
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).touch()
    assert announced.is_changed(before)


def test_a_file_that_vanishes_is_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: Path) -> str:
        raise FileNotFoundError

    before = announced.this_code()
    monkeypatch.setattr(announced, "tree_digest", gone)
    assert announced.is_changed(before)


def test_what_other_sweeps_have_on_a_worker_is_known() -> None:
    nothing: Any = None
    cluster = Cluster("tcp://host:1", NO_TLS, nothing)
    cluster._flights["ours"] = connection._Flight("tcp://a", nothing)
    told = {"name": "w", "resources": {"guest": 2.0}, "status": "running"}
    counts = {"executing": 2, "constrained": 1, "memory": 5}
    cluster._see({"tcp://a": {**told, "metrics": {"task_counts": counts}}, "tcp://b": told})
    seen = cluster.next(0.0)
    assert isinstance(seen, Workers)
    assert [(one.address, one.others) for one in seen.seen] == [("tcp://a", 2), ("tcp://b", 0)]


def test_no_scheduler_answers() -> None:
    with (
        pytest.raises(InfrastructureError, match=r"no scheduler answers at tcp://127\.0\.0\.1:1"),
        connected("tcp://127.0.0.1:1", patience=0.5),
    ):
        pass
