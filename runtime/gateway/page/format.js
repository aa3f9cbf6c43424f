// Numbers, times and metrics as traders read them.

export const ZONE = "America/New_York";
const MINUS = "−"; // a true minus is as wide as a plus
const ABSENT = "–";

const known = (value) => typeof value === "number" && Number.isFinite(value);
const signed = (text, value) => (value > 0 ? `+${text}` : text.replace("-", MINUS));

/** 1,234 as 1.23K, 5,600,000 as 5.60M; at most four figures. */
export function compact(value) {
  if (!known(value)) return ABSENT;
  const size = Math.abs(value);
  for (const [least, letter] of [
    [1e12, "T"],
    [1e9, "B"],
    [1e6, "M"],
    [1e3, "K"],
  ]) {
    if (size >= least * 0.9995) {
      const scaled = value / least;
      return (scaled.toFixed(Math.abs(scaled) < 9.995 ? 2 : Math.abs(scaled) < 99.95 ? 1 : 0) + letter).replace(
        "-",
        MINUS,
      );
    }
  }
  return value.toFixed(Number.isInteger(value) ? 0 : 2).replace("-", MINUS);
}

/** A price by its tick: four decimals under a dollar. */
export function price(value) {
  return known(value) ? value.toFixed(Math.abs(value) < 1 && value !== 0 ? 4 : 2).replace("-", MINUS) : ABSENT;
}

/** A percent with its sign. */
export function percent(value, decimals = 2) {
  return known(value) ? `${signed(value.toFixed(decimals), Number(value.toFixed(decimals)))}%` : ABSENT;
}

/** What a metric is in: pct, usd, shares, index, flag or number. `unit` is what the metric list says, else the name tells. */
export function kindOf(name, unit = "") {
  if (/percent|%/.test(unit)) return "pct";
  if (/^usd|\$/.test(unit)) return /volume|marketcap/.test(name) ? "amount" : "usd";
  if (/index/.test(unit)) return "index";
  if (unit && /shares|count|trades/.test(unit)) return "shares";
  if (unit && /flag/.test(unit)) return "flag";
  if (unit) return "number";
  if (/_pct|pct_|relative_volume|atrp|^gainers|^losers|^vwap_dist/.test(name)) return "pct";
  if (/dollar_volume|marketcap/.test(name)) return "amount";
  if (/volume|count|float|shares/.test(name)) return "shares";
  if (/^rsi|^stoch|position_in_range/.test(name)) return "index";
  return /price|close|open|high|low|vwap|ema|sma|bb_|change|range|atr/.test(name) ? "usd" : "number";
}

/** Whether zero is the middle of a metric: changes and distances. */
export const isSigned = (name) => /change|dist|gap|gainers|losers|macd|consecutive/.test(name) && !/volume/.test(name);

/** A value as its metric is written. */
export function valueOf(name, value, unit = "") {
  if (!known(value)) return ABSENT;
  const kind = kindOf(name, unit);
  if (kind === "pct")
    return isSigned(name)
      ? percent(value)
      : `${Math.abs(value) >= 1000 ? compact(value) : value.toFixed(1).replace("-", MINUS)}%`;
  if (kind === "amount") return `$${compact(value)}`;
  if (kind === "shares") return compact(value);
  if (kind === "index") return value.toFixed(1);
  if (kind === "usd") return isSigned(name) ? signed(price(value), value) : price(value);
  if (kind === "flag") return value ? "yes" : "no";
  return compact(value);
}

/** `change_pct_5m` as `change % 5m`. */
export const wordsOf = (name) =>
  name
    .replaceAll("_", " ")
    .replace(/\bpct\b/g, "%")
    .trim();

const SIGNS = { ">": "above", "<": "below", ">=": "at least", "<=": "at most", "==": "equal to", "!=": "other than" };

/** A condition that was true, in words: `change % 5m +1.02%, above 1`. */
export function leafInWords(leaf) {
  const parts = /^(.+?) (>=|<=|==|!=|>|<|crosses above|crosses below|changed by) (.+)$/.exec(leaf.text || "");
  if (!parts) return leaf.text || "";
  const [, left, sign, right] = parts;
  const value = /^[a-z_0-9.]+$/.test(left)
    ? valueOf(left, leaf.value)
    : known(leaf.value)
      ? compact(leaf.value)
      : ABSENT;
  if (SIGNS[sign])
    return `${wordsOf(left)} ${value}, ${SIGNS[sign]} ${wordsOf(right.replace(/ (volume >=|during) .*$/, ""))}`;
  return `${wordsOf(left)} ${sign} ${wordsOf(right)}${known(leaf.value) ? ` at ${value}` : ""}`;
}

