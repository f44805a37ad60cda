// Sets the colours before anything is drawn; a classic script, as modules run later.
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("stategraph.theme");
  } catch {
    // Storage is turned off: the system's colours.
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
