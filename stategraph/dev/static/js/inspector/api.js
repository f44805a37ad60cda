// Calls of the inspector's API.

import { call } from "../api.js";

const base = "/api/inspector";
const thread = (id) => `${base}/threads/${encodeURIComponent(id)}`;

function query(given) {
  const kept = Object.entries(given).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return kept.length ? `?${new URLSearchParams(kept)}` : "";
}

const step = (id, stepId, namespace, rest = "") => `${thread(id)}/steps/${encodeURIComponent(stepId)}${rest}${query({ namespace })}`;

function withValues(body, values) {
  if (!values) return body;
  const written = [...values].map(([name, text]) => `${JSON.stringify(name)}:${text}`).join(",");
  return `${JSON.stringify(body).slice(0, -1)},"values":{${written}}}`;
}

export const inspect = {
  about: () => call("GET", base),
  threads: (q, status, after) => call("GET", `${base}/threads${query({ q, status, after })}`),
  steps: (id, namespace, before) => call("GET", `${thread(id)}/steps${query({ namespace, before })}`),
  step: (id, stepId, namespace) => call("GET", step(id, stepId, namespace)),
  path: (id, stepId, namespace) => call("GET", step(id, stepId, namespace, "/path")),
  explanation: (id, stepId, namespace) => call("GET", step(id, stepId, namespace, "/explanation")),
  value: (id, stepId, namespace, name) => call("GET", step(id, stepId, namespace, `/values/${encodeURIComponent(name)}`)),
  messages: (id, stepId, namespace, name, end) =>
    call("GET", `${thread(id)}/steps/${encodeURIComponent(stepId)}/messages/${encodeURIComponent(name)}${query({ namespace, end })}`),
  compare: (a, aStep, b, bStep) => call("GET", `${base}/compare${query({ a, a_step: aStep, b, b_step: bStep })}`),
  // `values` are texts of JSON by their names.
  branch: (id, { values, ...body }) => call("POST", `${thread(id)}/branches`, withValues(body, values)),
  copy: (id, stepId, title) => call("POST", `${thread(id)}/copies`, { step: stepId, title }),
};

// Reads the events of a run as they come; `onEvent` gets their names, data and numbers. Returns when they end.
export async function readEvents(runId, onEvent, signal) {
  const response = await fetch(`/api/runs/${encodeURIComponent(runId)}/events`, { signal });
  if (!response.ok) return response.status;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return 200;
    buffer += value;
    const frames = buffer.split("\n\n");
    buffer = frames.pop();
    for (const frame of frames) {
      const fields = Object.fromEntries(frame.split("\n").map((line) => line.split(/: (.*)/s)));
      if (!fields.data) continue;
      const told = JSON.parse(fields.data);
      onEvent(told.event, told.data, Number(fields.id ?? 0));
    }
  }
}
