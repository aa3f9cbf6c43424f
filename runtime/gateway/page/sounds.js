// Being told by ear and on the desktop: a tone per rule, speech, notifications, and hours in which it is quiet.

import { byId, drawing } from "./dom.js";
import * as alerts from "./alerts.js";
import * as preferences from "./preferences.js";
import { isMuted } from "./rowactions.js";
import { partsOf, price, reasonOf } from "./format.js";

const BURST_MS = 1_200; // one sound for a burst
const SPOKEN_MS = 3_000;
const DESKTOP_MS = 2_000;

/** Tones by name: notes as [Hz, seconds]. */
export const TONES = {
  chime: [
    [880, 0.09],
    [1318, 0.16],
  ],
  low: [[330, 0.18]],
  rise: [
    [523, 0.07],
    [659, 0.07],
    [784, 0.13],
  ],
  fall: [
    [784, 0.07],
    [659, 0.07],
    [523, 0.13],
  ],
  tick: [[1760, 0.03]],
  none: [],
};

const SPEAKER = "M4 9v6h4l5 4V5L8 9z";
const WAVES = "M16.5 8.5a5 5 0 0 1 0 7M19 6a9 9 0 0 1 0 12";
const CROSS = "M17 9.5l5 5M22 9.5l-5 5";

const state = { audio: null, soundedAt: 0, spokenAt: 0, toldAt: 0, untold: 0 };

export function begin() {
  const element = byId("sound-button");
  element.addEventListener("click", () => set({ on: !preferences.get("sound").on }));
  preferences.changed.on((name) => {
    if (name === "sound" || name === "*") show();
  });
  alerts.heard.on((entry, isLate, isHistory) => {
    if (!isLate && !isHistory && entry.alert.kind === "fired") hear(entry.alert);
  });
  show();
}

/** Change some of the sound's settings. */
export function set(more) {
  preferences.set("sound", { ...preferences.get("sound"), ...more });
  if (more.on) play("chime");
}

function show() {
  const { on } = preferences.get("sound");
  const element = byId("sound-button");
  element.setAttribute("aria-pressed", String(on));
  element.title = on ? "Sound is on" : "Sound is off";
  element.replaceChildren(drawing([SPEAKER, on ? WAVES : CROSS]));
}

/** Whether a moment lies in the quiet hours {from, to} of New York's clock; over midnight if `to` is not after `from`. */
export function isQuiet(quiet, ms) {
  if (!quiet?.from || !quiet?.to) return false;
  const minute = (text) => Number(text.slice(0, 2)) * 60 + Number(text.slice(3, 5));
  const at = partsOf(ms);
  const [now, from, to] = [at.hour * 60 + at.minute, minute(quiet.from), minute(quiet.to)];
  return from < to ? now >= from && now < to : now >= from || now < to;
}

function hear(alert) {
  const sound = preferences.get("sound");
  if (isMuted(alert.symbol) || isQuiet(sound.quiet, Date.now())) return;
  const now = Date.now();
  const tone = sound.rules[alert.rule_id] || "chime";
  if (sound.on && tone !== "none" && now - state.soundedAt > BURST_MS) {
    state.soundedAt = now;
    play(tone);
  }
  if (sound.speech && now - state.spokenAt > SPOKEN_MS) {
    state.spokenAt = now;
    speak(`${[...alert.symbol].join(" ")}, ${alert.rule_name}`);
  }
  if (sound.desktop) tell(alert, now);
}

function tell(alert, now) {
  if (!("Notification" in window) || Notification.permission !== "granted" || !document.hidden) return;
  state.untold += 1;
  if (now - state.toldAt < DESKTOP_MS) return;
  const more = state.untold > 1 ? `, and ${state.untold - 1} more` : "";
  state.toldAt = now;
  state.untold = 0;
  new Notification(`${alert.symbol} ${alert.rule_name}${more}`, {
    body: `${price(alert.price)} · ${reasonOf(alert)}`,
    tag: "jetscan",
  });
}

/** Ask the browser whether notifications may be shown. */
export async function askDesktop() {
  if (!("Notification" in window)) throw new Error("this browser shows no notifications");
  const answer = await Notification.requestPermission();
  if (answer !== "granted") throw new Error("the browser does not allow notifications for this page; its settings do");
}

export function play(tone, volume = preferences.get("sound").volume) {
  const Audio = window.AudioContext;
  if (!Audio) return;
  state.audio ??= new Audio();
  state.audio.resume?.();
  let at = state.audio.currentTime + 0.01;
  for (const [frequency, seconds] of TONES[tone] || TONES.chime) {
    const [source, gain] = [state.audio.createOscillator(), state.audio.createGain()];
    source.type = "triangle";
    source.frequency.value = frequency;
    gain.gain.setValueAtTime(0, at);
    gain.gain.linearRampToValueAtTime(volume * 0.4, at + 0.01);
    gain.gain.exponentialRampToValueAtTime(0.0001, at + seconds);
    source.connect(gain).connect(state.audio.destination);
    source.start(at);
    source.stop(at + seconds + 0.02);
    at += seconds * 0.8;
  }
}

function speak(text) {
  if (!("speechSynthesis" in window)) return;
  const said = new SpeechSynthesisUtterance(text);
  said.volume = preferences.get("sound").volume;
  speechSynthesis.speak(said);
}
