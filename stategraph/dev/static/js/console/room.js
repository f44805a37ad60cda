// The tab of resources: listed with their state, and one in detail; both follow the changes of the store.

import { html, nothing } from "../lib.js";
import { changed, fail, state } from "../state.js";
import { register } from "../tabs.js";
import { readChanges, resources, takeToken } from "./api.js";
import { applyView } from "./apply.js";
import { detailView } from "./detail.js";
import { listView } from "./list.js";
import { read, toKey } from "./places.js";

let about = null; // what the server says: whether it takes changes
let rows = new Map(); // by their keys
let found = null; // the resource that is shown
let missing = null; // why there is none
let refused = null; // why nothing is shown at all
let following = false;
let loads = 0;

takeToken();

register({
  id: "resources",
  title: "Resources",
  view,
  open,
  main: "resources",
  heading: () => "Resources",
  isShown: () => Boolean(state.info?.resources),
});

function open() {
  takeToken();
  if (!following) follow();
  else show();
}

async function load() {
  const told = await resources.all();
  about = told;
  rows = new Map(told.resources.map((row) => [row.key, row]));
  refused = null;
}

// Reads everything, then each change, and everything again when the connection was lost.
async function follow() {
  following = true;
  for (;;) {
    try {
      await load();
      show();
      changed();
      await readChanges(take);
    } catch (error) {
      if (error.status === 401) {
        refused = error.message;
        following = false;
        changed();
        return;
      }
      if (error.status) fail(error);
    }
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}

function take(change) {
  if (change.gone) rows.delete(change.gone);
  else rows.set(change.row.key, change.row);
  const { key } = read();
  if (key) show(); // what it uses may have changed as well
  changed();
}

async function show() {
  const { shown, key } = read();
  if (!shown) return;
  if (!key) {
    found = missing = null;
    changed();
    return;
  }
  const number = (loads += 1);
  const isOther = found?.key !== key;
  try {
    const told = await resources.one(key);
    if (number !== loads) return;
    found = told;
    missing = null;
  } catch (error) {
    if (number !== loads) return;
    found = null;
    missing = error.message;
  }
  changed();
  if (isOther) requestAnimationFrame(() => requestAnimationFrame(() => document.getElementById("resource-title")?.focus({ preventScroll: true })));
}

function view() {
  const { key } = read();
  if (refused) return html`<div class="empty" id="resources" tabindex="-1"><h2>The console needs its token</h2><p class="faint">${refused}</p></div>`;
  if (!about) return html`<p class="faint center" id="resources" tabindex="-1">Loading …</p>`;
  const all = [...rows.values()].sort((a, b) => (a.key < b.key ? -1 : 1));
  return html`<div class="resources ${key ? "has-one" : ""}">
    <section class="resources-side" aria-label="All resources" id="resources" tabindex="-1">
      ${listView(all, key)} ${about.writes ? html`<div class="apply">${applyView()}</div>` : nothing}
    </section>
    <section class="resource-side" aria-label="Resource">
      ${key ? html`<a class="back" href=${toKey(null)}>All resources</a>` : nothing}
      ${found && found.key === key ? detailView(found, about) : html`<p class="faint center">${missing ?? (key ? "Loading …" : summary(all))}</p>`}
    </section>
  </div>`;
}

function summary(all) {
  const ready = all.filter((row) => row.ready === "True").length;
  return all.length ? `${ready} of ${all.length} resources are ready. Choose one to see why.` : "Nothing is applied yet.";
}
