// Manifests written into the page and applied.

import { html, nothing } from "../lib.js";
import { changed, say } from "../state.js";
import { resources } from "./api.js";

const form = { open: false, text: "", told: [], problem: null, busy: false };

async function apply() {
  form.busy = true;
  form.problem = null;
  form.told = [];
  changed();
  try {
    form.told = (await resources.apply(form.text)).applied;
    say(`${form.told.length} applied`);
  } catch (error) {
    form.problem = error.message;
  }
  form.busy = false;
  changed();
}

export function applyView() {
  if (!form.open)
    return html`<button
      type="button"
      class="wide"
      @click=${() => {
        form.open = true;
        changed();
        requestAnimationFrame(() => document.getElementById("manifest")?.focus());
      }}
    >
      Apply a manifest
    </button>`;
  return html`<form
    class="stack"
    aria-label="Apply a manifest"
    @submit=${(event) => {
      event.preventDefault();
      apply();
    }}
  >
    <label for="manifest">Manifest (YAML)</label>
    <textarea
      id="manifest"
      class="mono"
      rows="8"
      spellcheck="false"
      .value=${form.text}
      @input=${(event) => {
        form.text = event.target.value;
      }}
    ></textarea>
    <div class="row">
      <button type="submit" class="solid" ?disabled=${form.busy}>Apply</button>
      <button
        type="button"
        @click=${() => {
          form.open = false;
          changed();
        }}
      >
        Close
      </button>
    </div>
    ${form.problem ? html`<p class="why" role="alert">${form.problem}</p>` : nothing}
    ${form.told.map((each) => html`<p>${each.key} ${each.action}${each.problems.map((text) => html`<span class="why">${text}</span>`)}</p>`)}
  </form>`;
}
