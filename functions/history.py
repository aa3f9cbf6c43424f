"""What happened, kept in PostgreSQL: alerts, deliveries, bars, indicators, official days.

Every row has a natural key, so a frame that comes twice changes nothing; of two revisions the newer one
stays, whatever their order. A row the database refuses is set aside alone.
"""

from decimal import Decimal

from functions.market.rows import dates, days_in, known, times
from functions.users.matches import message_of
from runtime import Drop, function

BATCH = 16  # messages: a minute of every partition
BAR = "open high low close volume vwap count revision".split()
INDICATORS = (
    "ema_9 ema_12 ema_20 ema_21 ema_26 ema_50 ema_200 sma_10 sma_20 sma_50 sma_200 rsi_9 rsi_14 rsi_21 "
    "macd macd_signal macd_histogram atr_14 bb_mid bb_upper bb_lower stoch_k stoch_d vwap_5m vwap_15m "
    "vwap_1h volume_avg_5m volume_avg_15m volume_avg_1h revision"
).split()
DAY = "open high low close volume factor".split()
ALERT_EXTRAS = ("kind", "strength", "explain", "causes")

keeps_bars = function("keeps_bars", batch=BATCH)
keeps_days = function("keeps_days", batch=BATCH)
# Of rows of one alert, which may have come in any order: what was said first knows of its withdrawal.
NOTE_WITHDRAWALS = """
    UPDATE alert_history AS kept SET withdrawn_at = gone.timestamp, withdrawn_reason = gone.withdrawn_reason
    FROM alert_history AS gone
    WHERE gone.id = ANY ($1) AND gone.kind = 'withdrawn' AND kept.id = gone.id AND kept.withdrawn_at IS NULL
"""

keeps_alerts = function("keeps_alerts", batch=BATCH)
keeps_deliveries = function("keeps_deliveries", batch=BATCH)


@keeps_bars.on("bars.final")
async def keep_bars(bars, store):
    await keep_minutes(store, "bars_1m", bars, BAR)


@keeps_bars.on("indicators")
async def keep_indicators(indicators, store):
    await keep_minutes(store, "indicators", indicators, INDICATORS)


@keeps_days.on("ticks.daily")
async def keep_days(days, store):
    columns = {"symbol": days["symbol"].tolist(), "day": dates(days["ts_ns"])}
    columns |= {name: known(days[name]) for name in DAY}
    await keep(store, "daily_bars", columns, ("symbol", "day"), "day")


@keeps_alerts.on("alerts.filtered")
async def keep_alerts(filtered, store):
    await make_room(store, "alert_history", filtered["ts_ns"])
    size, absent = len(filtered), [""] * len(filtered)
    told = [filtered["rule_name"].tolist(), filtered["symbol"].tolist()]
    told += [list(filtered.get(name, absent)) for name in ("kind", "reason")]
    gone = [kind == "withdrawn" for kind in told[2]]
    columns = {name: filtered[name].tolist() for name in ("id", "rule_id", "rule_name", "number")}
    columns |= {
        "symbol": told[1],
        "timestamp": times(filtered["ts_ns"]),
        "withdrawn_at": [
            at if is_gone else None
            for at, is_gone in zip(times(filtered["ts_ns"]), gone, strict=True)
        ],
        "withdrawn_reason": [told[3][k] if gone[k] else None for k in range(size)],
        "price": [Decimal(repr(price)) for price in filtered["price"].tolist()],
        "message": [message_of(*one) for one in zip(*told, strict=True)],
        "metadata": filtered["values"].tolist(),
        "ts_ns": filtered["ts_ns"].tolist(),
    }
    columns |= {name: known(filtered[name]) for name in ALERT_EXTRAS if name in filtered}
    try:
        await keep(store, "alert_history", columns, ("id", "timestamp"))
    finally:  # the good rows are kept, whatever the others are
        await store.fetch(NOTE_WITHDRAWALS, columns["id"])


@keeps_deliveries.on("alerts.receipts")
async def keep_deliveries(receipts, store):
    await make_room(store, "deliveries", receipts["ts_ns"])
    ids, channels = receipts["id"].tolist(), receipts["channel"].tolist()
    columns = {
        # Channels of one user share the delivery's id: each ends by itself.
        "delivery_id": [f"{one}.{channel}" for one, channel in zip(ids, channels, strict=True)],
        "timestamp": times(receipts["ts_ns"]),
        "alert_id": list(receipts.get("alert", ids)),
        "user_id": receipts["user"].tolist(),
        "channel": channels,
        "reason": known(receipts["reason"]),
    }
    columns |= {name: receipts[name].tolist() for name in ("outcome", "status", "tries")}
    await keep(store, "deliveries", columns, ("delivery_id", "timestamp"))


async def keep_minutes(store, table, frame, names):
    """Rows of one per symbol and minute, the newest revision of each."""
    await make_room(store, table, frame["ts_ns"])
    columns = {"symbol": frame["symbol"].tolist(), "timestamp": times(frame["ts_ns"])}
    columns |= {name: known(frame[name]) for name in names}
    await keep(store, table, columns, ("symbol", "timestamp"), "revision")


async def keep(store, table, columns, key, newest=""):
    """Write what can be written; raises Drop of the rows that cannot."""
    bad = await store.upsert(table, columns, key, newest)
    if bad:
        raise Drop(f"{table}: {bad[0].reason}", rows=[one.place for one in bad])


async def make_room(store, table, ts_ns):
    """Have the partitions of these times."""
    await store.fetch("SELECT make_room($1, $2)", table, days_in(ts_ns))
