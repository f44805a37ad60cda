// Addresses of the page: `#/chat`, `#/chat/<thread>`, `#/<tab>/<thread>`; behind a `?` stands what the tab alone reads.

export function read() {
  const [tab, thread] = location.hash.split("?")[0].replace(/^#\/?/, "").split("/");
  return { tab: tab || "chat", thread: thread ? decodeURIComponent(thread) : null };
}

export function address(tab, thread) {
  return `#/${tab}${thread ? `/${encodeURIComponent(thread)}` : ""}`;
}

export function go(tab, thread, { replace = false } = {}) {
  const to = address(tab, thread);
  if (location.hash === to) return;
  if (replace) history.replaceState(null, "", to);
  else location.hash = to;
  if (replace) dispatchEvent(new HashChangeEvent("hashchange"));
}
