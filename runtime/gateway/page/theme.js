// The theme before the first paint: a page that was dark does not flash white.
(() => {
  let kept = {};
  try {
    kept = JSON.parse(localStorage.getItem("jetscan.preferences") || "{}");
  } catch {
    /* then as the system says */
  }
  const root = document.documentElement;
  const theme =
    kept.theme && kept.theme !== "auto"
      ? kept.theme
      : matchMedia("(prefers-color-scheme: light)").matches
        ? "light"
        : "dark";
  root.dataset.theme = theme;
  root.dataset.colors = kept.colors || "usual";
})();
