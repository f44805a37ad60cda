// The inspector's own panels of a step.

import { count, size } from "../format.js";
import { html, nothing } from "../lib.js";
import { register } from "./panels.js";
import { toStep } from "./places.js";
import { editView } from "./edit.js";
import { differencesView, messageView, valueView } from "./shown.js";
import { dateOf, duration, nodeName, plural } from "./words.js";

register({
  id: "changes",
  title: "Changes",
  count: ({ step }) => `${step.differences.found.length}${step.differences.more ? "+" : ""}`,
  view: ({ step }) => html`<h3 class="unseen">What this step changed</h3>${differencesView(step.differences)}`,
});

register({ id: "state", title: "State", count: ({ step }) => step.values.length, view: stateView });
register({ id: "tasks", title: "Tasks", count: ({ step }) => step.tasks.length + step.upcoming.length, view: tasksView });
register({ id: "why", title: "Why", view: whyView });
register({ id: "details", title: "Details", view: detailsView });

function stateView(context) {
  const { step, inspection } = context;
  if (inspection.edits?.step === step.id) return editView(context);
  if (!step.values.length) return html`<p class="faint">The state is empty.</p>`;
  return step.values.map(
    (value) => html`<section class="state-value" aria-label=${value.name}>
      <h3>
        <code>${value.name}</code>
        <span class="faint">${value.type === "messages" ? plural(value.count, "message") : value.type}</span>
        ${value.changed ? html`<span class="badge changed">changed</span>` : nothing}
      </h3>
      ${value.type === "messages" ? conversation(value, inspection) : one(value, inspection)}
    </section>`,
  );
}

function one(value, inspection) {
  const full = inspection.full.get(`${inspection.shown}/${value.name}`);
  if (typeof full === "string") return valueView({ ...value, text: full, length: full.length });
  return valueView(value, () => inspection.showAll(value.name));
}

function conversation(value, inspection) {
  const more = inspection.full.get(`${inspection.shown}/${value.name}`);
  const messages = more ? more.messages : value.messages;
  const begins = more ? more.begins : value.count - value.messages.length;
  return html`${begins > 0
      ? html`<button type="button" class="small" @click=${() => inspection.earlier(value.name, more ? begins : value.count)}>
          Show earlier messages (${count(begins)} more)
        </button>`
      : nothing}
    ${messages.map((message) => messageView(message))}`;
}

function tasksView({ step, inspection }) {
  return html`<h3>Ran in this step</h3>
    ${step.tasks.length ? step.tasks.map((task) => taskView(task, step, inspection, false)) : html`<p class="faint">No node ran: ${step.source === "input" ? "the input was taken" : "the state was changed from outside"}.</p>`}
    <h3>Comes next</h3>
    ${step.upcoming.length ? step.upcoming.map((task) => taskView(task, step, inspection, true)) : html`<p class="faint">Nothing: the turn is over.</p>`}`;
}

function taskView(task, step, inspection, isNext) {
  return html`<section class="task" aria-label=${nodeName(task.name)}>
    <h4>
      <code>${nodeName(task.name)}</code>
      ${task.error ? html`<span class="badge failed">failed</span>` : nothing}
      ${task.nested ? html`<a href=${toStep(inspection.threadId, null, task.nested)}>Steps inside</a>` : nothing}
    </h4>
    ${task.error ? html`<pre class="value failed" tabindex="0">${task.error}</pre>` : nothing}
    ${task.interrupts.map(
      (each) => html`<p>
          ${isNext && step.waiting?.includes(each.id)
            ? html`<span class="badge waits">waits</span> Answer it in the <a href="#/chat/${encodeURIComponent(inspection.threadId)}">chat</a>:`
            : "Asked:"}
        </p>
        ${valueView(each.value)}`,
    )}
    ${task.result ? html`<p class="faint">${isNext ? "Wrote, in a step that came after this one:" : "Wrote:"}</p>${valueView(task.result)}` : nothing}
  </section>`;
}

// Whether each node of the turn ran, waits or did not run up to this step, and why; in the server's words.
function whyView({ inspection }) {
  const account = inspection.account();
  if (!account) return html`<p class="faint">Loading …</p>`;
  if (account.problem) return html`<p class="note failed" role="alert">${account.problem}</p>`;
  const list = (title, sentences) =>
    sentences.length ? html`<h3>${title}</h3><ul class="why">${sentences.map((sentence) => html`<li>${sentence}</li>`)}</ul>` : nothing;
  return html`${list("This step", account.made)} ${list("Who wrote what", account.changes)}
    ${list("Behind it", account.upcoming)}
    <h3>Nodes</h3>
    <ul class="why">
      ${account.nodes.map(
        (each) => html`<li>${each.status === "waits" ? html`<span class="badge waits">waits</span>` : nothing} ${each.text}</li>`,
      )}
    </ul>
    ${list("Not known", account.unknown)}`;
}

function detailsView({ step, inspection }) {
  const facts = [
    ["Checkpoint", html`<code>${step.id}</code>`],
    ["Parent step", step.parent ? html`<a href=${toStep(inspection.threadId, step.parent, inspection.namespace)}><code>${step.parent}</code></a>` : "nothing: it is the first"],
    ["Thread", html`<code>${inspection.threadId}</code>`],
    step.namespace ? ["Namespace", html`<code>${step.namespace}</code>`] : null,
    ["Run", step.run ? html`<code>${step.run}</code>` : "not known"],
    ["Source", step.source],
    ["Stored", dateOf(step)],
    ["Took", duration(step.duration_s) || "–"],
    ["Tokens", step.tokens ? `${count(step.tokens.input)} in, ${count(step.tokens.output)} out` : "–"],
    ["State", `${size(step.size)} as JSON`],
  ].filter(Boolean);
  return html`<dl class="facts">${facts.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
    <h3>Metadata</h3>
    ${valueView(step.metadata)}`;
}
