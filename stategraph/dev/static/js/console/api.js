// Calls of the console's API. The token comes with the address that the server prints, and stays in this tab.

import { ApiError } from "../api.js";

const KEPT = "stategraph.console.token";
const base = "/api/resources";

// Takes the token out of the address, which people copy and which stands in the history.
export function takeToken() {
  const [path, query = ""] = location.hash.split("?");
  const asked = new URLSearchParams(query);
  const token = asked.get("token");
  if (!token) return;
  try {
    sessionStorage.setItem(KEPT, token);
  } catch {
    // Storage is turned off: the token lasts as long as the page.
  }
  kept = token;
  asked.delete("token");
  history.replaceState(null, "", asked.size ? `${path}?${asked}` : path);
}

let kept = null;

function token() {
  if (kept) return kept;
  try {
    return sessionStorage.getItem(KEPT) ?? "";
  } catch {
    return "";
  }
}

async function send(method, path, body, signal) {
  const options = { method, signal, headers: { "X-Stategraph-Token": token() } };
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  try {
    return await fetch(path, options);
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError("The server cannot be reached. Is it still running?", 0);
  }
}

async function call(method, path, body) {
  const response = await send(method, path, body);
  if (response.status === 204) return null;
  const said = await response.json().catch(() => null);
  if (!response.ok) throw new ApiError(said?.error ?? `The server answered with ${response.status}.`, response.status);
  return said;
}

// A key is `kind/namespace/name`, or `kind/name` for kinds without a namespace.
function one(key) {
  const parts = key.split("/");
  if (parts.length === 2) parts.splice(1, 0, "-");
  return `${base}/${parts.map(encodeURIComponent).join("/")}`;
}

const run = (id, what) => `${base}/runs/${encodeURIComponent(id)}/${what}`;

export const resources = {
  all: () => call("GET", base),
  one: (key) => call("GET", one(key)),
  apply: (text) => call("POST", base, { text }),
  remove: (key) => call("DELETE", one(key)),
  begin: (key, input) => call("POST", `${one(key)}/runs`, { input }),
  answer: (id, answer) => call("POST", run(id, "answer"), { answer }),
  stop: (id) => call("POST", run(id, "stop"), {}),
};

// Reads a stream of events; `onEvent` gets the data of each. Returns when it ends.
async function read(path, onEvent, signal) {
  const response = await send("GET", path, undefined, signal);
  if (!response.ok) {
    const said = await response.json().catch(() => null);
    throw new ApiError(said?.error ?? `The server answered with ${response.status}.`, response.status);
  }
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    buffer += value;
    const frames = buffer.split("\n\n");
    buffer = frames.pop();
    for (const frame of frames) {
      const data = frame.split("\n").find((line) => line.startsWith("data: "));
      if (data) onEvent(JSON.parse(data.slice(6)));
    }
  }
}

export const readChanges = (onEvent, signal) => read(`${base}/changes`, onEvent, signal);
export const readRun = (id, after, onEvent, signal) => read(`${run(id, "events")}?after=${after}`, onEvent, signal);
