// The tab in which threads are inspected: the list of threads, the steps of one, two branches compared.

import { html, nothing } from "../lib.js";
import { changed, fail } from "../state.js";
import { register } from "../tabs.js";
import { inspect } from "./api.js";
import { branchesLink, comparisonView, loadComparison } from "./compare.js";
import { detailView } from "./detail.js";
import { Inspection } from "./inspection.js";
import "./own_panels.js";
import "./events.js";
import { read, stacked, toStep } from "./places.js";
import { stepsView } from "./steps.js";
import { loadThreads, threadsView } from "./threads.js";

let about = null; // what the server says: whether it takes changes, and the graph
let asked = false;
let current = null; // the thread that is inspected
let place = { thread: null, step: null, namespace: "", compare: null };

register({ id: "inspector", title: "Inspector", view, open, main: "inspector", heading: () => (place.thread ? null : "Threads") });

function open() {
  place = read();
  if (!asked) learn();
  if (!place.thread) {
    current?.close();
    current = null;
    loadThreads();
    return;
  }
  const namespace = place.compare ? "" : place.namespace;
  if (current?.threadId !== place.thread || current.namespace !== namespace) {
    const { panel } = current ?? {};
    current?.close();
    current = new Inspection(place.thread, namespace);
    if (panel) current.panel = panel;
    current.load();
  }
  if (place.compare) loadComparison(place.thread, place.compare);
  else current.choose(place.step);
  requestAnimationFrame(() => requestAnimationFrame(settle));
}

// What was chosen is in sight, and has the focus where what had it is gone.
function settle() {
  const row = document.querySelector(".step-row.current");
  row?.scrollIntoView({ block: "nearest" });
  if (document.activeElement !== document.body) return;
  if (!stacked.matches) row?.focus({ preventScroll: true });
  else if (place.step) document.getElementById("step-title")?.focus();
  else row?.focus();
}

async function learn() {
  asked = true;
  try {
    about = await inspect.about();
  } catch (error) {
    asked = false;
    fail(error);
  }
  changed();
}

function view(state) {
  if (!place.thread || !current) return threadsView(state);
  current.watch(state.session);
  if (current.missing) return html`<div class="empty"><h2>There is nothing to see</h2><p class="faint">${current.missing}</p></div>`;
  if (place.compare) return comparisonView(current, place);
  return html`<div class="inspector ${place.step ? "has-step" : ""}">
    <section class="steps-side" aria-label="Steps">
      <div class="steps-head">
        ${current.namespace ? crumbs() : nothing} ${branchesLink(current)}
      </div>
      <div class="steps-scroll" id="inspector" tabindex="-1">
        ${current.loading && !current.steps.length ? html`<p class="faint center">Loading …</p>` : stepsView(current)}
      </div>
    </section>
    <section class="step-side" aria-label="Step">${detailView(state, current, about)}</section>
  </div>`;
}

// The graphs around a nested one.
function crumbs() {
  const parts = current.namespace.split("|");
  return html`<nav class="crumbs" aria-label="Graphs">
    <a href=${toStep(current.threadId)}>Graph</a>
    ${parts.map((part, at) => {
      const name = part.split(":")[0];
      const isLast = at === parts.length - 1;
      return html`<span aria-hidden="true">›</span>${isLast ? html`<span aria-current="page">${name}</span>` : html`<a href=${toStep(current.threadId, null, parts.slice(0, at + 1).join("|"))}>${name}</a>`}`;
    })}
  </nav>`;
}
