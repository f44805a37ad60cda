// The list of threads, with how much they hold.

import { count, size } from "../format.js";
import { icons } from "../icons.js";
import { html, live, nothing, repeat } from "../lib.js";
import { changed, fail } from "../state.js";
import { inspect } from "./api.js";
import { toStep } from "./places.js";

const STATUSES = { "": "Any status", idle: "Idle", running: "Running", interrupted: "Waiting", failed: "Failed", unfinished: "Cut off" };
const when = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

const list = { rows: [], next: null, text: "", status: "", loading: false, loads: 0, timer: null, seen: null };
const PAGE = 25; // rows of a page, as the server sends them

export async function loadThreads({ more = false } = {}) {
  const number = (list.loads += 1);
  list.loading = true;
  changed();
  try {
    const page = await inspect.threads(list.text, list.status, more ? list.next : null);
    if (number !== list.loads) return;
    list.rows = more ? [...list.rows, ...page.threads] : page.threads;
    list.next = page.next;
  } catch (error) {
    fail(error);
  }
  list.loading = false;
  changed();
}

function search(text) {
  list.text = text;
  clearTimeout(list.timer);
  list.timer = setTimeout(loadThreads, 200);
}

// Reads the list again when the server has said that something is other than it was.
function follow(threads) {
  const now = threads.map((thread) => `${thread.id} ${thread.status} ${thread.updated_at}`).join();
  if (list.seen !== null && list.seen !== now && !list.loading && list.rows.length <= PAGE) loadThreads();
  list.seen = now;
}

export function threadsView(state) {
  follow(state.threads);
  return html`<div class="inspector-list" tabindex="-1" id="inspector">
    <div class="filters">
      <label class="search"
        >${icons.search}<input
          type="search"
          placeholder="Title or id"
          aria-label="Search threads by title or id"
          autocomplete="off"
          .value=${live(list.text)}
          @input=${(event) => search(event.target.value)}
      /></label>
      <select
        aria-label="Status"
        .value=${live(list.status)}
        @change=${(event) => {
          list.status = event.target.value;
          loadThreads();
        }}
      >
        ${Object.entries(STATUSES).map(([value, name]) => html`<option value=${value}>${name}</option>`)}
      </select>
    </div>
    <div class="table-scroll" tabindex="0" role="region" aria-label="Threads">
      <table class="threads">
        <thead>
          <tr>
            <th scope="col">Thread</th>
            <th scope="col">Status</th>
            <th scope="col" class="number">Messages</th>
            <th scope="col" class="number">Tokens</th>
            <th scope="col" class="number">State</th>
            <th scope="col">Used</th>
          </tr>
        </thead>
        <tbody>
          ${repeat(list.rows, (thread) => thread.id, threadRow)}
        </tbody>
      </table>
    </div>
    ${list.rows.length === 0
      ? html`<p class="faint center">${list.loading ? "Loading …" : list.text || list.status ? "No thread is like this." : "Threads appear here once somebody has used the chat."}</p>`
      : nothing}
    ${list.next ? html`<button type="button" class="quiet wide" ?disabled=${list.loading} @click=${() => loadThreads({ more: true })}>Show more</button>` : nothing}
  </div>`;
}

function threadRow(thread) {
  return html`<tr>
    <th scope="row">
      <a href=${toStep(thread.id)}>${thread.title ?? "Untitled session"}</a>
      <code class="faint id" title=${thread.id}>${thread.id}</code>
    </th>
    <td data-label="Status"><span class="badge ${thread.status}">${STATUSES[thread.status] ?? thread.status}</span></td>
    <td data-label="Messages" class="number">${count(thread.messages)}</td>
    <td data-label="Tokens" class="number">${thread.tokens ? count(thread.tokens) : "–"}</td>
    <td data-label="State" class="number">${size(thread.size)}</td>
    <td data-label="Used"><time datetime=${thread.updated_at}>${when.format(new Date(thread.updated_at))}</time></td>
  </tr>`;
}
