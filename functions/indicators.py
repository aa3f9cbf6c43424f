"""Indicators of every one-minute bar, said again for the bars that a revision changes, scaled by splits."""

from functions.market.indicators import STATE, add_bars, add_daily_factors, add_facts, add_minutes
from runtime import function

indicators = function("indicators", writes="indicators", state=STATE, version=4, carry="clean")


@indicators.on("bars.final")
def add(bars, state):
    return add_bars(state, bars)


@indicators.on("ticks.minutes")
def know_minutes(minutes, state):
    add_minutes(state, minutes)


@indicators.on("ticks.daily")
def know_factors(days, state):
    add_daily_factors(state, days)


@indicators.on("ticks.reference")
def know_facts(facts, state):
    add_facts(state, facts)
