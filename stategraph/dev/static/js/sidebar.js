// The list of sessions: opened, searched, renamed, exported, deleted.

import { api } from "./api.js";
import { age, when } from "./format.js";
import { icons } from "./icons.js";
import { html, live, nothing, repeat } from "./lib.js";
import { address, go } from "./router.js";
import { changed, fail, say } from "./state.js";

const STATUS = { running: "answering", interrupted: "waits for you", failed: "failed", unfinished: "cut off" };

let typing = null;

export function sidebar(state, hidden) {
  return html`<aside id="sessions" class="side ${state.drawer ? "open" : ""}" aria-label="Sessions" ?inert=${hidden}>
    <div class="side-head">
      <span class="brand"><img src="/static/icon.svg" alt="" width="24" height="24" /><span>${state.info?.name ?? "stategraph"}</span></span>
    </div>
    <div class="side-tools">
      <button type="button" id="new-session" class="wide" @click=${() => startNew(state)}>${icons.compose}<span>New session</span></button>
      <label class="search"
        >${icons.search}<input
          type="search"
          placeholder="Search"
          aria-label="Search sessions"
          autocomplete="off"
          .value=${live(state.query)}
          @input=${(event) => search(state, event.target.value)}
      /></label>
    </div>
    <nav class="list" aria-label="Sessions">
      ${groups(state.threads).map(
        ([title, threads]) => html`<h2>${title}</h2>
          <ul>
            ${repeat(
              threads,
              (thread) => thread.id,
              (thread) => item(state, thread),
            )}
          </ul>`,
      )}
      ${state.threads.length === 0
        ? html`<p class="faint">${state.query ? "No session has this in its title." : "Sessions appear here."}</p>`
        : nothing}
      ${state.next ? html`<button type="button" class="quiet wide" @click=${() => more(state)}>Show more</button>` : nothing}
    </nav>
    <footer class="side-foot faint">stategraph ${state.info?.version ?? ""}</footer>
  </aside>`;
}

function groups(threads) {
  const found = new Map();
  for (const thread of threads) {
    const title = age(thread.updated_at);
    found.set(title, [...(found.get(title) ?? []), thread]);
  }
  return [...found];
}

function item(state, thread) {
  if (state.renaming === thread.id) return renaming(state, thread);
  const title = thread.title ?? "Untitled session";
  const isOpen = state.route.thread === thread.id;
  return html`<li class="session ${isOpen ? "current" : ""}">
    <a href=${address(state.route.tab, thread.id)} aria-current=${isOpen ? "page" : "false"} title=${title}>
      <span class="name">${title}</span>
      ${STATUS[thread.status]
        ? html`<span class="dot ${thread.status}" title=${STATUS[thread.status]}><span class="unseen">${STATUS[thread.status]}</span></span>`
        : html`<time class="faint" datetime=${thread.updated_at}>${when(thread.updated_at)}</time>`}
    </a>
    <button
      type="button"
      class="quiet square small"
      data-menu=${thread.id}
      aria-label="More for ${title}"
      aria-expanded=${String(state.menu === thread.id)}
      @click=${() => {
        state.menu = state.menu === thread.id ? null : thread.id;
        changed();
        if (state.menu) requestAnimationFrame(() => document.querySelector(".session-menu button")?.focus());
      }}
    >
      ${icons.more}
    </button>
    ${state.menu === thread.id ? menu(state, thread, title) : nothing}
  </li>`;
}

function menu(state, thread, title) {
  return html`<div class="session-menu" role="group" aria-label="Session">
    <button
      type="button"
      @click=${() => {
        state.renaming = thread.id;
        state.menu = null;
        changed();
        requestAnimationFrame(() => document.getElementById("rename")?.select());
      }}
    >
      Rename
    </button>
    <a href=${api.exportPath(thread.id)} download>Export as JSON</a>
    <button type="button" class="danger" @click=${() => ask(state, thread, title)}>Delete</button>
  </div>`;
}

function renaming(state, thread) {
  const end = async (title) => {
    if (state.renaming !== thread.id) return;
    state.renaming = null;
    changed();
    if (!title || title === thread.title) return;
    try {
      await api.rename(thread.id, title);
      await state.refresh();
      say("The session was renamed.");
    } catch (error) {
      fail(error);
    }
  };
  return html`<li class="session">
    <input
      id="rename"
      aria-label="Title"
      maxlength="200"
      .value=${thread.title ?? ""}
      @keydown=${(event) => {
        if (event.key === "Enter") end(event.target.value.trim());
        if (event.key === "Escape") end(null);
      }}
      @blur=${(event) => end(event.target.value.trim())}
    />
  </li>`;
}

function startNew(state) {
  if (state.session?.threadId === null) {
    state.drawer = false;
    changed();
    document.getElementById("message")?.focus();
    return;
  }
  go("chat", null);
}

function search(state, text) {
  state.query = text;
  clearTimeout(typing);
  typing = setTimeout(state.refresh, 200);
}

async function more(state) {
  try {
    const page = await api.threads(state.query, state.next);
    state.threads = [...state.threads, ...page.threads];
    state.next = page.next;
    changed();
  } catch (error) {
    fail(error);
  }
}

// Asks before a session is deleted, as it cannot be brought back.
function ask(state, thread, title) {
  state.menu = null;
  changed();
  const dialog = document.createElement("dialog");
  dialog.className = "dialog";
  dialog.setAttribute("aria-labelledby", "delete-title");
  const head = document.createElement("h2");
  head.id = "delete-title";
  head.textContent = "Delete this session?";
  const text = document.createElement("p");
  text.textContent = `“${title}” and all of its checkpoints will be gone.`;
  const row = document.createElement("div");
  row.className = "row end";
  const no = button("Keep it", "", () => dialog.close());
  const yes = button("Delete", "danger solid", async () => {
    dialog.close();
    try {
      await api.remove(thread.id);
      if (state.route.thread === thread.id) go("chat", null, { replace: true });
      await state.refresh();
      say("The session was deleted.");
    } catch (error) {
      fail(error);
    }
  });
  row.append(no, yes);
  dialog.append(head, text, row);
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  no.focus();
}

function button(label, kind, click) {
  const made = document.createElement("button");
  made.type = "button";
  made.className = kind;
  made.textContent = label;
  made.addEventListener("click", click);
  return made;
}
