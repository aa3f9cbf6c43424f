// The keyboard: what each key does, and to whom it is handed.

// [keys, what it does, action]; docs/page.md has the same table, a test holds them together.
export const KEYS = [
  ["/", "Find a symbol", "search"],
  ["letters", "Typed anywhere but in a table: find a symbol that begins so", "type"],
  ["↑ ↓ ← →", "Move in a table; Page Up, Page Down, Home and End as well", ""],
  ["Enter", "Show the row's symbol in every window of the same colour", ""],
  ["a", "Acknowledge the alert of the row", "acknowledge"],
  ["e", "Explain the alert of the row", "explain"],
  ["w", "Put the row's symbol on the watchlist, or take it off", "watch"],
  ["m", "Mute the row's symbol, or let it be heard again", "mute"],
  ["h", "Hold the list, or let it go on", "hold"],
  ["p", "Pause the tape, or let it go on", "pause"],
  ["1 … 9", "Go to window 1 to 9", "window"],
  ["?", "Show the keys", "help"],
  ["Esc", "Close what is open, leave a table", ""],
];

const OF_ROWS = Object.fromEntries(KEYS.filter(([key]) => /^[a-z]$/.test(key)).map(([key, , action]) => [key, action]));

const isTyping = (target) =>
  target.closest?.('input, textarea, select, [contenteditable="true"], dialog, .menu, [role="separator"]');

/** Hand keys on: `actions` has search(text), help(), window(n), and row(action, table), which says whether somebody took it. */
export function listen(actions) {
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    if (handle(event, actions)) event.preventDefault();
  });
}

function handle(event, actions) {
  const { key } = event;
  if (key === "/") return actions.search("");
  if (key === "?") return actions.help();
  if (/^[1-9]$/.test(key)) return actions.window(Number(key));
  if ((key === "ArrowDown" || key === "ArrowUp") && event.target === document.body) return actions.row("focus");
  const table = OF_ROWS[key] ? tableOf(event.target) : null;
  if (table && actions.row(OF_ROWS[key], table)) return true;
  return /^[a-zA-Z]$/.test(key) ? actions.search(key) : false;
}

/** Letters are commands in a table, and in the one that the pointer is on; elsewhere they begin a symbol. */
const tableOf = (target) => target.closest?.(".grid-body") || document.querySelector(".grid-body:hover");
