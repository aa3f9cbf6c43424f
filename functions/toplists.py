"""One ranking of the whole market from the best of every partition, and who enters and leaves it.

A ranking is made when every partition that ranked the second before has ranked this one, or at the
first word of a later second. The first 50 are shown. Who is shown enters; a member leaves when it
is none of the first 60 any more, so that two at the edge do not change places for ever.
"""

import json

import numpy as np

from functions.market.partials import ENDED, EXTRA, GONE
from functions.market.toplists import KEPT, LENGTH, ranked
from runtime import function

ENTERS, LEAVES = 1, 2

toplists = function(
    "toplists",
    writes=["toplists.updated", "toplists.changes"],
    # Per list and symbol; written with `put`, since ranks of symbols change that no partial names.
    state={
        "is_best.*": ("u1", 1, "put"),  # 1 = among the best of its partition
        "value.*": ("f8", 1, "put"),
        "extra.*": ("f8", len(EXTRA), "put"),
        "rank.*": ("u2", 1, "put"),  # as last told; 0 = not shown
        "since.*": ("i8", 1, "put"),  # event time of entering; 0 = no member
        "price": "f8",
        "volume": "f8",
        "lists": "text",  # id -> [version, configuration, is_falling, key, number of updates]
        "round": "text",  # [time of the newest partial, how many told it, how many told the one before]
        "changed": "text",  # lists with news since they were told
    },
    version=1,
    carry="clean",
)


@toplists.on("toplists.partial")
def merge(partials, state):
    lists = json.loads(state["lists"] or "{}")
    ts_ns, told, expected = json.loads(state["round"] or "[0, 0, 1]")
    changed = json.loads(state["changed"] or "[]")
    now = int(partials["ts_ns"][-1])
    answers = []
    if now > ts_ns:
        if changed:  # the round before is over, though not everybody told it
            answers.append(rank(state, lists, changed, ts_ns))
            changed = []
        ts_ns, told, expected = now, 0, max(told, 1)
    told += now == ts_ns
    changed = sorted({*changed, *take(state, lists, partials)})
    if told >= expected and changed:
        answers.append(rank(state, lists, changed, ts_ns))
        changed = []
    state["lists"], state["changed"] = json.dumps(lists), json.dumps(changed)
    state["round"] = json.dumps([ts_ns, told, expected])
    updates, changes = ([part for answer in answers for part in answer[k]] for k in (0, 1))
    return {"toplists.updated": together(updates), "toplists.changes": together(changes)}


def take(state, lists, partials):
    """Note what a partition said; the lists it spoke of."""
    names = partials["list"].astype(str)
    row = partials["row"]
    is_there = partials["rank"] != GONE
    state["price"][row] = partials["price"]
    state["volume"][row[is_there]] = partials["volume"][is_there]
    spoken = []
    for name in dict.fromkeys(names.tolist()):
        here = np.flatnonzero(names == name)
        if not know(state, lists, name, partials, int(here[0])):
            continue
        spoken.append(name)
        state.put(f"is_best.{name}", (row[here], 0), is_there[here])
        state.put(f"value.{name}", (row[here], 0), partials["value"][here])
        for place, column in enumerate(EXTRA):
            if partials.get(column) is not None:
                state.put(f"extra.{name}", (row[here], place), partials[column][here])
    return spoken


def know(state, lists, name, partials, place):
    """Whether the words of a partition are about the list as it is now; a newer one begins anew."""
    version, configured = str(partials["version"][place]), int(partials["configured"][place])
    known = lists.get(name)
    if known is not None and (known[0] == version or configured <= known[1]):
        return known[0] == version
    if known is None and version == ENDED:
        return False
    number = known[4] if known else 0
    if known is not None:
        state.put(f"is_best.{name}", (np.arange(state.rows), 0), 0)
    key, is_falling = str(partials["key"][place]), bool(partials["is_falling"][place])
    lists[name] = [version, configured, is_falling, key, number]
    return True


def rank(state, lists, names, ts_ns):
    """The rankings of some lists, and what changed in them."""
    updates, changes = [], []
    for name in names:
        update, change = ranking(state, lists[name], name, ts_ns)
        updates.append(update)
        changes.append(change)
        if lists[name][0] == ENDED:
            forget(state, lists, name)
    return updates, changes


def ranking(state, listed, name, ts_ns):
    """One list: who is shown, ranked, and who is not any more; who entered it and who left."""
    value = state[f"value.{name}"][:, 0]
    place = np.flatnonzero(state[f"is_best.{name}"][:, 0])
    symbols = np.array([state.symbols[one] for one in place.tolist()])
    best = place[ranked(value[place], symbols, listed[2], KEPT)]
    since, before = state[f"since.{name}"][:, 0].copy(), state[f"rank.{name}"][:, 0].copy()
    shown = best[:LENGTH]
    entered, left = shown[since[shown] == 0], np.setdiff1d(np.flatnonzero(since), best)
    state.put(f"since.{name}", (entered, 0), ts_ns)
    state.put(f"since.{name}", (left, 0), 0)
    hidden = np.setdiff1d(np.flatnonzero(before), shown)
    rank = np.concatenate([np.arange(1, len(shown) + 1), np.zeros(len(hidden), dtype=np.int64)])
    row = np.concatenate([shown, hidden])
    state.put(f"rank.{name}", (row, 0), rank)
    listed[4] += 1
    is_shown = rank > 0
    update = {
        "list": np.full(len(row), name, dtype=object),
        "key": np.full(len(row), listed[3], dtype=object),
        "ts_ns": np.full(len(row), ts_ns),
        "number": np.full(len(row), listed[4]),
        "value": np.where(is_shown, value[row], np.nan),
        "price": state["price"][row],
        "volume": state["volume"][row],
        "rank": rank,
        "previous": before[row],
        "since_ns": np.where(is_shown, state[f"since.{name}"][row, 0], 0),
        **{c: state[f"extra.{name}"][row, k] for k, c in enumerate(EXTRA)},
    }
    moved = np.concatenate([entered, left])
    change = {
        "list": np.full(len(moved), name, dtype=object),
        "ts_ns": np.full(len(moved), ts_ns),
        "kind": np.concatenate([np.full(len(entered), ENTERS), np.full(len(left), LEAVES)]),
        "rank": state[f"rank.{name}"][moved, 0].copy(),
    }
    return (row, update), (moved, change)


def forget(state, lists, name):
    """A list that is no more."""
    del lists[name]
    for family in ("is_best", "value", "extra", "rank", "since"):
        del state[f"{family}.{name}"]


def together(parts):
    """Columns of several lists as one frame; None where there are none."""
    parts = [(row, columns) for row, columns in parts if len(row)]
    if not parts:
        return None
    names = parts[0][1]
    row = np.concatenate([row for row, _ in parts])
    return {"row": row, **{n: np.concatenate([columns[n] for _, columns in parts]) for n in names}}
