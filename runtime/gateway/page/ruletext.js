// A stored rule as one line of text, and the version that a change of it is made against.

/** The header by which a change of somebody else's meanwhile is noticed. */
export const matchOf = (rule) => (rule.version !== undefined ? { "If-Match": `"${rule.version}"` } : {});

/** A rule's condition in one line, whatever form it was given in. */
export function textOf(rule) {
  const seconds = secondsOf(rule.cooldown ?? 10);
  const end = seconds !== 10 ? ` cooldown ${spanOf(seconds)}` : "";
  if (typeof rule.text === "string" && rule.text) return rule.text;
  if (typeof rule.when === "string") return rule.when;
  if (rule.conditions?.length) return rule.conditions.map(conditionOf).join(" and ") + end;
  return rule.when ? "a tree of conditions" : "";
}

/** A cooldown in seconds, also where it was given as `5m`. */
export function secondsOf(cooldown) {
  const told = /^(\d+)\s*([smhd])$/.exec(String(cooldown ?? ""));
  return told ? Number(told[1]) * { s: 1, m: 60, h: 3_600, d: 86_400 }[told[2]] : Number(cooldown) || 0;
}

const spanOf = (seconds) =>
  seconds && seconds % 3600 === 0
    ? `${seconds / 3600}h`
    : seconds && seconds % 60 === 0
      ? `${seconds / 60}m`
      : `${seconds}s`;

function conditionOf(one) {
  const during =
    one.calculated_during && one.calculated_during !== "all"
      ? ` during ${[].concat(one.calculated_during).join(", ")}`
      : one.calculated_during === "all"
        ? " during all"
        : "";
  const volume =
    one.volume_threshold !== undefined && one.volume_threshold !== null ? ` volume >= ${one.volume_threshold}` : "";
  return `${one.metric ?? ""} ${one.operator || one.op || ">"} ${one.value}${volume}${during}`.trim();
}

/** The text without the cooldown at its end, which has a field of its own. */
export const withoutCooldown = (text) => text.replace(/\s+cooldown\s+\d+\s*[smhd]\s*$/i, "");
