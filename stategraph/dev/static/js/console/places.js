// Addresses of the console: `#/resources/<thread>?key=<kind>/<namespace>/<name>`; the thread is that of the other tabs.

export function read() {
  const [path, query = ""] = location.hash.split("?");
  const [tab] = path.replace(/^#\/?/, "").split("/");
  return { shown: tab === "resources", key: new URLSearchParams(query).get("key") };
}

export function toKey(key) {
  const [path] = location.hash.split("?");
  const [, thread] = path.replace(/^#\/?/, "").split("/");
  const asked = key ? `?key=${encodeURIComponent(key).replaceAll("%2F", "/")}` : "";
  return `#/resources${thread ? `/${thread}` : ""}${asked}`;
}
