// The page: follows /ws, keeps keyed tables, touches only what changed. No library, no build step.

const ROWS_MAX = 50;
const TAPE_MAX = 200;
const FLASH_MS = 500;
const SUMMARY_MS = 5000;
const RETRY_MS = [300, 800, 2000, 5000, 10000];
const METRICS = ["price", "change_pct_1m", "change_pct_5m", "change_pct_15m", "change_from_close_pct", "change_from_open_pct",
  "volume_daily", "volume_1m", "volume_5m", "rsi_14", "ema_9", "ema_20", "sma_20", "vwap_5m"];

const byId = (id) => document.getElementById(id);
const newYork = new Intl.DateTimeFormat("en-GB", { timeZone: "America/New_York", hour: "2-digit", minute: "2-digit", second: "2-digit" });

const state = { seq: null, list: null, tries: 0, newestMs: 0, heardAt: 0, alerts: 0, isPaused: false, isHeld: false, waiting: null, held: 0,
  before: new Map(), unsaid: [], socket: null };

// -- formatting

function short(value) {
  const size = Math.abs(value);
  if (size >= 1e9) return (value / 1e9).toFixed(2) + "B";
  if (size >= 1e6) return (value / 1e6).toFixed(2) + "M";
  if (size >= 1e3) return (value / 1e3).toFixed(1) + "K";
  return value.toFixed(0);
}
const price = (value) => value.toFixed(Math.abs(value) < 1 ? 4 : 2);
function valueOf(list, value) {
  if (list.startsWith("volume")) return short(value);
  if (list.startsWith("rsi")) return value.toFixed(1);
  return (value > 0 ? "+" : "") + value.toFixed(2) + "%";
}
const timeOf = (ms) => newYork.format(new Date(ms)) + "." + String(Math.floor(ms % 1000)).padStart(3, "0");

// -- cells: text is set only where it differs, a flash at most every FLASH_MS

function put(cell, text, name = "") {
  if (cell.textContent !== text) cell.textContent = text;
  if (cell.className !== name) cell.className = name;
}
function flash(cell, direction) {
  const now = performance.now();
  if (now - (cell.flashedAt || 0) < FLASH_MS) return;
  cell.flashedAt = now;
  cell.classList.remove("rose", "fell");
  requestAnimationFrame(() => cell.classList.add(direction > 0 ? "rose" : "fell"));
}
function rowFor(body, key, cells) {
  let row = body.rowsByKey?.get(key);
  if (!row) {
    row = document.createElement("tr");
    row.dataset.key = key;
    for (let k = 0; k < cells; k += 1) row.append(document.createElement("td"));
    body.rowsByKey ??= new Map();
    body.rowsByKey.set(key, row);
  }
  return row;
}

// -- toplist

