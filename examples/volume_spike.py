"""Volume spike: a minute with many times the volume of the twenty before. Four: a chain, and a ring a symbol."""

from runtime import Answer, Frame, Settings, State, function


@function(
    reads="bars.final",
    writes="alerts",
    state={"volumes": ("f8", 20), "closed": "i8"},
    settings={"times": 5.0},
)
def volume_spike(bars: Frame, state: State, settings: Settings) -> Answer:
    spikes = []
    for place, row in enumerate(bars["row"].tolist()):  # once a minute and symbol: a loop is fine
        if bars["revision"][place]:
            continue  # a late print revised a bar that was judged before
        ring, closed = state["volumes"][row], int(state["closed"][row])
        volume = bars["volume"][place]
        if closed >= len(ring) and volume > settings["times"] * ring.mean():
            spikes.append(place)
        ring[closed % len(ring)] = volume
        state["closed"][row] = closed + 1
    return {
        "row": bars["row"][spikes],
        "ts_ns": bars["ts_ns"][spikes],
        "price": bars["close"][spikes],
    }