/** Why an alert was said, in one line. */
export function reasonOf(alert) {
  if (alert.kind !== "fired" && alert.reason) return alert.reason;
  const leaves = (alert.explain?.leaves || []).filter((leaf) => leaf.truth);
  if (leaves.length) return leaves.map(leafInWords).join("; ");
  const metrics = Object.entries(alert.metadata?.metrics || {});
  return metrics.length
    ? metrics.map(([name, value]) => `${wordsOf(name)} ${valueOf(name, value)}`).join("; ")
    : alert.message || "";
}

// -- times

const clockTime = new Intl.DateTimeFormat("en-GB", {
  timeZone: ZONE,
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
});
const minuteTime = new Intl.DateTimeFormat("en-GB", { timeZone: ZONE, hour: "2-digit", minute: "2-digit" });
const dayTime = new Intl.DateTimeFormat("en-CA", { timeZone: ZONE, year: "numeric", month: "2-digit", day: "2-digit" });
const zoneName = new Intl.DateTimeFormat("en-US", { timeZone: ZONE, timeZoneName: "short" });
const parts = new Intl.DateTimeFormat("en-US", {
  timeZone: ZONE,
  hourCycle: "h23",
  year: "numeric",
  month: "numeric",
  day: "numeric",
  hour: "numeric",
  minute: "numeric",
  second: "numeric",
  weekday: "short",
});

export const timeOf = (ms) => (known(ms) ? clockTime.format(ms) : ABSENT);
export const minuteOf = (ms) => (known(ms) ? minuteTime.format(ms) : ABSENT);
export const dayOf = (ms) => (known(ms) ? dayTime.format(ms) : ABSENT);
/** EST or EDT, as of a time. */
export const zoneOf = (ms) => zoneName.formatToParts(ms).find((part) => part.type === "timeZoneName").value;
export const timeMsOf = (ms) =>
  known(ms) ? `${clockTime.format(ms)}.${String(Math.floor(((ms % 1000) + 1000) % 1000)).padStart(3, "0")}` : ABSENT;

/** New York's calendar of a moment. */
export function partsOf(ms) {
  const found = Object.fromEntries(parts.formatToParts(ms).map((part) => [part.type, part.value]));
  return {
    year: +found.year,
    month: +found.month,
    day: +found.day,
    hour: +found.hour,
    minute: +found.minute,
    second: +found.second,
    weekday: found.weekday,
  };
}

/** What New York's clock is ahead of UTC, in ms; negative. */
export function offsetOf(ms) {
  const at = partsOf(ms);
  return Date.UTC(at.year, at.month - 1, at.day, at.hour, at.minute, at.second) - Math.floor(ms / 1000) * 1000;
}

/** The moment of a day and a time on New York's clock. */
export function momentOf(day, time) {
  const told = Date.parse(`${day}T${time.length === 5 ? `${time}:00` : time}Z`);
  if (!Number.isFinite(told)) return NaN;
  return told - offsetOf(told - offsetOf(told));
}

/** 75,000 ms as 1:15; 3 h 12 min as 3:12:00. */
export function countdown(ms) {
  const total = Math.max(0, Math.round(ms / 1000));
  const [hours, minutes, seconds] = [Math.floor(total / 3600), Math.floor(total / 60) % 60, total % 60];
  const two = (value) => String(value).padStart(2, "0");
  return hours ? `${hours}:${two(minutes)}:${two(seconds)}` : `${minutes}:${two(seconds)}`;
}

/** A length of time, in its largest fitting unit. */
export function lasting(ms) {
  if (!known(ms)) return ABSENT;
  if (ms < 1) return ms ? `${ms.toFixed(2)} ms` : "0 ms";
  if (ms < 1000) return `${ms.toFixed(ms < 10 ? 1 : 0)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  if (ms < 3_600_000) return `${Math.floor(ms / 60_000)} min`;
  if (ms >= 172_800_000) return `${Math.floor(ms / 86_400_000)} days`;
  return `${Math.floor(ms / 3_600_000)} h ${Math.floor(ms / 60_000) % 60} min`;
}

/** The ms of an RFC 3339 time, whatever its digits. */
export const msOf = (timestamp) => (timestamp ? Date.parse(String(timestamp).replace(/(\.\d{3})\d+/, "$1")) : NaN);
