// The graph as it is drawn by the server, with the way that a turn took.

import DOMPurify from "../../vendor/dompurify/purify.mjs";
import { html, nothing } from "../lib.js";
import { nodeName } from "./words.js";

// The picture's own style is left out: the page's policy takes none that stands inline, and inspector.css has one.
const ALLOWED = { USE_PROFILES: { svg: true }, FORBID_TAGS: ["style", "a"], FORBID_ATTR: ["style"], RETURN_DOM_FRAGMENT: true };

const pictures = new Map(); // by their SVG

function pictureOf(svg) {
  if (!pictures.has(svg)) pictures.set(svg, DOMPurify.sanitize(svg, ALLOWED).firstElementChild);
  return pictures.get(svg);
}

// Marks nodes and edges: `taken`, `current` for what made the step, `upcoming` for what comes next.
function mark(picture, path) {
  if (picture.path === path) return;
  picture.path = path;
  const edges = new Set((path?.edges ?? []).map(({ source, target }) => `${source}\n${target}`));
  for (const node of picture.querySelectorAll("[data-node]")) {
    const id = node.dataset.node;
    node.classList.toggle("taken", Boolean(path?.visits[id]));
    node.classList.toggle("current", Boolean(path?.current.includes(id)));
    node.classList.toggle("upcoming", Boolean(path?.upcoming.includes(id)));
  }
  for (const edge of picture.querySelectorAll("[data-source]"))
    edge.classList.toggle("taken", edges.has(`${edge.dataset.source}\n${edge.dataset.target}`));
  requestAnimationFrame(() => bringIntoView(picture));
}

// Scrolls a picture that is larger than its frame to what is marked.
function bringIntoView(picture) {
  const frame = picture.parentElement;
  const node = picture.querySelector(".upcoming, .current");
  if (!frame || !node) return;
  const [outer, inner] = [frame.getBoundingClientRect(), node.getBoundingClientRect()];
  frame.scrollTop += inner.top + inner.height / 2 - (outer.top + outer.height / 2);
  frame.scrollLeft += inner.left + inner.width / 2 - (outer.left + outer.width / 2);
}

// `choose` is called with a node that is clicked; the list of steps does the same for the keyboard.
export function graphView(about, path, choose) {
  if (!about?.svg) return about?.problem ? html`<p class="faint">${about.problem}</p>` : nothing;
  const picture = pictureOf(about.svg);
  mark(picture, path);
  return html`<figure class="graph">
    <div class="graph-scroll" tabindex="0" role="region" aria-label="Graph" @click=${(event) => pick(event, choose)}>${picture}</div>
    <figcaption class="faint">${path ? caption(path) : "Loading the path …"}</figcaption>
  </figure>`;
}

function pick(event, choose) {
  const node = event.target.closest("[data-node]");
  if (node) choose(node.dataset.node);
}

function caption(path) {
  const ran = Object.entries(path.visits).filter(([name]) => !/__(start|end)__$/.test(name));
  const told = ran.map(([name, times]) => `${nodeName(name.split(":").at(-1))}${times > 1 ? ` ×${times}` : ""}`).join(", ");
  return html`<span>${told ? `This turn ran ${told}${path.cut ? ", and more before that" : ""}.` : "No node has run in this turn yet."}</span>
    <span class="legend"><span class="key taken"></span>taken <span class="key current"></span>this step <span class="key upcoming"></span>next</span>`;
}
