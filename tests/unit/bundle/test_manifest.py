# SPDX-License-Identifier: MIT
"""Manifests read back as they were written; others are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import bundles
import pytest
from hypothesis import given

from harness.bundle.manifest import (
    LARGEST_CONTENT,
    MOST_MEMBERS,
    Manifest,
    Member,
    check_members,
    from_text,
)
from harness.core.errors import InfrastructureError
from harness.core.typed_json import to_text

DIGEST = "0" * 64


@given(bundles.manifests())
def test_what_was_written_is_read(manifest: Manifest) -> None:
    assert from_text(to_text(manifest).encode()) == manifest


def test_a_manifest_of_a_run_is_read_by_who_knows_only_the_first_schema() -> None:
    assert bundles.manifest().schema == 1


def test_where_nothing_was_run_there_is_nothing_to_compare_with() -> None:
    built = bundles.manifest(**bundles.ONLY_BUILT)
    assert from_text(to_text(built).encode()) == built
    assert (built.schema, built.scenarios, built.rounds, built.original) == (2, None, None, None)


def changed(change: Callable[[Any], None], **manifest: Any) -> bytes:
    value = json.loads(to_text(bundles.manifest(**manifest)))
    change(value)
    return json.dumps(value).encode()


@pytest.mark.parametrize("schema", [3, 2**63])
def test_a_newer_schema_is_said_to_be_newer(schema: int) -> None:
    def newer(value: Any) -> None:
        value.clear()
        value.update(schema=schema, anything={"else": []})

    with pytest.raises(InfrastructureError, match="made by a newer version") as caught:
        from_text(changed(newer))
    assert caught.value.hint == "git pull, then try it again"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda value: value.pop("schema"), "no schema"),
        (lambda value: value.update(schema="1"), "no schema"),
        (lambda value: value.update(schema=0), "no schema 0"),
        (lambda value: value.update(scenarios=None), "does not say what was run"),
        (lambda value: value.update(schema=2), "schema 2 is for what was built and not run"),
        (lambda value: value.update(original=None), "does not say how the run ended"),
        (
            lambda value: value.update(rounds={"seed": 1, "count": 1}),
            "does not say what was run",
        ),
        (
            lambda value: value["machine"].pop("cpu"),
            r"field `cpu` - at `\$\.machine`",
        ),
        (lambda value: value["machine"].update(accel="kvm"), "unknown field 'accel'"),
        (lambda value: value["kernel"].update(release="a\x1b[31m"), "is not printable"),
        (lambda value: value["members"].pop(3), "does not list modules/my_oom_killer"),
        (lambda value: value["members"].append(value["members"][0]), "two members"),
        (lambda value: value["members"][0].update(sha256="00"), "has no SHA-256"),
        (lambda value: value["members"][0].update(size=2**40), "more than the 200"),
    ],
)
def test_what_is_wrong_is_named(change: Callable[[Any], None], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_text(changed(change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda value: value.update(schema=1), "does not say what was run"),
        (lambda value: value.update(rounds={"seed": 1, "count": 1}), "built and not run"),
        (
            lambda value: value.update(original={"passed": True, "result": "x", "outcomes": []}),
            "built and not run",
        ),
        (
            lambda value: value.update(schema=1, rounds={"seed": 1, "count": 1}),
            "does not say how the run ended",
        ),
    ],
)
def test_what_was_built_says_nothing_of_a_run(change: Callable[[Any], None], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_text(changed(change, **bundles.ONLY_BUILT))


@pytest.mark.parametrize("text", [b"", b"[]", b"null", b'"schema"', b"\xff", b"[" * 100_000])
def test_what_is_no_manifest_is_a_value_error(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        from_text(text)


@pytest.mark.parametrize(
    "name",
    [
        *("", "x", "/etc/passwd", "../x", "original/../x", "original/x/y", "original/guest2/../x"),
        *("programs/..", "programs/.x", "programs/", "programs/a/b", "modules/a", "kernel/image/x"),
        *("original/a\n", "original/a b", "original/\u0430", "C:\\x", "manifest.json"),
    ],
)
def test_a_name_that_no_member_has_is_refused(name: str) -> None:
    members = (*bundles.manifest().members, Member(name, 1, DIGEST))
    with pytest.raises(ValueError, match="no member may be called"):
        check_members(members)


def test_too_much_is_refused() -> None:
    whole = bundles.manifest().members
    with pytest.raises(ValueError, match="more than"):
        check_members((*whole, Member("original/console.log2", LARGEST_CONTENT, DIGEST)))
    many = tuple(Member(f"original/{number}", 0, DIGEST) for number in range(MOST_MEMBERS))
    with pytest.raises(ValueError, match="more than"):
        check_members((*whole, *many))
