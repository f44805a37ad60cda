// Values as people read them.

const numbers = new Intl.NumberFormat("en");
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });

export const count = (value) => numbers.format(value ?? 0);

export function money(dollars) {
  if (dollars === null || dollars === undefined) return "";
  if (dollars === 0) return "$0";
  return `$${dollars < 0.01 ? dollars.toPrecision(2).replace(/\.?0+$/, "") : dollars.toFixed(2)}`;
}

export function when(time) {
  const then = new Date(time);
  return age(time) === "Today" ? clock.format(then) : day.format(then);
}

export function age(time) {
  const midnight = new Date();
  midnight.setHours(0, 0, 0, 0);
  const days = (midnight - new Date(time)) / 86_400_000;
  if (days <= 0) return "Today";
  if (days <= 1) return "Yesterday";
  return days <= 7 ? "Last 7 days" : "Earlier";
}

export function size(bytes) {
  if (bytes < 1024) return `${bytes} B`;
  return bytes < 1024 ** 2 ? `${(bytes / 1024).toFixed(0)} KB` : `${(bytes / 1024 ** 2).toFixed(1)} MB`;
}

// A value as indented JSON; text that is JSON is indented too, other text stays as it is.
export function pretty(value) {
  if (typeof value !== "string") return JSON.stringify(value, null, 2) ?? "";
  try {
    const read = JSON.parse(value);
    return typeof read === "object" && read !== null ? JSON.stringify(read, null, 2) : value;
  } catch {
    return value;
  }
}

// `look_up_order` as "Look up order".
export function humanName(name) {
  const words = String(name ?? "").replace(/[_-]+/g, " ").replace(/([a-z])([A-Z])/g, "$1 $2").trim();
  return words ? words[0].toUpperCase() + words.slice(1).toLowerCase() : "Tool";
}
