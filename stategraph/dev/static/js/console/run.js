// A run of a resource: its input, what it tells as it goes on, its questions and its result.

import { html, nothing } from "../lib.js";
import { changed, fail, say } from "../state.js";
import { readRun, resources } from "./api.js";

const STATUS = { running: "Running", waits: "Waits for an answer", done: "Done", failed: "Failed", stopped: "Stopped" };

const runs = new Map(); // the newest run of each resource, by its key
const inputs = new Map(); // what is typed

export const runOf = (key) => runs.get(key) ?? null;

const asJson = (text) => {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
};

// Words are a message for a graph with messages; everything else is JSON.
function inputOf(text) {
  const value = asJson(text);
  return value === undefined ? { messages: [{ role: "user", content: text }] } : value;
}

async function begin(key) {
  const text = inputs.get(key)?.trim() ?? "";
  if (!text) return;
  const run = { id: null, status: "running", path: { visits: {}, current: [], upcoming: [], edges: [] }, text: "", result: null, number: 0, answer: "" };
  runs.set(key, run);
  changed();
  try {
    run.id = (await resources.begin(key, inputOf(text))).run;
    await follow(run);
  } catch (error) {
    run.status = "failed";
    run.result = { error: error.message };
    changed();
  }
}

async function follow(run) {
  await readRun(run.id, run.number, (event) => {
    run.number = event.number;
    if (event.event === "text") run.text += event.text;
    if (event.path) run.path = event.path;
    if (event.event === "end") {
      run.status = event.status;
      run.result = event.result;
      say(STATUS[run.status] ?? run.status);
    }
    changed();
  });
}

async function answer(run) {
  const given = asJson(run.answer);
  run.status = "running";
  changed();
  try {
    await resources.answer(run.id, given === undefined ? run.answer : given);
    run.answer = "";
    await follow(run);
  } catch (error) {
    fail(error);
  }
}

export function runView(key, run) {
  const running = run?.status === "running";
  return html`<section class="run" aria-label="Run">
    <h3>Run</h3>
    <form
      class="stack"
      @submit=${(event) => {
        event.preventDefault();
        begin(key);
      }}
    >
      <label class="unseen" for="run-input">Input: JSON, or a message</label>
      <textarea
        id="run-input"
        rows="3"
        placeholder='{"field": "value"}, or a message'
        .value=${inputs.get(key) ?? ""}
        @input=${(event) => inputs.set(key, event.target.value)}
      ></textarea>
      <div class="row">
        <button type="submit" class="solid" ?disabled=${running}>Run</button>
        ${running && run.id ? html`<button type="button" @click=${() => resources.stop(run.id).catch(fail)}>Stop</button>` : nothing}
        ${run ? html`<span class="badge run-status ${run.status}" role="status">${STATUS[run.status] ?? run.status}</span>` : nothing}
      </div>
    </form>
    ${run?.text ? html`<p class="said" aria-label="Text">${run.text}</p>` : nothing} ${run?.result ? resultView(run) : nothing}
  </section>`;
}

function resultView(run) {
  if (run.result.error) return html`<p class="why" role="alert">${run.result.error}</p>`;
  return html`${run.status === "waits" ? questionsView(run) : nothing}
    <h4>State</h4>
    <pre class="value" tabindex="0" aria-label="Result">${JSON.stringify(run.result.values, null, 2)}</pre>`;
}

function questionsView(run) {
  return html`<form
    class="stack question"
    @submit=${(event) => {
      event.preventDefault();
      answer(run);
    }}
  >
    ${run.result.questions.map((each) => html`<pre class="value">${JSON.stringify(each.value, null, 2)}</pre>`)}
    <label for="run-answer">Answer: JSON or a text</label>
    <div class="row">
      <input
        id="run-answer"
        class="grow"
        autocomplete="off"
        .value=${run.answer}
        @input=${(event) => {
          run.answer = event.target.value;
        }}
      />
      <button type="submit" class="solid">Answer</button>
    </div>
  </form>`;
}
