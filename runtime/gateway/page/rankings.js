// The toplists that windows follow, put together from snapshots and what changes in them.

import { Signal } from "./signal.js";
import * as socket from "./socket.js";
import * as clock from "./clock.js";
import { msOf } from "./format.js";

const lists = new Map(); // id -> {rows: Map by symbol, order: [row], timestamp, seq, isNew: Map}

/** Told with (id, list) after every update. */
export const updated = new Signal();

export const get = (id) => lists.get(id);

function take(data) {
  const held = lists.get(data.toplist_id);
  const isWhole = data.snapshot !== false || !held;
  if (data.snapshot === false && !held) return; // what changed in something that is not known
  const rows = isWhole ? new Map() : new Map(held.rows);
  for (const symbol of data.gone || []) rows.delete(symbol);
  for (const row of data.rankings || []) rows.set(row.symbol, row);
  const order = [...rows.values()].sort((a, b) => a.rank - b.rank);
  const timestampMs = msOf(data.timestamp);
  const list = { rows, order, timestampMs, seq: data.seq, heardAt: Date.now(), moves: movesOf(held, order) };
  lists.set(data.toplist_id, list);
  clock.note(timestampMs);
  updated.tell(data.toplist_id, list);
}

const MOVE_SHOWN_MS = 8_000; // a change of rank is news for so long

/** symbol -> {by, at}: what a row has climbed (by > 0) or fallen, or "new". */
function movesOf(held, order) {
  const now = Date.now();
  const moves = new Map();
  for (const row of order) {
    const before = held?.rows.get(row.symbol);
    const old = held?.moves.get(row.symbol);
    const isNew = held && !before;
    if (isNew) moves.set(row.symbol, { by: "new", at: now });
    else if (before && before.rank !== row.rank) moves.set(row.symbol, { by: before.rank - row.rank, at: now });
    else if (old && now - old.at < MOVE_SHOWN_MS) moves.set(row.symbol, old);
  }
  return moves;
}

socket.listHeard.on(take);
