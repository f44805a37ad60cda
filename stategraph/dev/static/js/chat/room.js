// The tab in which one talks: the conversation, what it waits for, and the composer.

import { api } from "../api.js";
import { count, money } from "../format.js";
import { icons } from "../icons.js";
import { guard, html, nothing, repeat } from "../lib.js";
import { changed } from "../state.js";
import { register } from "../tabs.js";
import { composer } from "./composer.js";
import { questionCard } from "./questions.js";
import { turnView } from "./turns.js";

let atEnd = true; // whether the newest text is followed
let lastTop = 0; // where it was scrolled to
let shownFor = null;

register({ id: "chat", title: "Chat", view, tools: usage });

function view(state) {
  const { session } = state;
  if (session.missing) {
    return html`<div class="empty"><h2>This session is not here</h2><p class="faint">It was deleted, or belongs to another server.</p></div>`;
  }
  const isEmpty = session.turns.length === 0 && !session.loading;
  if (shownFor !== session) {
    shownFor = session;
    atEnd = true;
    lastTop = 0;
  }
  queueMicrotask(() => requestAnimationFrame(keepAtEnd));
  return html`<div
      class="scroller"
      id="scroller"
      @scroll=${(event) => {
        const box = event.currentTarget;
        const isEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 60;
        // Text that grows leaves the end behind, too; only a person scrolls up.
        const follows = isEnd || (atEnd && box.scrollTop >= lastTop);
        lastTop = box.scrollTop;
        if (follows !== atEnd) {
          atEnd = follows;
          changed();
        }
      }}
    >
      <div class="talk" role="log" aria-label="Conversation" aria-live="off" aria-busy=${String(session.running)}>
        ${isEmpty ? welcome(state) : nothing} ${session.loading ? html`<p class="faint center">Loading …</p>` : nothing}
        ${repeat(
          session.turns,
          (turn) => turn.key,
          (turn) =>
            guard([turn, turn.version, turn.pending, turn === session.turns.at(-1) && session.running, turn.error], () =>
              turnView(turn, state, turn === session.turns.at(-1) && session.running),
            ),
        )}
        ${repeat(
          session.waiting,
          (question) => question.id,
          (question) => questionCard(question, session),
        )}
        ${cutOff(session)} ${files(session)}
      </div>
    </div>
    ${atEnd || isEmpty
      ? nothing
      : html`<button type="button" class="to-end" aria-label="To the newest" @click=${toEnd}>${icons.down}</button>`}
    ${session.connection === "lost"
      ? html`<div class="lost" role="status"><span class="pulse"></span>The connection was lost. Connecting again …</div>`
      : nothing}
    ${composer(state, toEnd)}`;
}

function toEnd() {
  atEnd = true;
  changed();
}

function keepAtEnd() {
  const box = document.getElementById("scroller");
  if (!box || !atEnd) return;
  box.scrollTop = box.scrollHeight;
  lastTop = box.scrollTop;
}

function welcome({ info, session }) {
  return html`<section class="welcome">
    <img src="/static/icon.svg" alt="" width="48" height="48" />
    <h2>${info.name}</h2>
    ${info.note ? html`<p class="faint">${info.note}</p>` : html`<p class="faint">Ask something to begin.</p>`}
    <div class="suggestions">
      ${info.suggestions.map(
        (each) =>
          html`<button type="button" @click=${() => session.send(each.text, []).catch((error) => session.failed(error))}>
            <strong>${each.title}</strong><span class="faint">${each.text}</span>
          </button>`,
      )}
    </div>
  </section>`;
}

function cutOff(session) {
  if (!session.unfinished || session.running) return nothing;
  return html`<div class="card notice">
    <p>${icons.warning}<span
        >${session.unfinished === "stopped"
          ? "The run stands at a breakpoint. Its steps are stored."
          : "The last answer was cut off: its process is gone. Its steps are stored."}</span
      ></p>
    <div class="row"><button type="button" class="solid" ?disabled=${session.busy} @click=${() => session.goOn()}>Go on</button></div>
  </div>`;
}

function files(session) {
  if (!session.files.length || session.running) return nothing;
  return html`<section class="files" aria-label="Files of this session">
    <h2>Files</h2>
    ${session.files.map(
      (path) => html`<a class="chip" href=${api.filePath(session.threadId, path)} download>${icons.download}<span>${path}</span></a>`,
    )}
  </section>`;
}

// What the session has used so far, as far as its models report it.
function usage({ session }) {
  const turns = (session?.turns ?? []).map((turn) => turn.usage ?? turn.live?.usage).filter((each) => each?.totalTokens);
  const tokens = turns.reduce((sum, each) => sum + (each.totalTokens ?? 0), 0);
  if (!tokens) return nothing;
  const costs = turns.map((each) => each.cost).filter((cost) => cost !== undefined && cost !== null);
  const cost = costs.length === turns.length ? costs.reduce((sum, each) => sum + each, 0) : null;
  return html`<span class="faint usage" title="Tokens of this session, as the models report them"
    >${count(tokens)} tokens${cost === null ? nothing : html` · ${money(cost)}`}</span
  >`;
}
