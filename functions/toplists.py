"""One ranking of the whole market from the best of every partition, and who enters and leaves it.

A ranking is made when as many partitions ranked the second as ranked the one before, or at the first
word of a later second. The first 50 are shown. Who is shown enters; a member leaves when it is none
of the first 60 any more, so that two at the edge do not change places for ever.
"""

import json
from dataclasses import dataclass

import numpy as np

from functions.market.listings import SYSTEM
from functions.market.partials import ENDED, EXTRA, GONE, PLACES
from functions.market.toplists import KEPT, LENGTH
from runtime import function

ENTERS, LEAVES = 1, 2
TOGETHER = 32  # lists of a message: 32 * 110 rows of 220 bytes are 0.8 MB, a message may have 1 MiB
KEYS = {one.id: one.key for one in SYSTEM}

toplists = function(
    "toplists",
    writes=["toplists.updated", "toplists.changes"],
    # By symbol and place of the list; written with `put`, as ranks change of symbols no partial names.
    state={
        "is_best": ("u1", PLACES, "put"),  # 1 = among the best of its partition
        "value": ("f8", PLACES, "put"),
        "rank": ("u2", PLACES, "put"),  # as last told; 0 = not shown
        "since": ("i8", PLACES, "put"),  # event time of entering; 0 = no member
        "extra.*": ("f8", PLACES, "put"),  # own columns of lists
        "price": "f8",
        "volume": "f8",
        "lists": "text",  # id -> [place, version, configuration, is_falling, key, number of updates]
        "round": "text",  # [time of the newest partial, how many told it, how many told the one before]
        "changed": "text",  # lists with news since they were told
    },
    carry="clean",
)


@dataclass
class Listed:
    """What is known of a list."""

    place: int
    version: int
    configured: int
    is_falling: int
    key: str
    number: int = 0


@toplists.on("toplists.partial")
def merge(partials, state):
    lists = {name: Listed(*told) for name, told in json.loads(state["lists"] or "{}").items()}
    ts_ns, told, expected = json.loads(state["round"] or "[0, 0, 1]")
    changed = set(state["changed"].split())
    now = int(partials["ts_ns"][-1])
    answers = []
    if now > ts_ns:
        if changed:  # the round before is over, though not everybody told it
            answers += rank_all(state, lists, sorted(changed), ts_ns)
            changed = set()
        ts_ns, told, expected = now, 0, max(told, 1)
    told += now == ts_ns
    changed |= take(state, lists, partials)
    if told >= expected and changed:
        answers += rank_all(state, lists, sorted(changed), ts_ns)
        changed = set()
    state["lists"] = json.dumps({name: list(vars(one).values()) for name, one in lists.items()})
    state["changed"] = " ".join(sorted(changed))
    state["round"] = json.dumps([ts_ns, told, expected])
    return {
        "toplists.updated": [update for update, _ in answers if len(update["row"])],
        "toplists.changes": together([change for _, change in answers]),
    }


def take(state, lists, partials):
    """Note what a partition said; the lists it spoke of."""
    row, is_there = partials["row"], partials["rank"] != GONE
    state["price"][row] = partials["price"]
    state["volume"][row[is_there]] = partials["volume"][is_there]
    names, first, of = np.unique(
        partials["list"].astype(str), return_index=True, return_inverse=True
    )
    known = [know(state, lists, name, partials, at) for name, at in zip(names, first, strict=True)]
    place = np.array(
        [lists[name].place if ok else -1 for name, ok in zip(names, known, strict=True)]
    )
    place = place[of]
    here = np.flatnonzero(place >= 0)
    cells = state.cells(row[here], place[here])
    state.put("is_best", cells, is_there[here])
    state.put("value", cells, partials["value"][here])
    for column in EXTRA:
        if partials.get(column) is not None:
            state.put(f"extra.{column}", cells, partials[column][here])
    return {str(name) for name, ok in zip(names, known, strict=True) if ok}


def know(state, lists, name, partials, at):
    """Whether the words of a partition are about the list as it is now; a newer one begins anew."""
    version, configured = int(partials["version"][at]), int(partials["configured"][at])
    known = lists.get(name)
    if known is not None and (known.version == version or configured <= known.configured):
        return known.version == version
    if known is None and version == ENDED:
        return False
    if known is not None:
        state.put("is_best", (slice(None), known.place), 0)
        place, number = known.place, known.number
    else:
        used = {one.place for one in lists.values()}
        place, number = next((one for one in range(PLACES) if one not in used), -1), 0
        if place < 0:  # until lists that end are forgotten; the best are told every second anyway
            return False
    keys = partials.get("key")
    key = str(keys[at]) if keys is not None else KEYS.get(str(name), "")
    if version == ENDED:
        key = known.key  # who follows it is told that it is empty
    is_falling = int(partials["is_falling"][at])
    lists[str(name)] = Listed(place, version, configured, is_falling, key, number)
    return True


