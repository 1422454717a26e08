"""Requests made from the OpenAPI document, right and wrong: every answer is one that the document declares."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from served import running

schemathesis = pytest.importorskip("schemathesis", reason="makes the requests: pip install schemathesis")


@pytest.fixture(scope="module")
def document(model: Path) -> Iterator[Any]:
    with running(model, "threads=1", "queue=100") as process:
        yield schemathesis.openapi.from_url(f"{process.url}/openapi.json")


def test_answers_are_declared(document) -> None:
    # Whether a model spells the words of a request, and whether bytes are sound, no document can say.
    left_out = [schemathesis.checks.CHECKS.get_one("positive_data_acceptance")]
    for operation in document.get_all_operations():
        check_calls(operation.ok(), left_out)


def check_calls(operation, left_out) -> None:
    @settings(max_examples=4, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy())
    def check(case) -> None:
        case.call_and_validate(excluded_checks=left_out)

    check()
