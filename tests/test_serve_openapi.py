"""Requests made from the OpenAPI document, right and wrong: every answer is one that the document declares."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from served import running

schemathesis = pytest.importorskip("schemathesis", reason="makes the requests: pip install schemathesis")


@pytest.fixture(scope="module")
def document(model: Path) -> Iterator[object]:
    with running(model, "threads=1", "queue=100") as process:
        yield schemathesis.openapi.from_url(f"{process.url}/openapi.json")


calls = schemathesis.pytest.from_fixture("document")


@calls.parametrize()
@settings(max_examples=4, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_answers_are_declared(case) -> None:
    # Whether a model spells the words of a request, and whether bytes are sound, no document can say.
    case.call_and_validate(excluded_checks=[schemathesis.checks.CHECKS.get_one("positive_data_acceptance")])
