"""The OpenAPI document tells of every route, and what the gateway answers is what it tells."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any
from unittest import SkipTest

import httpx
import jsonschema_rs
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from runtime.gateway.openapi import BASE, PATH, TAGS, operations
from tests.conftest import database_in
from tests.gateway.deployment import Running, running

EXAMPLES = 10  # of each operation
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]


class Served:
    """A gateway in a thread of its own: what it stands on belongs to one event loop."""

    def __init__(self, directory: Path, database_url: str) -> None:
        self._begun: Future[tuple[str, Running]] = Future()
        self._stop = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        work = self._run(directory, database_url)
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(work,))
        self._thread.start()
        self.address, self.made = self._begun.result(60)

    async def _run(self, directory: Path, database_url: str) -> None:
        try:
            async with running(directory, database_url) as made:
                self._begun.set_result((str(made.http.base_url), made))
                await self._stop.wait()
        except Exception as error:
            if self._begun.done():
                raise
            self._begun.set_exception(error)

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, postgres: str, template: str
) -> Iterator[Served]:
    url = asyncio.run(database_in(postgres, template))
    served = Served(tmp_path_factory.mktemp("openapi"), url)
    yield served
    served.end()


@pytest.fixture(scope="module")
def document(gateway: Served) -> Any:
    return httpx.get(gateway.address + PATH).json()


@pytest.fixture
def described(gateway: Served) -> Any:
    return schemathesis.openapi.from_url(gateway.address + PATH)


def test_every_route_below_the_base_is_in_the_document(gateway: Served, document: Any) -> None:
    rules = gateway.made.app.url_map.iter_rules()
    routes = {
        (rule.rule.count("<"), len(rule.rule.split("/")), method.lower())
        for rule in rules
        if rule.rule.startswith(BASE) and rule.rule != PATH and not rule.websocket
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    told = [(path, method) for path, method, _ in operations(document)]
    assert {(path.count("{"), len(path.split("/")), method) for path, method in told} == routes
    number = sum(
        len((rule.methods or set()) - {"HEAD", "OPTIONS"})
        for rule in gateway.made.app.url_map.iter_rules()
        if rule.rule.startswith(BASE) and rule.rule != PATH and not rule.websocket
    )
    assert len(told) == number


def test_every_operation_says_what_it_is_and_how_it_fails(document: Any) -> None:
    names, groups = [], {tag["name"] for tag in document["tags"]}
    for path, method, operation in operations(document):
        where = f"{method} {path}"
        names.append(operation["operationId"])
        assert operation.get("summary"), where
        assert set(operation["tags"]) <= groups, where
        answers = operation["responses"]
        assert any(status[0] in "23" for status in answers), where
        assert {"400", "401", "403", "429", "500", "503"} <= answers.keys(), where
        assert "{" not in path or "404" in answers, where
        for status, answer in answers.items():
            if status[0] in "45":
                assert list(answer["content"]) == ["application/problem+json"], where
        said = {one["name"] for one in operation["parameters"] if one["in"] == "path"}
        assert said == {part[1:-1] for part in path.split("/") if part.startswith("{")}, where
    assert len(set(names)) == len(names)


def test_the_document_is_openapi_3_1_and_its_schemas_are_valid(
    document: Any, described: Any
) -> None:
    assert document["openapi"].startswith("3.1")
    assert [one["url"] for one in document["servers"]] == ["/"]
    assert document["security"] == [{"bearer": []}, {"key": []}, {}]
    described.validate()
    for schema in document["components"]["schemas"].values():
        jsonschema_rs.meta.validate(schema)


def test_the_page_that_shows_it_needs_nobody_else(gateway: Served) -> None:
    page = httpx.get(f"{gateway.address}/docs")
    assert page.status_code == 200
    assert "default-src 'self'" in page.headers["content-security-policy"]
    script = httpx.get(f"{gateway.address}/docs/reference.js")
    style = httpx.get(f"{gateway.address}/docs/reference.css")
    assert (script.status_code, style.status_code) == (200, 200)
    for text in (page.text, script.text, style.text):
        assert "//cdn" not in text
        assert "https://" not in text
    assert "<script>" not in page.text
    assert "style=" not in page.text
    assert httpx.get(f"{gateway.address}/docs/openapi.json").json()["info"]["title"] == "Jetscan"
    assert httpx.get(f"{gateway.address}/docs/other.js").status_code == 404


def faults_of(operation: Any, mode: GenerationMode) -> str:
    """What is wrong with the answers to what an operation may be sent; empty: nothing."""

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def answered(case: Any) -> None:
        case.call_and_validate(checks=CHECKS, timeout=30)

    try:
        answered()
    except (Unsatisfiable, SkipTest):  # nothing wrong can be sent to it
        return ""
    except (FailureGroup, AssertionError) as error:
        told = getattr(error, "exceptions", [error])
        return f"{operation.label} ({mode.value}): " + "; ".join(str(one) for one in told)
    return ""


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@pytest.mark.parametrize("group", TAGS)
def test_whatever_is_sent_is_answered_as_the_document_says(
    described: Any, group: str, mode: GenerationMode
) -> None:
    operations = [one.ok() for one in described.get_all_operations()]
    chosen = [one for one in operations if group in one.tags]
    found = [fault for one in chosen if (fault := faults_of(one, mode))]
    assert not found, "\n\n".join(found)
