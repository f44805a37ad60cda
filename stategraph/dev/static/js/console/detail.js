// One resource: whether it is ready and why, what is around it, its drawing, and its manifest.

import { html, nothing } from "../lib.js";
import { changed, fail, say } from "../state.js";
import { graphView } from "../inspector/graph.js";
import { resources } from "./api.js";
import { badge } from "./list.js";
import { toKey } from "./places.js";
import { runOf, runView } from "./run.js";

const when = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

let asked = null; // the resource whose deletion is to be confirmed

export function detailView(found, about) {
  const key = found.key;
  const run = runOf(key);
  return html`<header class="resource-head">
      <div class="row">
        <h2 id="resource-title" tabindex="-1">${found.metadata.name}</h2>
        ${badge(found.ready, found.reason)} <span class="faint">${found.kind}${found.metadata.namespace ? ` in ${found.metadata.namespace}` : ""}</span>
        <span class="grow"></span>
        ${about.writes ? deleteView(key) : nothing}
      </div>
      <p class="faint">${[found.file, `generation ${found.metadata.generation}`, `since ${when.format(new Date(found.metadata.creationTimestamp))}`].filter(Boolean).join(" · ")}</p>
    </header>
    ${found.why.length
      ? html`<section class="why" aria-label="Why it is not ready">
          <h3>Why it is not ready</h3>
          ${found.why.map((text) => html`<p>${text}</p>`)}
        </section>`
      : nothing}
    ${found.svg ? html`<section aria-label="Graph">${graphView(found, run ? run.path : EMPTY, () => {})}</section>` : nothing}
    ${found.runnable ? runView(key, run) : nothing} ${conditionsView(found.status?.conditions ?? [])}
    ${aroundView("Uses", found.uses)} ${aroundView("Used by", found.usedBy)} ${aroundView("Owns", found.owns)}
    ${statusView(found.status ?? {})}
    <section aria-label="Manifest">
      <h3>Manifest</h3>
      <pre class="value" tabindex="0">${found.yaml}</pre>
    </section>`;
}

const EMPTY = { visits: {}, current: [], upcoming: [], edges: [] };

function deleteView(key) {
  if (asked !== key)
    return html`<button
      type="button"
      class="small danger"
      @click=${() => {
        asked = key;
        changed();
      }}
    >
      Delete
    </button>`;
  return html`<span class="row" role="group" aria-label="Delete ${key}">
    <button type="button" class="small danger solid" @click=${() => remove(key)}>Delete it</button>
    <button
      type="button"
      class="small"
      @click=${() => {
        asked = null;
        changed();
      }}
    >
      Keep it
    </button>
  </span>`;
}

async function remove(key) {
  asked = null;
  try {
    await resources.remove(key);
    say(`${key} is being deleted`);
  } catch (error) {
    fail(error);
  }
  changed();
}

function conditionsView(conditions) {
  if (!conditions.length) return nothing;
  return html`<section aria-label="Conditions">
    <h3>Conditions</h3>
    <div class="table-scroll" tabindex="0" role="region" aria-label="Conditions in columns">
      <table>
        <thead>
          <tr>
            <th scope="col">Type</th>
            <th scope="col">Status</th>
            <th scope="col">Reason</th>
            <th scope="col">Message</th>
          </tr>
        </thead>
        <tbody>
          ${conditions.map(
            (each) => html`<tr>
              <th scope="row">${each.type}</th>
              <td><span class="state-text ${each.type === "Progressing" || each.type === "Degraded" ? "" : each.status}">${each.status}</span></td>
              <td>${each.reason}</td>
              <td class="message">${each.message}</td>
            </tr>`,
          )}
        </tbody>
      </table>
    </div>
  </section>`;
}

function aroundView(title, others) {
  if (!others.length) return nothing;
  return html`<section aria-label=${title}>
    <h3>${title}</h3>
    <ul class="around">
      ${others.map(
        (each) =>
          html`<li>${each.reason === "NotFound" ? html`<span>${each.key}</span>` : html`<a href=${toKey(each.key)}>${each.key}</a>`} ${badge(each.ready, each.reason)}</li>`,
      )}
    </ul>
  </section>`;
}

function statusView(status) {
  const { conditions, mermaid, ...rest } = status;
  if (!Object.keys(rest).length) return nothing;
  return html`<section aria-label="Status">
    <h3>Status</h3>
    <pre class="value" tabindex="0">${JSON.stringify(rest, null, 2)}</pre>
  </section>`;
}
