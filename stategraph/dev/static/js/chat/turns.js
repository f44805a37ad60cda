// A turn: a message of the person, or an answer with its reasoning, tools and text.

import { count, money, pretty } from "../format.js";
import { icons } from "../icons.js";
import { html, nothing } from "../lib.js";
import { say } from "../state.js";
import { fileOf, mediaView } from "./files.js";
import { elementsOf } from "./markdown.js";
import { toolStep } from "./tools.js";

const memories = new WeakMap(); // a part -> its elements

export function turnView(turn, state, isWriting) {
  return turn.role === "user" ? question(turn) : turn.role === "assistant" ? answer(turn, state, isWriting) : system(turn);
}

function question(turn) {
  const texts = turn.content.filter((part) => part?.type === "text" && !fileOf(part));
  const others = turn.content.filter((part) => part && (part.type !== "text" || fileOf(part)));
  return html`<article class="turn user ${turn.pending ? "pending" : ""}" aria-label="You">
    ${others.length ? html`<div class="media">${others.map(mediaView)}</div>` : nothing}
    ${texts.length ? html`<div class="bubble">${texts.map((part) => part.text).join("\n")}</div>` : nothing}
  </article>`;
}

function system(turn) {
  return html`<article class="turn system"><details class="step"><summary>${icons.chevron}<span>Instructions</span></summary>
    <pre>${turn.content.map((part) => part?.text ?? "").join("\n")}</pre></details></article>`;
}

function answer(turn, state, isWriting) {
  const content = turn.live;
  const parts = (content?.parts ?? turn.content ?? []).filter(Boolean);
  const text = parts.filter((part) => part.type === "text").map((part) => part.text).join("\n\n").trim();
  const last = parts.at(-1);
  return html`<article class="turn assistant" aria-label="Answer">
    ${named(parts, turn, state).map(({ part, agent }) => html`${agent ? html`<h3 class="agent">${agent}</h3>` : nothing}${partView(part, isWriting && part === last, content?.status === "interrupted")}`)}
    ${isWriting && (!last || last.type === "tool_call" || last.closed) ? html`<p class="thinking" role="status"><span class="pulse"></span><span class="unseen">Working</span></p>` : nothing}
    ${end(turn, content)}
    ${!isWriting && content?.status !== "interrupted" && (text || turn.usage) ? foot(turn, content, text) : nothing}
  </article>`;
}

// Each part, with the agent's name where another one begins to speak.
function named(parts, turn, { info }) {
  const names = new Map(info.agents.map((agent) => [agent.id, agent.name]));
  let speaker = info.agents[0]?.id ?? null;
  const speakers = new Set(parts.map((part) => part.agentId).filter(Boolean));
  const isOne = info.kind === "agents" ? names.size < 2 : speakers.size < 2;
  let shown = null;
  return parts.map((part) => {
    const id = part.agentId ?? speaker;
    const agent = !isOne && id && id !== shown && part.type !== "summary" ? (names.get(id) ?? id) : null;
    if (id) shown = id;
    const transfer = /^lc_transfer_to_(.+)$/.exec(part.tool_call?.name ?? "");
    speaker = transfer && !part.agentId && names.has(transfer[1]) ? transfer[1] : id;
    return { part, agent };
  });
}

function partView(part, isWriting, isPaused) {
  switch (part.type) {
    case "text":
      return html`<div class="prose ${isWriting ? "writing" : ""}">${elementsOf(part.text ?? "", memoryOf(part))}</div>`;
    case "think":
      return reasoning(part, isWriting);
    case "tool_call":
      return toolStep(part, isPaused);
    case "summary":
      return folded("Earlier messages were summarised", (part.content ?? []).map((each) => each.text).join(""));
    case "output":
      return html`<div class="card"><h3 class="agent">${part.output.type}</h3><pre tabindex="0">${pretty(part.output.value)}</pre></div>`;
    case "refused":
      return html`<p class="faint note">${icons.warning}<span>${part.problems.join("; ")}</span></p>`;
    case "custom":
      return folded(part.name ?? "Event", pretty(part.data));
    default:
      return mediaView(part);
  }
}

function memoryOf(part) {
  if (!memories.has(part)) memories.set(part, {});
  return memories.get(part);
}

function reasoning(part, isWriting) {
  const words = (part.think ?? "").trim();
  if (!words && !isWriting) return nothing;
  return html`<details class="step reasoning">
    <summary>${icons.chevron}${icons.spark}<span class=${isWriting ? "shimmer" : ""}>${isWriting ? "Thinking …" : "Reasoning"}</span></summary>
    <div class="step-body thought">${words}</div>
  </details>`;
}

function folded(title, text) {
  return html`<details class="step"><summary>${icons.chevron}<span>${title}</span></summary><pre class="step-body" tabindex="0">${text}</pre></details>`;
}

// How an answer ended, if it did not end well.
function end(turn, content) {
  const reason = content?.reason;
  if (turn.error) {
    return html`<p class="note failed" role="alert">${icons.warning}<span><strong>${turn.error.type}</strong> ${turn.error.message}</span></p>`;
  }
  if (content?.status === "failed") return html`<p class="note failed" role="alert">${icons.warning}<span>The answer failed.</span></p>`;
  if (reason) return html`<p class="note">${icons.warning}<span>The turn was ended: ${reason.replaceAll("_", " ")}.</span></p>`;
  if (content?.status === "cancelled" || turn.incomplete) return html`<p class="note faint">You stopped this answer.</p>`;
  return nothing;
}

function foot(turn, content, text) {
  const used = turn.usage ?? content?.usage;
  return html`<footer class="turn-foot">
    ${text
      ? html`<button
          type="button"
          class="quiet square small"
          aria-label="Copy the answer"
          title="Copy"
          @click=${async () => {
            await navigator.clipboard.writeText(text);
            say("The answer was copied.");
          }}
        >
          ${icons.copy}
        </button>`
      : nothing}
    ${used?.totalTokens
      ? html`<span class="faint" title=${usageTitle(used)}
          >${count(used.totalTokens)} tokens${used.cost === undefined || used.cost === null ? nothing : html` · ${money(used.cost)}`}</span
        >`
      : nothing}
  </footer>`;
}

function usageTitle(used) {
  const figures = [`${count(used.inputTokens)} in`, `${count(used.outputTokens)} out`];
  if (used.cachedTokens) figures.push(`${count(used.cachedTokens)} cached`);
  if (used.reasoningTokens) figures.push(`${count(used.reasoningTokens)} reasoning`);
  figures.push(`${count(used.modelCalls)} model ${used.modelCalls === 1 ? "call" : "calls"}`);
  return figures.join(", ");
}
