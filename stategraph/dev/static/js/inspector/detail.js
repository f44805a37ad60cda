// A step in detail: what it is, the graph, and its panels.

import { html, nothing } from "../lib.js";
import { changed } from "../state.js";
import { actionsView } from "./actions.js";
import { graphView } from "./graph.js";
import { panelsOf } from "./panels.js";
import { stacked, toStep } from "./places.js";
import { dateOf, duration, several, titleOf, tokensOf } from "./words.js";

export function detailView(state, inspection, about) {
  const step = inspection.detail ?? (inspection.stale?.id === inspection.shown ? inspection.stale.detail : null);
  if (!step) return html`<p class="faint empty">${inspection.shown ? "Loading …" : "Nothing is stored of this thread yet."}</p>`;
  if (step.problem) return html`<p class="faint empty">${step.problem}</p>`;
  const context = { step, inspection, state, about };
  return html`<a class="back only-stacked" href=${toStep(inspection.threadId, null, inspection.namespace)}>All steps</a>
    <header class="step-head">
      <h2 id="step-title" tabindex="-1">${titleOf(step)}</h2>
      <p class="faint">${facts(step)}</p>
      ${actionsView(context)}
    </header>
    <details class="graph-box" ?open=${!stacked.matches}>
      <summary>Graph and path</summary>
      ${graphView(about, inspection.paths.get(inspection.shown), (node) => showNode(inspection, node))}
    </details>
    ${tabs(context)}`;
}

// Shows the newest step in which a node of the picture ran, up to the one that is shown.
function showNode(inspection, node) {
  const name = inspection.namespace ? node.split(":").at(-1) : node.split(":")[0];
  const from = inspection.steps.findIndex((step) => step.id === inspection.shown);
  const ran = (step) => step.ran.some((task) => task.name === name);
  const found = inspection.steps.slice(from + 1).find(ran) ?? inspection.steps.find(ran);
  if (found) location.hash = toStep(inspection.threadId, found.id, inspection.namespace);
}

function facts(step) {
  const next = step.next.length ? `next: ${several(step.next)}` : "nothing comes next";
  const told = [
    step.step === null || step.step === undefined ? "" : `Step ${step.step}`,
    dateOf(step),
    step.duration_s === null ? "" : `took ${duration(step.duration_s)}`,
    tokensOf(step),
    next,
  ];
  return told.filter(Boolean).join(" · ");
}

function tabs(context) {
  const { inspection } = context;
  const panels = panelsOf(context);
  const open = panels.find((panel) => panel.id === inspection.panel) ?? panels[0];
  return html`<div class="panel-tabs" role="tablist" aria-label="About this step" @keydown=${(event) => move(event, context, panels)}>
      ${panels.map((panel) => {
        const number = panel.count?.(context);
        return html`<button
          type="button"
          role="tab"
          id="tab-${panel.id}"
          aria-controls="panel"
          aria-selected=${String(panel === open)}
          tabindex=${panel === open ? "0" : "-1"}
          @click=${() => show(inspection, panel)}
        >
          ${panel.title}${number === undefined || number === null ? nothing : html`<span class="count">${number}</span>`}
        </button>`;
      })}
    </div>
    <section id="panel" class="panel" role="tabpanel" aria-labelledby="tab-${open.id}">${open.view(context)}</section>`;
}

function show(inspection, panel) {
  inspection.panel = panel.id;
  changed();
}

function move(event, { inspection }, panels) {
  const at = panels.findIndex((panel) => panel.id === inspection.panel);
  const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: panels.length - 1 }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  const panel = panels[(to + panels.length) % panels.length];
  show(inspection, panel);
  document.getElementById(`tab-${panel.id}`)?.focus();
}