function showList(update) {
  if (update.toplist_id !== state.list) return;
  if (state.isHeld) {
    state.waiting = update;
    state.held += 1;
    byId("held").textContent = state.held;
    return;
  }
  const body = byId("ranks").tBodies[0];
  const ranks = update.rankings.slice(0, ROWS_MAX);
  const present = new Set();
  ranks.forEach((rank, place) => {
    const row = rowFor(body, rank.symbol, 6);
    present.add(rank.symbol);
    fillRank(row, rank);
    if (body.rows[place] !== row) body.insertBefore(row, body.rows[place] || null);
  });
  for (const [symbol, row] of body.rowsByKey || []) {
    if (!present.has(symbol)) { row.remove(); body.rowsByKey.delete(symbol); }
  }
  state.before = new Map(ranks.map((rank) => [rank.symbol, rank]));
}
function fillRank(row, rank) {
  const before = state.before.get(rank.symbol);
  const moved = before ? before.rank - rank.rank : 0;
  const cells = row.cells;
  put(cells[0], String(rank.rank), "number");
  put(cells[1], before ? (moved ? String(Math.abs(moved)) : "") : "new",
    "number " + (before ? (moved > 0 ? "moved-up" : moved < 0 ? "moved-down" : "") : "is-new"));
  put(cells[2], rank.symbol, "symbol");
  const isSigned = !/^(volume|rsi)/.test(state.list);
  put(cells[3], valueOf(state.list, rank.value), "number" + (isSigned ? (rank.value > 0 ? " up" : rank.value < 0 ? " down" : "") : ""));
  put(cells[4], price(rank.metadata.price), "number");
  put(cells[5], short(rank.metadata.volume), "number");
  if (before && before.metadata.price !== rank.metadata.price) flash(cells[4], rank.metadata.price - before.metadata.price);
}
function chooseList(name) {
  if (state.list === name) return;
  if (state.list) say({ type: "unsubscribe_toplist", toplist_id: state.list });
  state.list = name;
  state.before = new Map();
  byId("list").value = name;
  byId("value-head").textContent = /^volume/.test(name) ? "Shares" : /^rsi/.test(name) ? "RSI" : "Change";
  const body = byId("ranks").tBodies[0];
  body.replaceChildren();
  body.rowsByKey = new Map();
  say({ type: "subscribe_toplist", toplist_id: name });
}
async function loadLists() {
  const { system_toplists: lists } = await ask("GET", "/api/v1/toplists");
  const chooser = byId("list");
  if (lists.length === chooser.options.length) return;
  chooser.replaceChildren(...lists.map((one) => new Option(one.name, one.id)));
  const names = lists.map((one) => one.id);
  const first = names.includes(state.list) ? state.list : names.includes("gainers_5m") ? "gainers_5m" : names[0];
  if (first) { state.list = state.list === first ? state.list : null; chooseList(first); chooser.value = first; }
}
function hold(isHeld) {
  if (state.isHeld === isHeld) return;
  state.isHeld = isHeld;
  state.held = 0;
  byId("held").textContent = "0";
  byId("hold").hidden = !isHeld;
  if (!isHeld && state.waiting) { const update = state.waiting; state.waiting = null; showList(update); }
}

// -- alerts

function showAlert(alert, isLate) {
  if (state.seq !== null && alert.seq <= state.seq) return;
  state.seq = alert.seq;
  state.alerts += 1;
  byId("alert-count").textContent = state.alerts;
  state.unsaid.push(`${alert.symbol} ${alert.rule_name}`);
  const wanted = byId("filter").value.trim().toUpperCase();
  if (state.isPaused || (wanted && alert.symbol !== wanted)) return;
  const row = document.createElement("tr");
  row.className = isLate ? "late" : "fresh";
  const because = Object.entries(alert.metadata.metrics || {}).map(([name, value]) => `${name} ${Number(value.toFixed(3))}`).join(", ");
  const what = alert.kind === "fired" ? alert.rule_name : `${alert.rule_name} (${alert.kind})`;
  const shown = [timeOf(alert.ts_ns / 1e6), alert.symbol, what, price(alert.price), because];
  shown.forEach((text, k) => {
    const cell = row.insertCell();
    put(cell, text, k === 1 ? "symbol" : k === 3 ? "number" : "");
    cell.title = k === 4 || k === 2 ? text : "";
  });
  const body = byId("alerts").tBodies[0];
  body.prepend(row);
  while (body.rows.length > TAPE_MAX) body.lastElementChild.remove();
  byId("no-alerts").hidden = true;
}

// -- the socket: jittered back-off, resume by number

function connect() {
  const socket = new WebSocket((location.protocol === "https:" ? "wss://" : "ws://") + location.host + "/ws");
  state.socket = socket;
  socket.onopen = () => {
    state.tries = 0;
    lamp("lamp-link", "good");
    lamp("lamp-alerts", "good");
    say({ type: "resume", after: state.seq ?? Math.max(0, (state.newestSeq || 0) - 50) });
    if (state.list) say({ type: "subscribe_toplist", toplist_id: state.list });
    loadLists().catch(() => {});
  };
  socket.onmessage = (event) => hear(JSON.parse(event.data));
  socket.onclose = () => {
    lamp("lamp-link", "bad");
    lamp("lamp-alerts", "bad");
    const wait = RETRY_MS[Math.min(state.tries, RETRY_MS.length - 1)];
    state.tries += 1;
    setTimeout(connect, wait * (0.5 + Math.random()));
  };
}
function hear(message) {
  state.heardAt = Date.now();
  if (message.type === "alert") {
    showAlert(message.data, message.late === true);
    noteTime(message.data.ts_ns / 1e6);
  } else if (message.type === "toplist_update") {
    noteTime(Date.parse(message.data.timestamp));
    showList(message.data);
  } else if (message.type === "gap") {
    state.seq = message.to;
  }
}
function say(message) {
  if (state.socket?.readyState === WebSocket.OPEN) state.socket.send(JSON.stringify(message));
}
function noteTime(ms) {
  if (ms > state.newestMs) { state.newestMs = ms; state.movedAt = Date.now(); byId("clock").textContent = newYork.format(new Date(ms)); }
}
function lamp(id, condition) { byId(id).dataset.state = condition; }

