"""The vocabulary and symbols over REST, and rules that are judged without being stored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import date
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from functions.market.vocabulary import table
from runtime.frames import Frame, encode
from tests.conftest import database_in
from tests.gateway.deployment import Running, running

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def made(
    tmp_path_factory: pytest.TempPathFactory, postgres: str, template: str
) -> AsyncIterator[Running]:
    """A gateway that heard bars of four symbols."""
    url = await database_in(postgres, template)
    async with running(tmp_path_factory.mktemp("metrics"), url) as made:
        for base, symbols in (
            ("bars.final", ["AAPL", "AAA"]),
            ("bars.live", ["AAPL", "MSFT", "BTC/USD"]),
        ):
            await say(made, base, symbols)
        async with asyncio.timeout(5):
            while not (made.gateway.recent.symbols and made.gateway.hub.symbols):
                await asyncio.sleep(0.01)
        yield made


async def say(made: Running, base: str, symbols: list[str]) -> None:
    size = len(symbols)
    columns = {
        name: np.arange(1.0, size + 1)
        for name in ("open", "high", "low", "close", "volume", "vwap")
    }
    columns |= {
        "ts_ns": np.full(size, 10**18),
        "count": np.ones(size, "i8"),
        "revision": np.zeros(size, "i4"),
    }
    columns["close"] = columns["close"] * (10.0 if base == "bars.live" else 7.0)
    data = encode(Frame(columns, symbols, np.arange(size), "bars"), made.subjects.record_of(base))
    await (made.bus.put if base == "bars.final" else made.bus.publish)(f"{base}.0", data)


async def test_every_metric_is_listed_with_what_a_condition_defaults_to(made: Running) -> None:
    told = await made.get("metrics")
    rows = {row["name"]: row for row in table()}
    assert told["count"] == len(rows)
    assert [one["name"] for one in told["metrics"]] == list(rows)
    for one in told["metrics"]:
        row: dict[str, Any] = rows[one["name"]]
        assert {name: one[name] for name in ("title", "unit", "formula", "volume_threshold")} == {
            name: row[name] for name in ("title", "unit", "formula", "volume_threshold")
        }
        sessions = row["sessions"]
        assert one["session"] == ("all" if len(sessions) == 3 else " ".join(sessions))


async def test_metrics_are_searched_by_words_of_name_title_and_formula(made: Running) -> None:
    names = [one["name"] for one in (await made.get("metrics", search="RSI 5m"))["metrics"]]
    assert "rsi_14_5m" in names
    assert all("5m" in one for one in names)
    assert "rsi_14_1m" in [
        one["name"] for one in (await made.get("metrics", search="wilder rsi"))["metrics"]
    ]
    assert (await made.get("metrics", search="nothing of the kind"))["count"] == 0


async def test_a_list_that_is_known_is_not_sent_again(made: Running) -> None:
    first = await made.http.get("/api/v1/metrics")
    mark = first.headers["etag"]
    again = await made.http.get("/api/v1/metrics", headers={"If-None-Match": mark})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", mark)
    other = await made.http.get("/api/v1/metrics?search=rsi", headers={"If-None-Match": mark})
    assert other.status_code == 200


async def test_symbols_come_with_their_newest_price_best_match_first(made: Running) -> None:
    told = await made.get("symbols")
    assert told["symbols"] == ["AAA", "AAPL", "BTC/USD", "MSFT"]
    assert [one["last"] for one in told["details"]] == [
        14.0,
        10.0,
        30.0,
        20.0,
    ]  # running over final
    assert (await made.get("symbols", search="a"))["symbols"] == ["AAA", "AAPL"]
    assert (await made.get("symbols", search="aaa"))["symbols"] == ["AAA"]
    assert (await made.get("symbols", search="pl"))["symbols"] == ["AAPL"]
    page = await made.get("symbols", limit=1, offset=2)
    assert (page["symbols"], page["count"], page["total"]) == (["BTC/USD"], 1, 4)


async def test_names_and_exchanges_come_from_the_reference_table_where_it_is(made: Running) -> None:
    assert (await made.get("symbols/AAA"))["name"] is None
    rows = {
        "symbol": ["AAPL", "IBM", "IBM"],
        "active_from": [date(1980, 12, 12), date(1924, 2, 14), date(1911, 6, 16)],
        "name": ["Apple Inc.", "Machines", "Of before"],
        "exchange": ["XNAS", "XNYS", "XNYS"],
    }
    await made.store.upsert("symbols", rows, ("symbol", "active_from"))
    async with running_again(made) as again:
        told = await again.get("symbols/IBM")
        assert told == {
            "symbol": "IBM",
            "name": "Machines",
            "exchange": "XNYS",
            "last": None,
            "bar": None,
        }
        assert (await again.get("symbols", search="apple"))["symbols"] == ["AAPL"]


def running_again(made: Running) -> Any:
    """A second gateway on the same servers."""
    import contextlib

    from runtime.gateway.app import create_app
    from runtime.gateway.gateway import Gateway
    from tests.gateway.deployment import served

    @contextlib.asynccontextmanager
    async def again() -> AsyncIterator[Running]:
        gateway = Gateway(made.settings, made.subjects, made.bus, made.gateway.accepts)
        app = create_app(gateway)
        async with served(gateway, app) as http:
            yield Running(made.bus, made.subjects, gateway, made.settings, http, made.store, app)

    return again()


async def test_one_symbol_may_have_a_slash_and_a_missing_one_is_a_404(made: Running) -> None:
    assert (await made.get("symbols/BTC%2FUSD"))["bar"]["close"] == 30.0
    assert await made.refused("GET", "symbols/aapl", 404) == "Symbol not found"


async def judged(made: Running, rule: Any) -> Any:
    answer = await made.http.post("/api/v1/rules/validate", json={"rule": rule})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_rule_is_read_back_in_english_and_turned_over(made: Running) -> None:
    told = await judged(made, "rsi_14 < 30  cooldown 60s")
    assert (told["valid"], told["errors"], told["text"]) == (True, [], "rsi_14 < 30 cooldown 1m")
    assert told["rule"]["when"] == {"metric": "rsi_14", "operator": "<", "value": 30}
    assert told["english"].startswith("Fires as soon as the RSI 14 is below 30")
    assert told["flipped"]["text"] == "rsi_14 > 70 cooldown 1m"
    assert told["flipped"]["rule"]["when"]["operator"] == ">"
    assert "above 70" in told["flipped"]["english"]
    same = await judged(made, told["rule"])
    assert (same["text"], same["rule"]) == (told["text"], told["rule"])


async def test_a_rule_without_a_mirror_image_says_why(made: Running) -> None:
    told = await judged(made, "volume_daily > 5")
    assert (told["flipped"], told["no_flip"]) == (None, "nothing in the rule has an up and a down")


async def test_a_fault_has_its_place_and_a_suggestion(made: Running) -> None:
    text = "price > 5 and prise < 7"
    told = await judged(made, text)
    (fault,) = told["errors"]
    assert told["valid"] is False
    assert text[fault["position"] :][: fault["length"]] == "prise"
    assert fault["suggestion"] == "price"
    assert fault["expected"]
    (fault,) = (
        await judged(made, {"conditions": [{"metric": "prise", "operator": ">", "value": 1}]})
    )["errors"]
    assert (fault["position"], fault["path"], fault["suggestion"]) == (
        None,
        "conditions[0].metric",
        "price",
    )


async def test_a_rule_may_name_the_callers_own_toplists(made: Running) -> None:
    assert not (await judged(made, "enters mine"))["valid"]
    mine = {"id": "mine", "name": "Mine", "metric": "price"}
    assert (await made.http.post("/api/v1/toplists/user", json=mine)).status_code == 201
    assert (await judged(made, "enters mine"))["valid"]


@pytest.mark.parametrize("body", [{}, {"rule": 5}, {"rule": "x" * 70_000}, [1], {"rule": "{"}])
async def test_a_body_that_holds_no_rule_is_a_400(made: Running, body: Any) -> None:
    await made.refused("POST", "rules/validate", 400, body)


async def test_a_body_that_is_nested_too_deeply_is_a_400(made: Running) -> None:
    for depth in (50, 5_000, 20_000):
        content = '{"rule":' + '{"when":' * depth + "1" + "}" * depth + "}"
        answer = await made.http.post(
            "/api/v1/rules/validate",
            content=content,
            headers={"Content-Type": "application/json"},
        )
        assert answer.status_code == (200 if depth == 50 else 400), (depth, answer.text[:200])
