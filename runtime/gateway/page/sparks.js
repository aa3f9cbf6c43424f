// Sparklines: the closes of today by minute, asked for only for rows that are seen, drawn on one canvas each.

import { ask } from "./session.js";
import { Signal } from "./signal.js";
import { color, repainted } from "./appearance.js";
import { msOf } from "./format.js";
import * as clock from "./clock.js";
import * as rankings from "./rankings.js";

const MINUTES = 390;
const AGAIN_MS = 120_000;
const AT_ONCE = 2; // a browser opens six connections: what was clicked must find one free
const WAIT_MS = 8_000;
const OWN_EVERY_MS = 10_000; // without bars of the server: a price of the list so often
const OWN_MAX = 240;

const held = new Map(); // symbol -> {points: [[ms, close]], askedAt, version}
const queue = [];
const state = { running: 0, hasBars: true, restUntil: 0 };

/** Told with a symbol whose line changed. */
export const changed = new Signal();

function of(symbol) {
  if (!held.has(symbol)) held.set(symbol, { points: [], askedAt: 0, version: 0 });
  return held.get(symbol);
}

function want(symbol, line) {
  if (!state.hasBars || Date.now() - line.askedAt < AGAIN_MS || Date.now() < state.restUntil) return;
  line.askedAt = Date.now();
  queue.push(symbol);
  work();
}

async function work() {
  if (state.running >= AT_ONCE || !queue.length) return;
  state.running += 1;
  const symbol = queue.shift();
  try {
    const { bars } = await ask("GET", `/bars/${encodeURIComponent(symbol)}?timeframe=1m&limit=${MINUTES}`, undefined, {
      signal: AbortSignal.timeout(WAIT_MS),
    });
    const line = of(symbol);
    const points = bars.map((bar) => [msOf(bar.timestamp), bar.close]).sort((a, b) => a[0] - b[0]);
    if (points.length) {
      const day = points[points.length - 1][0] - 20 * 3_600_000;
      line.points = points.filter(([ms]) => ms > day);
      line.version += 1;
      changed.tell(symbol);
    }
  } catch (error) {
    if (error.isUnknown) state.hasBars = false;
    else if (error.isAway || error.status === 429) state.restUntil = Date.now() + 30_000;
  } finally {
    state.running -= 1;
    if (!state.hasBars || Date.now() < state.restUntil) queue.length = 0;
    work();
  }
}

/** The newest price: the line's last point until its minute is over. */
export function note(symbol, ms, price) {
  const line = of(symbol);
  const last = line.points[line.points.length - 1];
  if (last && ms - last[0] < (state.hasBars ? 60_000 : OWN_EVERY_MS)) {
    if (last[1] === price) return;
    last[1] = price;
  } else {
    line.points.push([ms, price]);
    if (line.points.length > Math.max(MINUTES, OWN_MAX)) line.points.shift();
  }
  line.version += 1;
}

rankings.updated.on((id, list) => {
  for (const row of list.order) note(row.symbol, list.timestampMs, row.metadata.price);
});

let colors = null;
repainted.on(() => {
  colors = null;
});
const palette = () =>
  (colors ??= {
    up: color("up"),
    down: color("down"),
    line: color("line-strong"),
    pre: color("shade-pre"),
    post: color("shade-post"),
  });

/** Draw a symbol's line into a cell, if it differs from what is there. */
export function draw(cell, symbol) {
  const line = of(symbol);
  want(symbol, line);
  const stamp = `${symbol} ${line.version} ${cell.clientWidth} ${document.documentElement.dataset.theme} ${document.documentElement.dataset.colors}`;
  if (cell.drawn === stamp) return;
  cell.drawn = stamp;
  const canvas = cell.firstElementChild || cell.appendChild(document.createElement("canvas"));
  canvas.setAttribute("aria-hidden", "true");
  const ratio = devicePixelRatio || 1;
  const [width, height] = [Math.max(20, cell.clientWidth - 10), 20];
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  paint(pen, line.points, width, height);
}

function paint(pen, points, width, height) {
  if (points.length < 3) return;
  const { up, down, line, pre, post } = palette();
  const [from, to] = [points[0][0], points[points.length - 1][0]];
  const values = points.map((point) => point[1]);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const x = (ms) => ((ms - from) / Math.max(1, to - from)) * (width - 2) + 1;
  const y = (value) => height - 2 - ((value - low) / Math.max(1e-9, high - low)) * (height - 4);
  points.forEach(([ms], place) => {
    const session = clock.sessionAt(ms).name;
    if (session === "market" || session === "closed") return;
    pen.fillStyle = session === "premarket" ? pre : post;
    const begin = x(ms);
    pen.fillRect(begin, 0, (place + 1 < points.length ? x(points[place + 1][0]) : width) - begin, height);
  });
  pen.strokeStyle = line;
  pen.lineWidth = 0.7;
  pen.beginPath();
  pen.moveTo(0, y(values[0]));
  pen.lineTo(width, y(values[0]));
  pen.stroke();
  pen.strokeStyle = values[values.length - 1] >= values[0] ? up : down;
  pen.lineWidth = 1.25;
  pen.lineJoin = "round";
  pen.beginPath();
  points.forEach(([ms, value], place) => (place ? pen.lineTo(x(ms), y(value)) : pen.moveTo(x(ms), y(value))));
  pen.stroke();
}
