"""What the .proto files say of errors is what holterd does.

error_reason.proto ends each reason's comment with its gRPC status and lists the metadata before
it; the services list the errors of each method. `buf lint` sees that every element has a comment.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

import grpc
import pytest

from conftest import ROOT
from holter.v1 import error_reason_pb2
from holter_device.rpc.errors import TABLE

PROTOS = ROOT / "proto" / "holter" / "v1"
DEVICE = ROOT / "device" / "src" / "holter_device"
PREFIX = "ERROR_REASON_"
STATUSES = {status.name for status in grpc.StatusCode}
SERVED = {
    error_reason_pb2.ErrorReason.Name(reason).removeprefix(PREFIX): (kind, status.name)
    for kind, status, reason in TABLE
}


@cache
def documented() -> dict[str, tuple[set[str], set[str], str]]:
    """Each reason's metadata (always there, and there on a condition) and status."""
    text = PROTOS.joinpath("error_reason.proto").read_text()
    found = {}
    for comment, name in re.findall(rf"((?: +//.*\n)+) +{PREFIX}(\w+) =", text):
        said = re.sub(r"\s*//\s*", " ", comment).strip()
        listed = re.search(r"Metadata: ([^.]*)\.", said)
        always, _, sometimes = (listed[1] if listed else "").partition(", and ")
        always = re.sub(r"\([^)]*\)", "", always)
        status = re.search(r"(\w+)\.$", said)
        found[name] = (
            set(re.findall(r"\w+", always)),
            set(sometimes.split()[:1]),
            status[1] if status else "",
        )
    return found


@cache
def facts_given() -> dict[str, list[tuple[str, set[str], bool]]]:
    """For each error class, where it is made, with which facts, and whether with others too."""
    found = defaultdict(list)
    for path in DEVICE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
                name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
                names = {word.arg for word in node.keywords if word.arg}
                where = f"{path.relative_to(ROOT)}:{node.lineno}"
                found[name].append((where, names, len(names) < len(node.keywords)))
    return found


def test_every_reason_is_documented() -> None:
    """No reason is without a comment."""
    names = {name.removeprefix(PREFIX) for name in error_reason_pb2.ErrorReason.keys()}  # noqa: SIM118
    assert documented().keys() == names


@pytest.mark.parametrize("reason", sorted(SERVED))
def test_the_documented_status_is_the_served_one(reason: str) -> None:
    """The status at the end of a reason's comment is that with which holterd ends the call."""
    assert documented()[reason][2] == SERVED[reason][1]


@pytest.mark.parametrize("reason", sorted(SERVED))
def test_the_documented_metadata_is_given(reason: str) -> None:
    """Wherever the error is made it has the facts that are documented, and no other by name."""
    kind, _ = SERVED[reason]
    always, sometimes, _ = documented()[reason]
    made = facts_given()[kind.__name__]
    assert made
    for where, names, open_ended in made:
        assert names - sometimes == always or (open_ended and names <= always), where


def test_the_documented_key_of_a_malformed_model_is_given() -> None:
    """A file whose spec is wrong tells the key: the one fact that is given on a condition."""
    assert documented()["MODEL_MALFORMED"][1] == {"key"}
    assert set().union(*(names for _, names, _ in facts_given()["malformed"])) == {"key"}


@pytest.mark.parametrize("path", sorted(PROTOS.glob("*_service.proto")), ids=lambda p: p.stem)
def test_methods_name_reasons_with_their_status(path: Path) -> None:
    """Where a method lists STATUS (REASON, …), each is a reason of that status."""
    said = re.sub(r"\s*//\s*", " ", path.read_text())
    pairs = re.findall(r"\b([A-Z_]+) \(([A-Z_, ]+)\)", said)
    assert bool(pairs) is (path.stem != "device_service")
    for status, reasons in pairs:
        assert status in STATUSES
        for reason in reasons.split(", "):
            assert SERVED[reason][1] == status
