// Values as the server shows them: text that may be cut, messages, differences.

import { html, nothing } from "../lib.js";
import { characters, plural } from "./words.js";

const ROLES = { human: "Person", ai: "Model", AIMessageChunk: "Model", tool: "Tool", system: "System", function: "Function", remove: "Removed" };

// A value as text; `all` asks for the rest of it.
export function valueView(shown, all = null) {
  const rest = shown.length - shown.text.length;
  return html`<pre class="value ${shown.type}" tabindex="0">${shown.text}${rest > 0 ? "…" : nothing}</pre>
    ${rest > 0
      ? html`<p class="faint cut">
          ${characters(rest)} more ${all ? html`<button type="button" class="small" @click=${all}>Show all ${characters(shown.length)}</button>` : nothing}
        </p>`
      : nothing}`;
}

export function messageView(message, kind = "") {
  const who = ROLES[message.type] ?? message.type;
  return html`<article class="message ${message.type} ${kind}" aria-label="${who} message">
    <header>
      <strong>${who}</strong>${message.name ? html`<span>${message.name}</span>` : nothing}
      ${message.status === "error" ? html`<span class="badge failed">error</span>` : nothing}
      ${message.tokens ? html`<span class="faint">${plural(message.tokens.input, "token")} in, ${message.tokens.output} out</span>` : nothing}
      <span class="grow"></span>${message.id ? html`<code class="faint id" title=${message.id}>${message.id}</code>` : nothing}
    </header>
    ${message.content.length ? (message.content.type === "text" ? textView(message.content) : valueView(message.content)) : nothing}
    ${(message.calls ?? []).map((call) => html`<p class="call"><code>${call.name}</code> is called with</p>${valueView(call.args)}`)}
  </article>`;
}

function textView(shown) {
  const rest = shown.length - shown.text.length;
  return html`<p class="said">${shown.text}${rest > 0 ? html`<span class="faint">… ${characters(rest)} more</span>` : nothing}</p>`;
}

const SIGNS = { added: "+", removed: "−", changed: "±" };

export function differencesView(differences) {
  if (!differences.found.length) return html`<p class="faint">Nothing has changed.</p>`;
  return html`<ul class="differences">
      ${differences.found.map(differenceView)}
    </ul>
    ${differences.more ? html`<p class="faint">There are more differences than these ${differences.found.length}.</p>` : nothing}`;
}

function differenceView(each) {
  return html`<li class="difference ${each.kind}">
    <h4>
      <span class="sign" aria-hidden="true">${SIGNS[each.kind]}</span><code>${each.path}</code><span class="faint">${each.kind}</span>
    </h4>
    ${each.lines ? linesView(each.lines) : html`${sideView(each.old, "old")}${sideView(each.new, "new")}`}
  </li>`;
}

function sideView(side, of) {
  if (!side) return nothing;
  const kind = of === "old" ? "was" : "is";
  return html`<div class="side-value ${kind}"><span class="unseen">${of === "old" ? "Before:" : "After:"}</span>${side.message ? messageView(side.message) : valueView(side)}</div>`;
}

function linesView(lines) {
  const kinds = { "+": "is", "-": "was", "@": "place" };
  return html`<pre class="value lines" tabindex="0">${lines.map((line) => html`<span class=${kinds[line[0]] ?? ""}>${line}
</span>`)}</pre>`;
}
