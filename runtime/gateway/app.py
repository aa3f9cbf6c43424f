"""The Quart application: every route, each group in a file of its own."""

from __future__ import annotations

from quart import Quart

from runtime.gateway import (
    alerts,
    answers,
    audit,
    backtests,
    bars,
    channels,
    compress,
    connecting,
    dead,
    functions,
    guard,
    keys,
    metric_list,
    oidc,
    openapi,
    outcomes,
    people,
    preferences,
    preview,
    probes,
    rules,
    signing,
    static,
    status,
    subscriptions,
    symbols,
    toplists,
    universe,
    verdicts,
    watchlists,
    why_not,
)
from runtime.gateway.gateway import Gateway

BODY_BYTES_MAX = 256 << 10
VERSION = "1"  # of the interface, as its addresses say it


def create_app(gateway: Gateway) -> Quart:
    """The routes; `gateway.run` must be running beside them."""
    app = Quart(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = BODY_BYTES_MAX
    openapi.add(app, gateway, VERSION)
    answers.add(app)
    guard.add(app, gateway)
    compress.add(app)
    signing.add(app, gateway)
    oidc.add(app, gateway)
    keys.add(app, gateway)
    people.add(app, gateway)
    audit.add(app, gateway)
    probes.add(app, gateway)
    rules.add(app, gateway)
    alerts.add(app, gateway)
    symbols.add(app, gateway)
    bars.add(app, gateway)
    metric_list.add(app, gateway)
    verdicts.add(app, gateway)
    why_not.add(app, gateway)
    outcomes.add(app, gateway)
    preview.add(app, gateway)
    backtests.add(app, gateway)
    toplists.add(app, gateway)
    watchlists.add(app, gateway)
    subscriptions.add(app, gateway)
    channels.add(app, gateway)
    preferences.add(app, gateway)
    functions.add(app, gateway)
    universe.add(app, gateway)
    dead.add(app, gateway)
    status.add(app, gateway)
    static.add(app)
    connecting.add(app, gateway)
    return app
