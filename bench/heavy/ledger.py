"""Answers every event, at a cost, and has much to remember: what makes scaling worth it, and hard."""

import numpy as np

from runtime import function

SLOTS = 8_192  # 64 KB of a symbol: 600 of them are the state of a partition of a market
FREE = 2.0  # an event at this price costs no work


@function(
    reads="ticks.trades",
    writes="alerts",
    state={"count": "i8", "kept": ("f8", SLOTS, "put")},
    settings={"work": 0, "slots": SLOTS},
)
def ledger(trades, state, settings):
    """The price of an answer is its number among those of the symbol."""
    numbers = []
    for row, price in zip(trades["row"].tolist(), trades["price"].tolist(), strict=True):
        number = int(state["count"][row]) + 1
        state["count"][row] = number
        if number == 1 and settings["slots"]:
            slots = np.arange(settings["slots"])
            state.put("kept", (row, slots), np.random.default_rng(row).random(len(slots)))
        state.put("kept", (row, number % SLOTS), price)
        if price != FREE:
            toil(settings["work"])
        numbers.append(float(number))
    return {"row": trades["row"], "ts_ns": trades["ts_ns"], "price": np.array(numbers)}


def toil(work):
    """So many rounds of work that leave nothing."""
    total = 0
    for number in range(work):
        total += number * number
    return total
