// Theme, colours and motion, as the user or the system prefers.

import * as preferences from "./preferences.js";
import { Signal } from "./signal.js";

export const THEMES = [
  ["auto", "As the system"],
  ["dark", "Dark"],
  ["light", "Light"],
  ["contrast", "High contrast"],
];
export const COLORS = [
  ["usual", "Green and red"],
  ["safe", "Blue and orange (colour-blind safe)"],
];

const light = matchMedia("(prefers-color-scheme: light)");
const contrast = matchMedia("(prefers-contrast: more)");
const still = matchMedia("(prefers-reduced-motion: reduce)");

/** Told when colours changed: canvases draw again. */
export const repainted = new Signal();

/** Whether things may flash and move. */
export const moves = () => preferences.get("flashes") && !still.matches;

export function apply() {
  const wanted = preferences.get("theme");
  const root = document.documentElement;
  root.dataset.theme = wanted !== "auto" ? wanted : contrast.matches ? "contrast" : light.matches ? "light" : "dark";
  root.dataset.colors = preferences.get("colors");
  root.dataset.still = moves() ? "no" : "yes";
  repainted.tell();
}

/** A colour of the theme, for a canvas. */
export const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

preferences.changed.on((name) => {
  if (["*", "theme", "colors", "flashes"].includes(name)) apply();
});
for (const query of [light, contrast, still]) query.addEventListener("change", apply);
