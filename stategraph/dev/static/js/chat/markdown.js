// Markdown as elements. Blocks that have not changed keep their elements, so a long answer streams without flicker.
//
// HTML in an answer is shown as text. What markdown-it makes goes through DOMPurify all the same, and the page's content
// security policy lets no script run that is not a file of the server.

import hljs from "../../vendor/highlight/core.min.js";
import bash from "../../vendor/highlight/languages/bash.min.js";
import c from "../../vendor/highlight/languages/c.min.js";
import cpp from "../../vendor/highlight/languages/cpp.min.js";
import css from "../../vendor/highlight/languages/css.min.js";
import diff from "../../vendor/highlight/languages/diff.min.js";
import go from "../../vendor/highlight/languages/go.min.js";
import java from "../../vendor/highlight/languages/java.min.js";
import javascript from "../../vendor/highlight/languages/javascript.min.js";
import json from "../../vendor/highlight/languages/json.min.js";
import markdown from "../../vendor/highlight/languages/markdown.min.js";
import python from "../../vendor/highlight/languages/python.min.js";
import rust from "../../vendor/highlight/languages/rust.min.js";
import sql from "../../vendor/highlight/languages/sql.min.js";
import typescript from "../../vendor/highlight/languages/typescript.min.js";
import xml from "../../vendor/highlight/languages/xml.min.js";
import yaml from "../../vendor/highlight/languages/yaml.min.js";
import DOMPurify from "../../vendor/dompurify/purify.mjs";
import MarkdownIt from "../../vendor/markdown-it/markdown-it.mjs";
import { say } from "../state.js";

const languages = { bash, c, cpp, css, diff, go, java, javascript, json, markdown, python, rust, sql, typescript, xml, yaml };
for (const [name, grammar] of Object.entries(languages)) hljs.registerLanguage(name, grammar);

const parser = new MarkdownIt({ html: false, linkify: true, typographer: false });

// Images of other servers would tell them that the answer was read: they are links.
const image = parser.renderer.rules.image;
parser.renderer.rules.image = (tokens, at, options, env, self) => {
  const token = tokens[at];
  const source = token.attrGet("src") ?? "";
  if (/^data:image\//.test(source)) return image(tokens, at, options, env, self);
  const escape = parser.utils.escapeHtml;
  return `<a href="${escape(source)}">${escape(token.content || source)}</a>`;
};

// Columns are aligned by a class: the page's policy takes no styles that stand inline.
parser.renderer.rules.th_open = parser.renderer.rules.td_open = (tokens, at, options, env, self) => {
  const token = tokens[at];
  const side = /^text-align:(left|center|right)$/.exec(token.attrGet("style") ?? "")?.[1];
  if (side) token.attrs = [...token.attrs.filter(([name]) => name !== "style"), ["class", side]];
  return self.renderToken(tokens, at, options);
};

const ALLOWED = {
  USE_PROFILES: { html: true },
  FORBID_TAGS: ["style", "form", "input", "button", "textarea", "select", "iframe", "audio", "video"],
  FORBID_ATTR: ["style", "id", "name"],
  RETURN_DOM_FRAGMENT: true,
};

DOMPurify.addHook("afterSanitizeAttributes", (node) => {
  if (node.tagName !== "A") return;
  // An address of this server is none that an answer may lead to.
  if (!/^(https?:\/\/|mailto:)/i.test(node.getAttribute("href") ?? "")) node.removeAttribute("href");
  node.setAttribute("target", "_blank");
  node.setAttribute("rel", "noopener noreferrer");
});

// Returns the elements for a text; `memory` is an object of the caller's that keeps them until the next call.
export function elementsOf(text, memory) {
  if (memory.text === text) return memory.nodes;
  const env = {};
  const tokens = parser.parse(text, env);
  const lines = text.split("\n");
  const references = env.references ? JSON.stringify(env.references) : "";
  const before = memory.blocks ?? [];
  const blocks = [];
  for (const block of blocksOf(tokens)) {
    const [first, last] = block[0].map ?? [0, lines.length];
    const source = `${references}${lines.slice(first, last).join("\n")}`;
    const known = before[blocks.length];
    blocks.push(known?.source === source ? known : { source, node: made(block, env) });
  }
  memory.text = text;
  memory.blocks = blocks;
  memory.nodes = blocks.map((block) => block.node);
  return memory.nodes;
}

function blocksOf(tokens) {
  const blocks = [];
  let depth = 0;
  for (const token of tokens) {
    if (depth === 0) blocks.push([]);
    blocks.at(-1).push(token);
    depth += token.nesting;
  }
  return blocks;
}

function made(tokens, env) {
  const element = document.createElement("div");
  element.className = "block";
  element.append(DOMPurify.sanitize(parser.renderer.render(tokens, parser.options, env), ALLOWED));
  for (const code of element.querySelectorAll("pre > code")) dress(code);
  for (const table of element.querySelectorAll("table")) {
    const scroll = document.createElement("div");
    scroll.className = "scroll";
    scroll.tabIndex = 0;
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", "Table");
    table.replaceWith(scroll);
    scroll.append(table);
  }
  return element;
}

// Gives code its colours, the name of its language and a button that copies it.
function dress(code) {
  const named = [...code.classList].find((name) => name.startsWith("language-"))?.slice(9) ?? "";
  const language = hljs.getLanguage(named) ? named : "";
  const source = code.textContent;
  if (language) code.replaceChildren(DOMPurify.sanitize(hljs.highlight(source, { language }).value, ALLOWED));
  const head = document.createElement("div");
  head.className = "code-head";
  const label = document.createElement("span");
  label.textContent = named || "text";
  const copy = document.createElement("button");
  copy.type = "button";
  copy.className = "quiet small";
  copy.textContent = "Copy";
  copy.addEventListener("click", async () => {
    await navigator.clipboard.writeText(source);
    copy.textContent = "Copied";
    say("The code was copied.");
    setTimeout(() => (copy.textContent = "Copy"), 1500);
  });
  head.append(label, copy);
  const frame = document.createElement("div");
  frame.className = "code";
  code.parentElement.replaceWith(frame);
  const pre = document.createElement("pre");
  pre.tabIndex = 0;
  pre.append(code);
  frame.append(head, pre);
}
