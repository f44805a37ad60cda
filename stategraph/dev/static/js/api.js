// Calls of the server. A call that fails raises an ApiError whose message can be shown.

export class ApiError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

export async function call(method, path, body) {
  const options = { method, headers: {} };
  if (method !== "GET" && method !== "DELETE") {
    options.headers["Content-Type"] = "application/json";
    options.body = typeof body === "string" ? body : JSON.stringify(body ?? {});
  }
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new ApiError("The server cannot be reached. Is it still running?", 0);
  }
  if (response.status === 204) return null;
  const said = await response.json().catch(() => null);
  if (!response.ok) throw new ApiError(said?.error ?? `The server answered with ${response.status}.`, response.status);
  return said;
}

const thread = (id) => `/api/threads/${encodeURIComponent(id)}`;

export const api = {
  info: () => call("GET", "/api/info"),
  threads: (query, after) => call("GET", `/api/threads?${new URLSearchParams({ q: query ?? "", after: after ?? "" })}`),
  makeThread: () => call("POST", "/api/threads"),
  thread: (id) => call("GET", thread(id)),
  rename: (id, title) => call("PATCH", thread(id), { title }),
  remove: (id) => call("DELETE", thread(id)),
  send: (id, turn) => call("POST", `${thread(id)}/turns`, turn),
  answer: (id, answers) => call("POST", `${thread(id)}/answers`, { answers }),
  goOn: (id) => call("POST", `${thread(id)}/continue`),
  stop: (runId) => call("POST", `/api/runs/${encodeURIComponent(runId)}/stop`),
  exportPath: (id) => `${thread(id)}/export`,
  filePath: (id, path) => `${thread(id)}/files/${path.split("/").map(encodeURIComponent).join("/")}`,
  eventsPath: (id, run, seq) =>
    id === null
      ? "/api/events"
      : `${thread(id)}/events${run ? `?${new URLSearchParams({ run, after_seq: String(seq) })}` : ""}`,
};
