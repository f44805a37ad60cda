// What may be done with a step: compared, and, where the server allows changes, run again, edited, copied.

import { html, nothing } from "../lib.js";
import { changed, fail, say } from "../state.js";
import { inspect } from "./api.js";
import { begin } from "./edit.js";
import { stacked, toCompare, toStep } from "./places.js";
import { titleOf } from "./words.js";

let marked = null; // a step that another one is to be compared with

export function actionsView(context) {
  const { step, inspection, about } = context;
  if (inspection.namespace) return html`<p class="faint">A step of a nested graph is changed at the step around it.</p>`;
  const isMarked = marked?.step === step.id;
  return html`<div class="row actions">
      ${about?.edits ? changes(context) : nothing}
      ${marked && !isMarked
        ? html`<a class="button small" href=${toCompare(marked.thread, marked.step, inspection.threadId, step.id)}>Compare with “${marked.title}”</a>`
        : nothing}
      <button
        type="button"
        class="small"
        aria-pressed=${String(isMarked)}
        title="Then choose another step, of this thread or of another one"
        @click=${() => {
          marked = isMarked ? null : { thread: inspection.threadId, step: step.id, title: `${titleOf(step)}, step ${step.step}` };
          if (marked) say("The step is marked. Choose another step to compare it with.");
          changed();
        }}
      >
        ${isMarked ? "Marked for comparison" : "Mark for comparison"}
      </button>
    </div>
    ${about && !about.edits ? html`<p class="faint read-only">${about.read_only}</p>` : nothing}`;
}

function changes({ step, inspection, state }) {
  const busy = inspection.busy || state.session?.running;
  return html`<button
      type="button"
      class="small solid"
      ?disabled=${busy || !step.next.length}
      title=${step.next.length ? "Begins a branch at this step, and runs what comes next" : "Nothing comes after this step"}
      @click=${() => rerun(inspection, step, state)}
    >
      Rerun from here
    </button>
    <button type="button" class="small" ?disabled=${busy} @click=${() => begin(inspection, step)}>Edit state</button>
    <button type="button" class="small" ?disabled=${inspection.busy} @click=${() => copy(inspection, step, state)}>Copy to a new session</button>`;
}

async function rerun(inspection, step, state) {
  await branched(inspection, state, { step: step.id, run: true }, "The steps run again, on a branch of their own.");
}

// Begins a branch, and shows it. Returns the error of one that was refused.
export async function branched(inspection, state, body, words) {
  inspection.busy = true;
  changed();
  try {
    const made = await inspect.branch(inspection.threadId, body);
    inspection.edits = null;
    say(words);
    if (made.run) {
      inspection.panel = "events";
      inspection.following = { run: made.run.id, step: made.step.id };
    }
    await Promise.all([inspection.load(), state.session?.reload()]);
    // Where there is room, the newest step is shown as they come.
    location.hash = toStep(inspection.threadId, made.run && !stacked.matches ? null : made.step.id);
    state.refresh?.();
    return null;
  } catch (error) {
    if (!body.values) fail(error);
    return error;
  } finally {
    inspection.busy = false;
    changed();
  }
}

async function copy(inspection, step, state) {
  inspection.busy = true;
  changed();
  try {
    const thread = await inspect.copy(inspection.threadId, step.id, `${inspection.thread?.title ?? "Session"} (copy)`);
    say("The session was copied.");
    state.refresh?.();
    location.hash = toStep(thread.id);
  } catch (error) {
    fail(error);
  }
  inspection.busy = false;
  changed();
}
