"""Vendors' messages, typed from their public specifications, as columns: every kind, and what is not one."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import databento_dbn as dbn
import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.providers import Batch
from runtime.providers.alpaca_messages import AlpacaParser
from runtime.providers.crypto_messages import BinanceParser, CoinbaseParser
from runtime.providers.databento_messages import DatabentoParser
from runtime.providers.massive_messages import MassiveParser
from runtime.providers.messages import Parsed
from runtime.providers.numbering import Numbered

AT_NS = 1_767_623_400_123_456_789  # 2026-01-05T14:30:00.123456789Z
TRADE = {"T": "t", "S": "BRK/B", "i": 7, "x": "V", "p": 480.25, "s": 50, "c": ["@", "I"], "z": "A"}
TRADE["t"] = "2026-01-05T14:30:00.123456789Z"
MASSIVE = {"ev": "T", "sym": "MSFT", "x": 4, "i": "991", "z": 3, "p": 114.125, "s": 0, "ds": "0.25"}
MASSIVE |= {"c": [12], "t": AT_NS // 10**6, "q": 3}
BINANCE = {
    "e": "trade",
    "E": AT_NS // 10**6,
    "s": "BTCUSDT",
    "t": 10,
    "p": "61800.30",
    "q": "0.006",
}
BINANCE |= {"T": AT_NS // 10**6, "m": True, "M": True}
MATCH = {"type": "match", "trade_id": 4, "product_id": "BTC-USD", "size": "0.5", "price": "9000.1"}
MATCH |= {"time": "2026-01-05T14:30:00.123456Z", "side": "sell", "sequence": 9}


def only(parsed: Parsed) -> Batch:
    assert not parsed.refused
    assert len(parsed.batches) == 1
    return parsed.batches[0]


def values(batch: Batch) -> dict[str, list[Any]]:
    return {name: column.tolist() for name, column in batch.columns.items()}


def alpaca(*messages: Any, received_ns: int = 0) -> Parsed:
    return AlpacaParser().parse(json.dumps(messages).encode(), received_ns)


def massive(*messages: Any) -> Parsed:
    return MassiveParser().parse(json.dumps(messages).encode())


def test_an_alpaca_trade_has_its_price_size_id_time_and_what_it_may_update() -> None:
    batch = only(alpaca(TRADE))
    assert (batch.kind, batch.symbols) == ("trades", ["BRK.B"])
    assert values(batch) == {
        "ts_ns": [AT_NS],
        "price": [480.25],
        "size": [50.0],
        "id": [7],
        "upd": [1],  # an odd lot: volume only
    }


@pytest.mark.parametrize("nanos", [0, 123_456_789])
def test_msgpack_says_what_json_says_to_the_nanosecond(nanos: int) -> None:
    seconds = AT_NS // 10**9
    told = {**TRADE, "t": msgpack.Timestamp(seconds, nanos), "r": msgpack.Timestamp(seconds, 1)}
    batch = only(AlpacaParser("msgpack").parse(msgpack.packb([told, told])))
    assert values(batch)["ts_ns"] == [seconds * 10**9 + nanos] * 2
    assert values(batch)["id"] == [7, 7]


def test_an_alpaca_quote_has_bits_for_conditions_that_are_no_market() -> None:
    quote = {"T": "q", "S": "A", "ap": 11, "as": 3, "ax": "Q", "bp": 10, "bs": 2, "bx": "N"}
    batch = only(alpaca({**quote, "c": ["L", "N"], "z": "A", "t": TRADE["t"]}))
    assert values(batch) == {
        "ts_ns": [AT_NS],
        "bid": [10.0],
        "ask": [11.0],
        "bid_size": [2.0],
        "ask_size": [3.0],
        "condition": [3],
        "lots": [1],
    }


@pytest.mark.parametrize(
    ("message", "kind", "expected"),
    [
        (
            {"T": "s", "S": "A", "sc": "H", "sm": "Halt", "rc": "T12", "rm": "", "z": "C"},
            "status",
            {"code": [1], "action": ["H"], "reason": ["T12"]},
        ),
        (
            {"T": "s", "S": "A", "sc": "T", "sm": "Trading", "rc": "C11", "rm": "", "z": "C"},
            "status",
            {"code": [0], "action": ["T"], "reason": ["C11"]},
        ),
        (
            {"T": "l", "S": "A", "u": 3.24, "d": 2.65, "i": "B", "z": "B"},
            "status",
            {"code": [2], "limit_up": [3.24], "limit_down": [2.65]},
        ),
        (
            {"T": "x", "S": "A", "i": 465, "x": "D", "p": 105.31, "s": 300, "a": "C", "z": "B"},
            "corrections",
            {"id": [465], "price": [105.31], "size": [300.0], "new_size": [0.0]},
        ),
        (
            {"T": "c", "S": "A", "x": "M", "oi": 123, "op": 39.1, "os": 10, "oc": [" ", "7", "V"],
             "ci": 124, "cp": 39.2, "cs": 9, "cc": [" "], "z": "A"},
            "corrections",
            {"id": [123], "new_id": [124], "new_price": [39.2], "new_size": [9.0], "upd": [1], "new_upd": [7]},
        ),
        (
            {"T": "u", "S": "A", "o": 1, "h": 4, "l": 1, "c": 2, "v": 5, "n": 2, "vw": 1.5},
            "bars",
            {"open": [1.0], "high": [4.0], "close": [2.0], "count": [2], "revision": [1]},
        ),
    ],
)  # fmt: skip
def test_what_comes_seldom_from_alpaca(
    message: dict[str, Any], kind: str, expected: dict[str, Any]
) -> None:
    batch = only(alpaca({**message, "t": TRADE["t"]}))
    assert batch.kind == kind
    assert {name: values(batch)[name] for name in expected} == expected
    assert values(batch)["ts_ns"] == [AT_NS]


def test_a_cancel_has_no_new_price() -> None:
    cancel = {"T": "x", "S": "A", "i": 1, "p": 1, "s": 1, "a": "C", "t": TRADE["t"]}
    assert np.isnan(only(alpaca(cancel)).columns["new_price"]).all()


def test_news_is_a_fact_of_each_of_its_symbols() -> None:
    story = {"T": "n", "id": 1, "headline": "h", "symbols": ["A", "B"], "created_at": TRADE["t"]}
    batch = only(alpaca(story))
    assert batch.index is not None
    assert [batch.symbols[place] for place in batch.index] == ["A", "B"]
    assert values(batch)["name"] == ["news_ns", "news_ns"]
    assert values(batch)["value"] == [float(AT_NS)] * 2


def test_a_correction_comes_after_the_trade_it_corrects_and_before_the_next() -> None:
    cancel = {"T": "x", "S": "BRK/B", "i": 7, "p": 480.25, "s": 50, "a": "C", "t": TRADE["t"]}
    kinds = [one.kind for one in alpaca(TRADE, cancel, TRADE).batches]
    assert kinds == ["trades", "corrections", "trades"]


def test_controls_name_their_code_and_the_whole_subscription() -> None:
    told = alpaca(
        {"T": "success", "msg": "authenticated"},
        {"T": "error", "code": 406, "msg": "connection limit exceeded"},
        {"T": "subscription", "trades": ["A"], "quotes": [], "bars": ["*"]},
    ).controls
    assert [(one.kind, one.code) for one in told] == [
        ("authenticated", ""),
        ("error", "406"),
        ("subscribed", ""),
    ]
    assert told[2].channels == {"trades": ["A"], "quotes": [], "bars": ["*"]}


def test_unknown_kinds_and_fields_are_counted_and_cost_nothing_else() -> None:
    parsed = alpaca({"T": "zz", "a": 1}, {**TRADE, "new": [1]}, {"T": "i", "S": "A", "p": 1})
    assert parsed.unknown == {"zz": 1, "t.new": 1}
    assert values(only(parsed))["price"] == [480.25]


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ({**TRADE, "p": "much"}, "Expected `float`"),
        ({**TRADE, "p": 0}, "price above 0"),
        ({**TRADE, "s": -1}, "size from 0"),
        ({**TRADE, "t": "yesterday"}, "a time within a day"),
        ({"T": "t", "S": "A"}, "missing required field"),
        ({"S": "A"}, "expected a text in T"),
        (7, "not a message"),
    ],
)
def test_a_broken_message_costs_itself_and_says_why(broken: Any, reason: str) -> None:
    parsed = alpaca(TRADE, broken, TRADE)
    assert parsed.refusals == 1
    assert reason in parsed.refused[0]
    assert sum(len(one) for one in parsed.batches) == 2


def test_a_time_in_a_wrong_unit_is_refused_where_the_receipt_is_known() -> None:
    assert alpaca(TRADE, received_ns=AT_NS + 10**9).refusals == 0
    assert alpaca(TRADE, received_ns=AT_NS * 1000 % 2**62).refusals == 1


def test_symbols_that_exchanges_test_with_are_left_out() -> None:
    assert alpaca({**TRADE, "S": "ZVZZT"}).batches == []


def test_a_massive_trade_takes_the_decimal_size_and_its_text_id() -> None:
    batch = only(massive(MASSIVE))
    assert (batch.kind, batch.symbols) == ("trades", ["MSFT"])
    assert values(batch) == {
        "ts_ns": [AT_NS // 10**6 * 10**6],
        "price": [114.125],
        "size": [0.25],
        "id": [991],
        "upd": [1],  # form T in regular hours: volume only
    }


@pytest.mark.parametrize("unit", [10**9, 10**6, 10**3, 1])
def test_massive_times_are_told_apart_by_magnitude(unit: int) -> None:
    luld = {"ev": "LULD", "T": "MSFT", "h": 218.96, "l": 198.11, "i": [21], "t": AT_NS // unit}
    batch = only(massive(luld))
    assert values(batch)["ts_ns"] == [AT_NS // unit * unit]
    assert values(batch)["limit_up"] == [218.96]
    assert batch.symbols == ["MSFT"]


def test_massive_quotes_are_in_lots_and_come_before_trades_of_their_frame() -> None:
    quote = {"ev": "Q", "sym": "MSFT", "bp": 1, "bs": 2, "ap": 3, "as": 4, "t": AT_NS // 10**6}
    kinds = [(one.kind, len(one)) for one in massive(MASSIVE, quote, MASSIVE).batches]
    assert kinds == [("quotes", 1), ("trades", 2)]
    assert values(massive(quote).batches[0])["lots"] == [1]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("auth_success", "authenticated"),
        ("auth_failed", "error"),
        ("max_connections", "error"),
        ("force_disconnect", "closing"),
    ],
)
def test_what_massive_says_of_the_connection(status: str, kind: str) -> None:
    (told,) = massive({"ev": "status", "status": status, "message": "m"}).controls
    assert (told.kind, told.code, told.text) == (kind, status, "m")


@pytest.mark.parametrize("is_wrapped", [False, True])
def test_a_binance_trade_plain_or_of_a_combined_stream(is_wrapped: bool) -> None:
    told = {"stream": "btcusdt@trade", "data": BINANCE} if is_wrapped else BINANCE
    batch = only(BinanceParser().parse(json.dumps(told).encode()))
    assert batch.symbols == ["BTCUSDT"]
    assert values(batch) == {
        "ts_ns": [AT_NS // 10**6 * 10**6],
        "price": [61800.30],
        "size": [0.006],
        "id": [10],
        "count": [1],
    }


def test_an_aggregate_stands_for_its_trades_and_a_book_without_a_time_has_that_of_its_receipt() -> (
    None
):
    parser = BinanceParser()
    told = {
        "e": "aggTrade",
        "s": "B",
        "a": 5,
        "p": "1",
        "q": "2",
        "f": 100,
        "l": 105,
        "T": AT_NS // 10**6,
    }
    assert values(only(parser.parse(json.dumps(told).encode())))["count"] == [6]
    book = {"u": 1, "s": "B", "b": "1", "B": "2", "a": "3", "A": "4"}
    batch = only(parser.parse(json.dumps(book).encode(), AT_NS))
    assert (batch.kind, values(batch)["ts_ns"], values(batch)["ask_size"]) == (
        "quotes",
        [AT_NS],
        [4.0],
    )


def test_a_coinbase_subscription_begins_with_a_match_that_is_no_news() -> None:
    parser = CoinbaseParser()
    assert parser.parse(json.dumps({**MATCH, "type": "last_match"}).encode()).batches == []
    batch = only(parser.parse(json.dumps(MATCH).encode()))
    assert (batch.symbols, values(batch)["id"], values(batch)["size"]) == (["BTC-USD"], [4], [0.5])
    beat = {
        "type": "heartbeat",
        "product_id": "BTC-USD",
        "sequence": 1,
        "last_trade_id": 5,
        "time": "",
    }
    parser.parse(json.dumps(beat).encode())
    assert parser.last_trade_ids == {"BTC-USD": 5}


# -- numbers of trades


def numbered(*ids: int) -> Batch:
    size = len(ids)
    columns = {"ts_ns": AT_NS + np.array(ids), "price": np.ones(size), "id": np.array(ids)}
    return Batch("trades", columns, ["B"], np.zeros(size, dtype=np.int64))


def sifted(*batches: Batch) -> list[tuple[str, list[int]]]:
    numbers = Numbered()
    found = [one for batch in batches for one in numbers.sift(batch)]
    return [
        (
            one.kind,
            (
                one.columns["id"] if one.kind == "trades" else one.columns["from_ns"] - AT_NS
            ).tolist(),
        )
        for one in found
    ]


def test_what_was_sent_before_is_left_out_and_a_hole_is_a_gap_before_the_trade_that_shows_it() -> (
    None
):
    assert sifted(numbered(1, 2, 2, 5, 6), numbered(6, 7)) == [
        ("trades", [1, 2]),
        ("gaps", [2]),
        ("trades", [5, 6]),
        ("trades", [7]),
    ]


def test_a_hole_longer_than_what_is_remembered_is_never_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("runtime.providers.numbering.REMEMBERED", 3)
    numbers = Numbered()
    numbers.sift(numbered(1))
    numbers.sift(numbered(10))
    assert not numbers.is_whole("B", 6)
    numbers.sift(numbered(7, 8, 9))
    assert numbers.is_whole("B", 6)
    assert not numbers.is_whole("B", 1)


def test_what_was_missing_is_news_when_it_comes_once() -> None:
    assert sifted(numbered(1, 4), numbered(2, 3, 3)) == [
        ("trades", [1]),
        ("gaps", [1]),
        ("trades", [4]),
        ("trades", [2, 3]),
    ]


# -- DBN


def record(rtype: int, body: bytes, instrument: int = 9) -> bytes:
    length = (16 + len(body)) // 4
    head = bytes([length, rtype]) + (1).to_bytes(2, "little") + instrument.to_bytes(4, "little")
    return head + AT_NS.to_bytes(8, "little") + body


def traded(price: int, instrument: int = 9) -> bytes:
    body = price.to_bytes(8, "little", signed=True) + (100).to_bytes(4, "little") + b"TA\x80\x00"
    body += AT_NS.to_bytes(8, "little") + (0).to_bytes(4, "little") + (77).to_bytes(4, "little")
    return record(0, body, instrument)


def metadata() -> bytes:
    told = dbn.Metadata(
        dataset="XNAS.ITCH",
        start=AT_NS - 10**9,
        stype_in=dbn.SType.RAW_SYMBOL,
        stype_out=dbn.SType.INSTRUMENT_ID,
        schema=dbn.Schema.TRADES,
        symbols=["QQQ"],
    )
    return told.encode()


def mapped(parser: DatabentoParser) -> DatabentoParser:
    parser.parse(metadata())
    parser._instruments.add(9, "QQQ", 0)
    return parser


def test_a_dbn_trade_in_pieces_of_any_size() -> None:
    parser = mapped(DatabentoParser())
    data = traded(307_830_000_000) * 2
    found = [parser.parse(data[k : k + 5]) for k in range(0, len(data), 5)]
    batches = [batch for one in found for batch in one.batches]
    assert [values(batch)["price"] for batch in batches] == [[307.83], [307.83]]
    assert values(batches[0])["id"] == [77]
    assert batches[0].symbols == ["QQQ"]


def test_no_price_and_no_symbol_are_refused_and_broken_bytes_end_the_session() -> None:
    parser = mapped(DatabentoParser())
    assert "price above 0" in parser.parse(traded(2**63 - 1)).refused[0]
    assert "instrument 8 has no symbol" in parser.parse(traded(10**9, 8)).refused[0]
    broken = DatabentoParser()
    assert "not DBN" in broken.parse(b"garbage" * 9).refused[0]
    assert "broken" in broken.parse(metadata()).refused[0]


# -- anything at all

PARSERS: list[Callable[[], Any]] = [
    AlpacaParser,
    lambda: AlpacaParser("msgpack"),
    MassiveParser,
    BinanceParser,
    CoinbaseParser,
    DatabentoParser,
]
SAMPLES = [TRADE, MASSIVE, BINANCE, MATCH]
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize("made", PARSERS)
@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=200))
def test_no_bytes_break_a_parser(made: Callable[[], Any], data: bytes) -> None:
    parsed = made().parse(data, AT_NS)
    assert not any(len(batch) for batch in parsed.batches)


@pytest.mark.parametrize("made", [AlpacaParser, MassiveParser, BinanceParser, CoinbaseParser])
@settings(max_examples=60, deadline=None)
@given(
    sample=st.sampled_from(SAMPLES),
    changes=st.dictionaries(st.sampled_from("TSpstcizixqmeE"), JSON, max_size=3),
)
def test_no_value_breaks_a_parser(
    made: Callable[[], Any], sample: dict[str, Any], changes: dict[str, Any]
) -> None:
    data = json.dumps([{**sample, **changes}]).encode()
    for batch in made().parse(data, AT_NS).batches:
        assert (batch.columns["ts_ns"] > 0).all()
        assert "price" not in batch.columns or (batch.columns["price"] > 0).all()


@pytest.mark.parametrize(("made", "sample"), [(AlpacaParser, TRADE), (MassiveParser, MASSIVE)])
def test_the_fast_way_says_what_the_slow_way_says(made: Callable[[], Any], sample: Any) -> None:
    fast, slow = made(), made()
    data = json.dumps([sample] * 3).encode()
    with_news = json.dumps([sample] * 3 + [{**sample, "news": 1}]).encode()
    one, other = only(fast.parse(data)), only(slow.parse(with_news))
    for name, column in one.columns.items():
        assert column.tolist() == other.columns[name][:3].tolist()


@pytest.mark.parametrize("frames", [[1, 3, 2], [2, -1, 2], [-1, 1, -2, 1]])
def test_frames_parsed_as_one_say_what_each_says_alone(frames: list[int]) -> None:
    """A positive number is a frame of so many trades, a negative one has a quote and a status as well."""
    rare = [
        {"T": "q", "S": "B", "bp": 1.0, "ap": 2.0, "t": "2026-01-05T14:30:00.5Z"},
        {"T": "s", "S": "B", "sc": "2", "t": "2026-01-05T14:30:00.6Z"},
    ]
    told, number = [], 0
    for count in frames:
        some = []
        for _ in range(abs(count)):
            number += 1
            at = f"2026-01-05T14:30:{number:02}Z"
            some.append({"T": "t", "S": f"S{number % 2}", "i": number, "p": 1.5, "s": 3, "t": at})
            some[-1] |= {"c": ["I"], "z": "A"} if number % 2 else {"c": ["@"], "z": "C"}
        told.append(json.dumps(some + (rare if count < 0 else [])).encode())
    alone = AlpacaParser()
    expected = [batch for data in told for batch in alone.parse(data).batches]
    joined = AlpacaParser().parse_joined(told).batches
    assert len(joined) <= len(expected)
    for kind in ("trades", "quotes", "status"):
        assert _rows(joined, kind) == _rows(expected, kind)


def _rows(batches: list[Batch], kind: str) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = []
    for one in batches:
        if one.kind == kind:
            assert one.index is not None
            symbols = [one.symbols[place] for place in one.index]
            columns = [one.columns[name].tolist() for name in sorted(one.columns)]
            found += zip(symbols, *columns, strict=True)
    return found
