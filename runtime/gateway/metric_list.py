"""The vocabulary over REST: every metric that rules, toplists and charts may name."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from typing import Any

from pydantic import BaseModel, Field
from quart import Quart, Response, abort, request
from quart_schema import document_response, tag, validate_querystring

from runtime.gateway.gateway import Gateway
from runtime.gateway.queries import Query

SUBJECT, ALL = "ask.metrics", "all"
SESSIONS = 3  # as many as there are: `all`
SEARCHED = ("name", "title", "group", "formula")
Row = dict[str, Any]


class MetricsQuery(Query):
    """Which metrics are wanted."""

    search: str = Field("", max_length=100, description="words that name, title or formula contain")


class Metric(BaseModel):
    """One metric. `session` and `volume_threshold` are what a condition on it has by default."""

    name: str
    title: str
    group: str
    kind: str
    unit: str
    formula: str
    timeframe: str
    session: str = Field(description="all, or sessions separated by blanks")
    volume_threshold: float
    condition: str = Field(description="what an alert metric is made for, such as == 1")
    warm_up: str
    aliases: list[str]
    source: str


class Metrics(BaseModel):
    """Metrics in the order of the documentation."""

    metrics: list[Metric]
    count: int


class Vocabulary:
    """The metrics as the functions tell them, read once: they change with the code alone."""

    def __init__(self, gateway: Gateway) -> None:
        self._accept = gateway.accepts.get(SUBJECT)

    @cached_property
    def rows(self) -> list[Row]:
        """Every metric; 503 where no function answers."""
        if self._accept is None:
            abort(503, f"no hosted function answers {SUBJECT}")
        return [_shape(row) for row in json.loads(self._accept(ALL))]

    @cached_property
    def version(self) -> str:
        """Changes with any row."""
        return hashlib.blake2b(json.dumps(self.rows).encode(), digest_size=8).hexdigest()

    def found(self, search: str) -> list[Row]:
        """The metrics that have every word somewhere."""
        words = search.casefold().split()
        return [row for row in self.rows if all(word in _text(row) for word in words)]

    def check(self, names: list[str]) -> None:
        """Whether all of these are metrics; 400 with the nearest name, 503."""
        if self._accept is None:
            abort(503, f"no hosted function answers {SUBJECT}")
        try:
            self._accept(" ".join(names))
        except ValueError as error:
            abort(400, f"names: {error}")


def _shape(row: Row) -> Row:
    names = ("name", "title", "kind", "unit", "formula", "timeframe", "volume_threshold")
    more = ("condition", "warm_up", "aliases", "source")
    sessions = row["sessions"]
    return {
        **{name: row[name] for name in (*names, *more)},
        "group": row["category"] or row["kind"],
        "session": "all" if len(sessions) == SESSIONS else " ".join(sessions),
    }


def _text(row: Row) -> str:
    return " ".join([*(str(row[name]) for name in SEARCHED), *row["aliases"]]).casefold()


def add(app: Quart, gateway: Gateway) -> None:
    """Add the routes."""
    vocabulary = Vocabulary(gateway)

    @app.get("/api/v1/metrics")
    @tag(["market"])
    @validate_querystring(MetricsQuery)
    @document_response(Metrics, 200)
    async def list_metrics(query_args: MetricsQuery) -> Any:
        """Every metric there is, or those with the words of `search`; with an ETag."""
        search = query_args.search
        mark = hashlib.blake2b(f"{vocabulary.version}|{search}".encode(), digest_size=8).hexdigest()
        if request.if_none_match.contains_weak(mark):
            answer = Response("", 304)
        else:
            rows = vocabulary.found(search)
            body = json.dumps({"metrics": rows, "count": len(rows)})
            answer = Response(body, content_type="application/json")
        answer.set_etag(mark)
        answer.headers["Cache-Control"] = "no-cache"  # keep it, but ask whether it is still so
        return answer
