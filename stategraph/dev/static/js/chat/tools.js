// A tool call as a step: folded, with its arguments and its result.

import { humanName, pretty } from "../format.js";
import { icons } from "../icons.js";
import { html, nothing } from "../lib.js";
import { mediaView } from "./files.js";

const STATES = { running: "runs", done: "", cancelled: "stopped", failed: "failed", error: "failed", rejected: "rejected" };

export function toolStep(part, isPaused) {
  const call = part.tool_call;
  const isOpen = part.state === "running" && call.output === undefined;
  const isRunning = isOpen && !isPaused;
  const state = isOpen ? (isPaused ? "waits" : "runs") : (STATES[part.state ?? "done"] ?? part.state);
  const transfer = /^lc_transfer_to_(.+)$/.exec(call.name ?? "");
  const title = transfer ? `Hand over to ${transfer[1]}` : humanName(call.name);
  const step = html`<details class="step tool ${isRunning ? "running" : ""}" data-tool=${call.name ?? ""}>
    <summary>
      ${icons.chevron}${icons.tool}<span class=${isRunning ? "shimmer" : ""}>${title}</span>
      <span class="faint brief">${brief(call.args)}</span>
      ${state ? html`<span class="state ${part.state}">${state}</span>` : nothing}
    </summary>
    <div class="step-body">
      <h4>Arguments</h4>
      <pre tabindex="0">${pretty(call.args) || "{}"}</pre>
      ${part.progress ? progress(part.progress) : nothing}
      ${part.auth ? html`<p><a href=${safe(part.auth)} target="_blank" rel="noopener noreferrer">Sign in for this tool</a></p>` : nothing}
      ${part.subagent ? subagent(part.subagent) : nothing}
      ${call.output !== undefined ? html`<h4>Result</h4><pre tabindex="0">${pretty(call.output)}</pre>` : nothing}
    </div>
  </details>`;
  return call.files?.length ? html`${step}<div class="media">${call.files.map(mediaView)}</div>` : step;
}

// The arguments in a line: `city: Tokyo`.
function brief(args) {
  let read = args;
  if (typeof args === "string") {
    try {
      read = JSON.parse(args);
    } catch {
      return "";
    }
  }
  if (typeof read !== "object" || read === null) return "";
  const shown = Object.entries(read).map(([name, value]) => `${name}: ${typeof value === "string" ? value : JSON.stringify(value)}`);
  return shown.join(", ").slice(0, 120);
}

function progress({ done, total, message }) {
  return html`<label class="progress"><span>${message ?? "Progress"}</span>${total ? html`<progress max=${total} .value=${done}></progress>` : html`<span>${done}</span>`}</label>`;
}

function subagent(helper) {
  return html`<h4>${helper.name}${helper.state === "running" ? " works" : helper.state === "failed" ? " failed" : ""}</h4>
    ${helper.tools.length ? html`<p class="faint">${helper.tools.map(humanName).join(", ")}</p>` : nothing}
    ${helper.text ? html`<pre tabindex="0">${helper.text}</pre>` : nothing}`;
}

// An address that a link may have.
export function safe(address) {
  return /^https?:\/\//i.test(String(address)) ? address : "#";
}
