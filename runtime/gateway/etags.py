"""Versions of things as entity tags: what a client read, and whether it is still so when it writes."""

from __future__ import annotations

from typing import Any

from quart import Response, abort, jsonify, request


def tagged(thing: dict[str, Any], status: int = 200) -> Response:
    """A thing with its version as ETag; 304 where the client has it."""
    response = jsonify(thing)
    response.status_code = status
    mark = str(thing["version"])
    response.set_etag(mark)
    if request.method == "GET" and mark in request.if_none_match:
        response.status_code = 304
        response.set_data(b"")
        response.headers.pop("Content-Type", None)
    return response


def check_match(thing: dict[str, Any]) -> None:
    """Go on if the client's `If-Match`, where it sends one, names this version; 412."""
    wanted = request.if_match
    if request.headers.get("If-Match") is None or wanted.star_tag:
        return
    if str(thing["version"]) not in wanted:
        abort(412, f"it is version {thing['version']} by now; read it again, then change it")
