// The page from its first line on: sign in, then windows, then what is live.

import { byId, put } from "./dom.js";
import "./appearance.js";
import * as session from "./session.js";
import * as preferences from "./preferences.js";
import * as socket from "./socket.js";
import * as alerts from "./alerts.js";
import * as clock from "./clock.js";
import * as desk from "./desk.js";
import * as keys from "./keys.js";
import * as lamps from "./lamps.js";
import * as link from "./link.js";
import * as live from "./live.js";
import * as rankings from "./rankings.js";
import * as sounds from "./sounds.js";
import * as symbolbox from "./symbolbox.js";
import * as topmenus from "./topmenus.js";
import * as signin from "./signin.js";

const QUIET_MS = 4_000; // by then what is shown is loaded
const CUT_SHOWN_MS = 2_000; // a short break is nobody's business

async function start() {
  preferences.begin();
  const isIn = await session.begin().catch(() => session.isOpen());
  if (!isIn) await signin.ask();
  historyThenLive(); // windows do not wait for it
  await preferences.load().catch(() => {});
  begin();
}

/** The past first, then live from its newest alert on: nothing lies between. */
async function historyThenLive() {
  const newest = await alerts.load().catch(() => null);
  socket.open(newest);
}

let isBegun = false;
function begin() {
  if (isBegun) return;
  isBegun = true;
  desk.begin(session.isAdmin);
  topmenus.begin();
  lamps.begin();
  sounds.begin();
  symbolbox.begin((symbol) => link.pick(desk.active()?.window.group ?? "blue", symbol));
  keys.listen({ search: symbolbox.open, help: topmenus.help, window: desk.goTo, row: desk.act });
  alerts.heard.on((entry, isLate, isHistory) => {
    if (!isHistory && entry.alert.kind === "fired") live.alert(entry.alert);
  });
  showFirst();
  setInterval(tick, 250);
  setTimeout(() => desk.fetchKinds(), QUIET_MS);
  document.body.dataset.ready = "yes";
}

/** Until somebody picks a symbol, the first of the first list is shown. */
function showFirst() {
  const end = rankings.updated.on((id, list) => {
    if (!list.order.length) return;
    end();
    if (!link.symbolOf("blue")) link.pick("blue", list.order[0].symbol);
  });
}

function tick() {
  const told = clock.read();
  put(byId("clock"), told.time);
  put(byId("zone"), told.zone);
  put(byId("session"), told.session || "–");
  byId("session").dataset.session = told.name;
  put(byId("countdown"), told.countdown);
}

// -- cut off, and back

let cutAt = 0;
socket.stateChanged.on((is) => {
  document.body.dataset.connection = is;
  if (is === "open") {
    if (cutAt && Date.now() - cutAt > CUT_SHOWN_MS) live.say("Connected again");
    cutAt = 0;
    byId("cut").hidden = true;
  } else cutAt ||= Date.now();
});
setInterval(() => {
  const isLong = cutAt && Date.now() - cutAt > CUT_SHOWN_MS;
  byId("cut").hidden = !isLong;
  if (isLong)
    put(
      byId("cut"),
      `Not connected for ${Math.round((Date.now() - cutAt) / 1000)} s. What is said meanwhile is sent when the connection is back.`,
    );
}, 500);

session.changed.on(async (isIn) => {
  if (isIn) return;
  if (session.isOpen()) return location.reload();
  socket.close();
  await signin.ask();
  location.reload(); // another user: nothing of the one before stays in memory
});

start();
