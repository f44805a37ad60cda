// The resources in rows, by their kinds.

import { icons } from "../icons.js";
import { html, live, nothing, repeat } from "../lib.js";
import { changed } from "../state.js";
import { toKey } from "./places.js";

const WORDS = { True: "ready", False: "not ready", Unknown: "unknown" };

export const badge = (ready, reason) =>
  html`<span class="badge state ${ready}" title=${reason}>${WORDS[ready] ?? ready}</span>`;

const filter = { text: "" };

export function listView(rows, key) {
  const wanted = filter.text.trim().toLowerCase();
  const found = rows.filter((row) => !wanted || `${row.key} ${row.reason}`.toLowerCase().includes(wanted));
  const kinds = [...new Set(found.map((row) => row.kind))].sort();
  return html`<div class="filters">
      <label class="search"
        >${icons.search}<input
          type="search"
          placeholder="Kind, name or reason"
          aria-label="Search resources"
          autocomplete="off"
          .value=${live(filter.text)}
          @input=${(event) => {
            filter.text = event.target.value;
            changed();
          }}
      /></label>
    </div>
    <nav class="resource-list" aria-label="Resources">
      ${kinds.map(
        (kind) => html`<h2>${kind}</h2>
          <ul>
            ${repeat(
              found.filter((row) => row.kind === kind),
              (row) => row.key,
              (row) => rowView(row, row.key === key),
            )}
          </ul>`,
      )}
      ${found.length
        ? nothing
        : html`<p class="faint center">${wanted ? "No resource is like this." : "Nothing is applied yet: stategraph apply -f FOLDER"}</p>`}
    </nav>`;
}

function rowView(row, isCurrent) {
  return html`<li>
    <a class="resource-row ${isCurrent ? "current" : ""}" href=${toKey(row.key)} aria-current=${isCurrent ? "page" : "false"}>
      <span class="dot ${row.ready}" aria-hidden="true"></span>
      <span class="resource-name"><span>${row.name}</span><span class="faint">${row.namespace || "every namespace"}</span></span>
      <span class="faint reason">${row.ready === "True" ? "" : row.reason}</span>
      <span class="unseen">${WORDS[row.ready] ?? row.ready}</span>
    </a>
  </li>`;
}