// -- rules

async function ask(method, path, body) {
  const answer = await fetch(path, { method, headers: body ? { "Content-Type": "application/json" } : {}, body: body && JSON.stringify(body) });
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.detail || told.error || answer.statusText);
  return told;
}
async function loadRules() {
  const { rules } = await ask("GET", "/api/v1/rules");
  byId("rule-table").tBodies[0].replaceChildren(...rules.map(ruleRow));
}
function ruleRow(rule) {
  const row = document.createElement("tr");
  const when = rule.conditions.map((c) => `${c.metric} ${c.operator} ${c.value}`).join(" and ");
  for (const [text, name] of [[rule.name, "symbol"], [when, ""], [`${rule.cooldown} s`, "number"]]) {
    const cell = row.insertCell();
    put(cell, text, name);
    cell.title = text;
  }
  const toggle = Object.assign(document.createElement("input"), { type: "checkbox", checked: rule.enabled });
  toggle.setAttribute("aria-label", `${rule.name} is on`);
  toggle.onchange = () => act(() => ask("PUT", `/api/v1/rules/${rule.id}`, { ...rule, enabled: toggle.checked }));
  row.insertCell().append(toggle);
  const remove = Object.assign(document.createElement("button"), { type: "button", textContent: "Delete" });
  remove.setAttribute("aria-label", `Delete ${rule.name}`);
  remove.onclick = () => act(() => ask("DELETE", `/api/v1/rules/${rule.id}`));
  row.insertCell().append(remove);
  return row;
}
async function act(action) {
  byId("rule-error").textContent = "";
  try { await action(); } catch (error) { byId("rule-error").textContent = error.message; }
  await loadRules().catch(() => {});
}

// -- start

byId("metrics").replaceChildren(...METRICS.map((name) => new Option(name)));
byId("list").onchange = (event) => chooseList(event.target.value);
byId("pause").onclick = () => {
  state.isPaused = !state.isPaused;
  byId("pause").setAttribute("aria-pressed", String(state.isPaused));
  byId("pause").textContent = state.isPaused ? "Go on" : "Pause";
};
const ranks = byId("ranks");
ranks.tBodies[0].addEventListener("pointerenter", () => hold(true));
ranks.tBodies[0].addEventListener("pointerleave", () => hold(false));
byId("rule-form").onsubmit = (event) => {
  event.preventDefault();
  const form = new FormData(event.target);
  const value = Number(form.get("value"));
  act(async () => {
    if (!Number.isFinite(value)) throw new Error(`Value: expected a number, found "${form.get("value")}"`);
    await ask("POST", "/api/v1/rules", {
      name: form.get("name"), cooldown: Number(form.get("cooldown")),
      conditions: [{ metric: form.get("metric").trim(), operator: form.get("operator"), value }],
    });
    event.target.reset();
  });
};
setInterval(() => {
  const ageS = state.movedAt ? (Date.now() - state.movedAt) / 1000 : Infinity;
  byId("data-age").textContent = ageS === Infinity ? "–" : `${ageS.toFixed(0)} s`;
  lamp("lamp-data", ageS < 3 ? "good" : ageS < 15 ? "slow" : "bad");
  if (!byId("list").options.length) loadLists().catch(() => {});
}, 1000);
setInterval(() => {
  if (!state.unsaid.length) return;
  byId("live").textContent = `${state.unsaid.length} new alerts, last ${state.unsaid.at(-1)}`;
  state.unsaid = [];
}, SUMMARY_MS);
ask("GET", "/api/v1/alerts?limit=1").then(({ alerts }) => { state.newestSeq = alerts[0]?.seq || 0; }).catch(() => {}).finally(connect);
loadRules().catch(() => {});