def rank_all(state, lists, names, ts_ns):
    """The answers of `rank`, so many lists at a time that a list never stands in two messages."""
    return [
        rank(state, lists, names[first : first + TOGETHER], ts_ns)
        for first in range(0, len(names), TOGETHER)
    ]


def rank(state, lists, names, ts_ns):
    """The rankings of some lists, and who entered and left them."""
    told = [lists[name] for name in names]
    for one in told:
        one.number += 1
    row, of, ranks = order(state, told)
    places = np.array([one.place for one in told])
    kept, shown = ranks <= KEPT, ranks <= LENGTH
    since = state["since"][:, places].copy()
    before = state["rank"][:, places].copy()
    entered = np.flatnonzero(shown & (since[row, of] == 0))
    is_left = since > 0
    is_left[row[kept], of[kept]] = False
    is_hidden = before > 0
    is_hidden[row[shown], of[shown]] = False
    left, hidden = np.nonzero(is_left), np.nonzero(is_hidden)
    state.put("since", state.cells(row[entered], places[of[entered]]), ts_ns)
    state.put("since", state.cells(left[0], places[left[1]]), 0)
    state.put("rank", state.cells(row[shown], places[of[shown]]), ranks[shown])
    state.put("rank", state.cells(hidden[0], places[hidden[1]]), 0)
    update = ranking(
        state, names, told, ts_ns, before, (row[shown], of[shown], ranks[shown]), hidden
    )
    change = moves(names, ts_ns, (row[entered], of[entered], ranks[entered]), left)
    for name in names:
        if lists[name].version == ENDED:
            forget(state, lists.pop(name).place)
    return update, change


def order(state, told):
    """(row, position in `told`, rank) of the best of all partitions; ties go by symbol."""
    places = np.array([one.place for one in told])
    row, of = np.nonzero(state["is_best"][:, places])
    value = state["value"][row, places[of]]
    falling = np.array([one.is_falling for one in told])[of] > 0
    used, back = np.unique(row, return_inverse=True)
    names = np.array([state.symbols[one] for one in used.tolist()])
    by_name = np.empty(len(used), dtype=np.int64)
    by_name[np.argsort(names)] = np.arange(len(used))
    sort = np.lexsort((by_name[back], np.where(falling, -value, value), of))
    row, of = row[sort], of[sort]
    first = np.searchsorted(of, np.arange(len(told)))
    return row, of, np.arange(len(of)) - first[of] + 1


def ranking(state, names, told, ts_ns, before, shown, hidden):
    """The rows of `toplists.updated`: who is shown, then who is shown no more."""
    row, of = (np.concatenate([shown[k], hidden[k]]) for k in (0, 1))
    ranks = np.concatenate([shown[2], np.zeros(len(hidden[0]), dtype=np.int64)])
    places = np.array([one.place for one in told])[of]
    is_shown = ranks > 0
    return {
        "row": row,
        "list": np.array(names, dtype=object)[of],
        "key": np.array([one.key for one in told], dtype=object)[of],
        "ts_ns": np.full(len(row), ts_ns),
        "number": np.array([one.number for one in told])[of],
        "value": np.where(is_shown, state["value"][row, places], np.nan),
        "price": state["price"][row],
        "volume": state["volume"][row],
        "rank": ranks,
        "previous": before[row, of],
        "since_ns": np.where(is_shown, state["since"][row, places], 0),
        **{name: state[f"extra.{name}"][row, places] for name in state.family("extra")},
    }


def moves(names, ts_ns, entered, left):
    """The rows of `toplists.changes`."""
    row, of = (np.concatenate([entered[k], left[k]]) for k in (0, 1))
    size = len(left[0])
    return {
        "row": row,
        "list": np.array(names, dtype=object)[of],
        "ts_ns": np.full(len(row), ts_ns),
        "kind": np.concatenate([np.full(len(entered[0]), ENTERS), np.full(size, LEAVES)]),
        "rank": np.concatenate([entered[2], np.zeros(size, dtype=np.int64)]),
    }


def forget(state, place):
    """A list that is no more."""
    for name in (
        "is_best",
        "value",
        "rank",
        "since",
        *(f"extra.{n}" for n in state.family("extra")),
    ):
        state.put(name, (slice(None), place), 0)


def together(parts):
    """Columns of several answers as one; None where there is no row."""
    parts = [columns for columns in parts if len(columns["row"])]
    if not parts:
        return None
    return {name: np.concatenate([columns[name] for columns in parts]) for name in parts[0]}
