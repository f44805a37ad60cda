// Values of a state, edited as JSON: each in a field of its own, checked here as JSON and by the server as the graph's.

import { html, live, nothing } from "../lib.js";
import { changed, fail } from "../state.js";
import { inspect } from "./api.js";
import { branched } from "./actions.js";
import { nodeName } from "./words.js";

export function begin(inspection, step) {
  inspection.edits = { step: step.id, texts: new Map(), problems: new Map(), node: null, error: null };
  inspection.panel = "state";
  changed();
  requestAnimationFrame(() => document.getElementById("edit-add")?.focus());
}

async function add(inspection, name) {
  const { edits } = inspection;
  try {
    const value = await inspect.value(inspection.threadId, edits.step, inspection.namespace, name);
    if (value.problem) edits.error = value.problem;
    else {
      edits.error = null;
      edits.texts.set(name, { before: value.text, text: value.text });
    }
  } catch (error) {
    fail(error);
  }
  changed();
  requestAnimationFrame(() => {
    const field = document.getElementById(`edit-${name}`);
    field?.focus();
    field?.setSelectionRange(0, 0);
    if (field) field.scrollTop = 0;
  });
}

// The texts of the values that were changed; null if one of them is no JSON. They are sent as they were written, as a
// browser rounds long numbers.
function changes(edits) {
  const values = new Map();
  edits.problems.clear();
  for (const [name, { text, before }] of edits.texts) {
    try {
      JSON.parse(text);
      if (text.trim() !== before) values.set(name, text);
    } catch (error) {
      edits.problems.set(name, `This is not valid JSON: ${error.message}`);
    }
  }
  return edits.problems.size ? null : values;
}

async function save(inspection, state, run) {
  const { edits } = inspection;
  const values = changes(edits);
  if (values === null) {
    edits.error = null;
    changed();
    document.getElementById(`edit-${[...edits.problems.keys()][0]}`)?.focus();
    return;
  }
  if (!values.size) {
    edits.error = "No value is other than it was: change one, or choose “Rerun from here”.";
    changed();
    return;
  }
  const error = await branched(inspection, state, { step: edits.step, values, as_node: edits.node, run }, "The state was changed, on a branch of its own.");
  if (error) {
    edits.error = error.message;
    changed();
  }
}

export function editView({ step, inspection, state }) {
  const { edits } = inspection;
  const free = step.values.filter((value) => !edits.texts.has(value.name));
  return html`<form class="edit" aria-label="Edit state" @submit=${(event) => event.preventDefault()}>
    <p class="faint">What you change is stored as a branch; the steps that there are stay as they are. Values are set, not merged.</p>
    ${[...edits.texts].map(([name, edit]) => fieldOf(edits, name, edit))}
    ${free.length
      ? html`<label class="stack"
          >Value to edit
          <select
            id="edit-add"
            .value=${live("")}
            @change=${(event) => {
              if (event.target.value) add(inspection, event.target.value);
            }}
          >
            <option value="">Choose …</option>
            ${free.map((value) => html`<option value=${value.name}>${value.name}</option>`)}
          </select></label
        >`
      : nothing}
    <label class="stack"
      >Counts as the state after
      <select
        .value=${live(edits.node ?? step.nodes[0] ?? "")}
        @change=${(event) => {
          edits.node = event.target.value;
          changed();
        }}
      >
        ${step.nodes.map((node) => html`<option value=${node}>${nodeName(node)}</option>`)}
      </select>
      <span class="faint">The edges of this node decide what comes next.</span></label
    >
    ${edits.error ? html`<p class="note failed" role="alert">${edits.error}</p>` : nothing}
    <div class="row">
      <button type="button" class="solid" ?disabled=${inspection.busy} @click=${() => save(inspection, state, true)}>Save and run</button>
      <button type="button" ?disabled=${inspection.busy} @click=${() => save(inspection, state, false)}>Save as a branch</button>
      <button
        type="button"
        class="quiet"
        @click=${() => {
          inspection.edits = null;
          changed();
        }}
      >
        Cancel
      </button>
    </div>
  </form>`;
}

function fieldOf(edits, name, edit) {
  const problem = edits.problems.get(name);
  return html`<label class="stack" for="edit-${name}"><code>${name}</code></label>
    <textarea
      id="edit-${name}"
      class="mono"
      rows=${Math.min(18, Math.max(3, edit.text.split("\n").length))}
      spellcheck="false"
      aria-invalid=${String(Boolean(problem))}
      aria-describedby="problem-${name}"
      .value=${live(edit.text)}
      @input=${(event) => {
        edit.text = event.target.value;
        edits.problems.delete(name);
        changed();
      }}
    ></textarea>
    <p id="problem-${name}" class="note failed" ?hidden=${!problem} role="alert">${problem ?? ""}</p>`;
}
