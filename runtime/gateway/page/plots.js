// Small plots on a canvas: bars and lines with their axis, redrawn when they change size or colour.

import { make } from "./dom.js";
import { color, repainted } from "./appearance.js";
import { compact } from "./format.js";

const PAD = { left: 44, right: 8, top: 8, bottom: 18 };

/** A figure; `data`: {kind: "bars" | "line", values, labels, unit, zero, series}; `words` is what it shows, for who cannot see it. */
export function plot(title, data, words) {
  const canvas = make("canvas", { role: "img", "aria-label": `${title}. ${words}` });
  const figure = make("figure", { class: "plot" }, make("figcaption", {}, title), canvas);
  const draw = () => {
    if (canvas.isConnected) paint(canvas, data);
  };
  const watching = new ResizeObserver(draw);
  watching.observe(canvas);
  const end = repainted.on(() => (canvas.isConnected ? draw() : end()));
  return figure;
}

/** Round steps of an axis. */
function steps(low, high, most = 4) {
  const span = high - low || 1;
  const rough = span / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((one) => one * power).find((one) => one >= rough);
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step * 1e-6; at += step)
    found.push(Math.abs(at) < step * 1e-6 ? 0 : at);
  return found;
}

function paint(canvas, { kind, values, labels = [], unit = "" }) {
  const ratio = devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  if (!width || !values.length) return;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  const known = values.filter(Number.isFinite);
  const low = Math.min(0, ...known);
  const high = Math.max(0, ...known) || (low < 0 ? 0 : 1);
  const y = (value) => PAD.top + (1 - (value - low) / (high - low)) * (height - PAD.top - PAD.bottom);
  const room = width - PAD.left - PAD.right;
  pen.font = `10.5px ${getComputedStyle(document.body).fontFamily}`;
  pen.textBaseline = "middle";
  pen.textAlign = "right";
  for (const at of steps(low, high)) {
    pen.fillStyle = color("line");
    pen.fillRect(PAD.left, Math.round(y(at)), room, 1);
    pen.fillStyle = color("faint");
    pen.fillText(`${Math.abs(at) >= 1000 ? compact(at) : Number(at.toFixed(2))}${unit}`, PAD.left - 5, y(at));
  }
  pen.textAlign = "center";
  pen.textBaseline = "alphabetic";
  const every = Math.max(1, Math.ceil(labels.length / Math.max(1, Math.floor(room / 52))));
  labels.forEach((label, place) => {
    if (place % every === 0) pen.fillText(label, PAD.left + ((place + 0.5) / labels.length) * room, height - 5);
  });
  if (kind === "bars") {
    const each = room / values.length;
    values.forEach((value, place) => {
      if (!value) return;
      pen.fillStyle = color(value < 0 ? "down" : "mark");
      const [from, to] = [y(0), y(value)];
      pen.fillRect(
        PAD.left + place * each + each * 0.12,
        Math.min(from, to),
        Math.max(1, each * 0.76),
        Math.max(1, Math.abs(to - from)),
      );
    });
    return;
  }
  pen.strokeStyle = color("mark");
  pen.lineWidth = 1.6;
  pen.lineJoin = "round";
  pen.beginPath();
  values.forEach((value, place) => {
    const x = PAD.left + (values.length === 1 ? 0.5 : place / (values.length - 1)) * room;
    place ? pen.lineTo(x, y(value)) : pen.moveTo(x, y(value));
  });
  pen.stroke();
}
