// Addresses of the inspector: `#/inspector/<thread>/<step>/<namespace>`, `#/inspector/<thread>/compare/<a>/<thread>/<b>`.

// Whether there is room for one of list and step only; as in inspector.css.
export const stacked = matchMedia("(max-width: 62rem)");

const encode = (parts) => `#/${["inspector", ...parts].map((part) => encodeURIComponent(part)).join("/")}`;

export function read() {
  const parts = location.hash.replace(/^#\/?/, "").split("/").map(decoded);
  const [, thread = null, third = null, ...rest] = parts.map((part) => part || null);
  if (third === "compare") return { thread, compare: { a: rest[0], thread: rest[1] ?? thread, b: rest[2] ?? null } };
  return { thread, step: third === "-" ? null : third, namespace: rest[0] ?? "", compare: null };
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export function toStep(thread, step, namespace = "") {
  return encode([thread, ...(step || namespace ? [step ?? "-"] : []), ...(namespace ? [namespace] : [])]);
}

export const toCompare = (thread, a, otherThread, b) => encode([thread, "compare", a, otherThread, b]);
