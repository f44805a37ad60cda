// Two branches beside each other: the steps of both, and what is not the same in their states.

import { html, nothing } from "../lib.js";
import { changed } from "../state.js";
import { inspect } from "./api.js";
import { endsOf } from "./lanes.js";
import { toCompare, toStep } from "./places.js";
import { differencesView } from "./shown.js";
import { plural, timeOf, titleOf } from "./words.js";

const FOLDED = 3; // steps in a row that only one side has, above which they are folded

const shown = { key: "", found: null, problem: null };

export function loadComparison(thread, { a, thread: other, b }) {
  const key = [thread, a, other, b].join("\n");
  if (shown.key === key) return;
  Object.assign(shown, { key, found: null, problem: null });
  inspect.compare(thread, a, other, b).then(
    (found) => shown.key === key && Object.assign(shown, { found }),
    (error) => shown.key === key && Object.assign(shown, { problem: error.message }),
  ).finally(changed);
}

// A link to a comparison of the two newest branches; nothing if there is only one.
export function branchesLink(inspection) {
  const ends = endsOf(inspection.steps);
  if (ends.length < 2 || inspection.namespace) return nothing;
  return html`<a class="button small" href=${toCompare(inspection.threadId, ends[1].id, inspection.threadId, ends[0].id)}>Compare branches (${ends.length})</a>`;
}

export function comparisonView(inspection, place) {
  const { found, problem } = shown;
  const other = place.compare.thread;
  return html`<div class="comparison" id="inspector" tabindex="-1">
    <a class="back" href=${toStep(inspection.threadId)}>All steps</a>
    <h2>Two branches compared</h2>
    ${choices(inspection, place)}
    ${problem ? html`<p class="note failed" role="alert">${problem}</p>` : nothing}
    ${!found && !problem ? html`<p class="faint">Loading …</p>` : nothing}
    ${found ? pairsView(found, inspection.threadId, other) : nothing}
  </div>`;
}

// Which branches are compared, of those of the thread.
function choices(inspection, { compare }) {
  const ends = endsOf(inspection.steps);
  if (compare.thread !== inspection.threadId || ends.length < 2) return nothing;
  const choose = (side, label) =>
    html`<label class="stack"
      >${label}
      <select
        @change=${(event) => {
          const next = { ...compare, [side]: event.target.value };
          location.hash = toCompare(inspection.threadId, next.a, next.thread, next.b);
        }}
      >
        ${[...new Map([...ends, ...inspection.steps.filter((step) => step.id === compare[side])].map((step) => [step.id, step])).values()].map(
          (step) => html`<option value=${step.id} ?selected=${step.id === compare[side]}>${titleOf(step)}, step ${step.step}, ${timeOf(step)}</option>`,
        )}
      </select></label
    >`;
  return html`<div class="choices">${choose("a", "The first branch ends with")}${choose("b", "The second ends with")}</div>`;
}

function pairsView(found, thread, other) {
  return html`<p class="faint">
      ${found.shared
        ? html`Both have the steps up to <a href=${toStep(thread, found.shared.id)}>${titleOf(found.shared)}, step ${found.shared.step}</a>.`
        : "They have no step in common: each is shown from the input of its last turn on."}
      ${found.cut ? "Only the newest steps are compared." : nothing}
    </p>
    ${(found.words ?? []).map((sentence) => html`<p>${sentence}</p>`)}
    ${found.pairs.length === 0 ? html`<p>They are the same.</p>` : nothing}
    <ol class="pairs">
      ${grouped(found.pairs).map((group) => (group.length > FOLDED ? foldedView(group, thread, other) : group.map((pair) => pairView(pair, found, thread, other))))}
    </ol>`;
}

// Pairs by themselves; steps in a row that only one side has are together.
function grouped(pairs) {
  const groups = [];
  for (const pair of pairs) {
    const last = groups.at(-1);
    const isAlone = !pair.a || !pair.b;
    if (isAlone && last && (last[0].a ? !pair.b : !pair.a) && (!last[0].a || !last[0].b)) last.push(pair);
    else groups.push([pair]);
  }
  return groups;
}

function foldedView(group, thread, other) {
  const isOne = group[0].b === null;
  return html`<li>
    <details>
      <summary>${plural(group.length, "step")} that only the ${isOne ? "first" : "second"} branch has</summary>
      <ol class="pairs">${group.map((pair) => html`<li class="alone">${isOne ? side(pair.a, thread, "First") : side(pair.b, other, "Second")}</li>`)}</ol>
    </details>
  </li>`;
}

function pairView(pair, found, thread, other) {
  const compared = found.pairs.filter((each) => each.differences !== null);
  return html`<li>
    <div class="pair">${side(pair.a, thread, "First")}${side(pair.b, other, "Second")}</div>
    ${pair.differences === null
      ? nothing
      : pair.count === 0
        ? html`<p class="faint same">The states are the same.</p>`
        : html`<details ?open=${compared.length < 4 || pair === compared.at(-1)}>
            <summary>${plural(pair.count, "difference")} of the states</summary>
            ${differencesView(pair.differences)}
          </details>`}
  </li>`;
}

function side(step, thread, label) {
  if (!step) return html`<span class="pair-side faint"><span class="unseen">${label}: </span>no step</span>`;
  return html`<a class="pair-side" href=${toStep(thread, step.id)}><span class="unseen">${label}: </span><strong>${titleOf(step)}</strong><span class="faint">step ${step.step} · ${timeOf(step)}</span></a>`;
}
