// Steps and their numbers as people read them.

import { count } from "../format.js";

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const whole = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

const SOURCES = { input: "Input", update: "Edited" };

export const nodeName = (name) => ({ __start__: "start", __end__: "end" })[name] ?? name;

export const several = (names) => names.map(({ name, count: times }) => `${nodeName(name)}${times > 1 ? ` ×${times}` : ""}`).join(", ");

export function titleOf(step) {
  if (step.source === "fork") return step.ran.length ? `Copy of ${several(step.ran)}` : "Copy of the input";
  if (step.ran.length) return several(step.ran);
  if (step.edited_as) return `Edited as ${nodeName(step.edited_as)}`;
  return SOURCES[step.source] ?? "State";
}

export const timeOf = (step) => (step.at ? clock.format(new Date(step.at)) : "");
export const dateOf = (step) => (step.at ? whole.format(new Date(step.at)) : "unknown");

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 0.001) return "<1 ms";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  return seconds < 60 ? `${seconds.toFixed(1)} s` : `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}

export function plural(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

export function characters(length) {
  return length < 10_000 ? plural(length, "character") : `${count(Math.round(length / 1000))} thousand characters`;
}

export function tokensOf(step) {
  return step.tokens ? `${count(step.tokens.input + step.tokens.output)} tokens` : "";
}
