// The page: a list of sessions beside the tabs of the open one.

import { api } from "./api.js";
import "./chat/room.js";
import "./inspector/room.js";
import "./console/room.js";
import { Session } from "./chat/session.js";
import { icons } from "./icons.js";
import { html, nothing, render } from "./lib.js";
import { address, go, read } from "./router.js";
import { sidebar } from "./sidebar.js";
import { changed, fail, onChange, state } from "./state.js";
import { all, tabOf } from "./tabs.js";

const root = document.getElementById("app");
const narrow = matchMedia("(max-width: 52rem)");

state.refresh = async () => {
  try {
    const page = await api.threads(state.query);
    state.threads = page.threads;
    state.next = page.next;
    const open = state.threads.find((thread) => thread.id === state.session?.threadId);
    if (open && state.session.thread) state.session.thread = open;
    changed();
  } catch (error) {
    fail(error);
  }
};

// A session that was new has got its thread: the address names it from now on.
state.opened = (session) => {
  if (state.session !== session) return;
  state.route = { tab: state.route.tab, thread: session.threadId };
  history.replaceState(null, "", address(state.route.tab, session.threadId));
};

function follow() {
  const route = read();
  const isOther = state.session === null || route.thread !== state.session.threadId;
  state.route = route;
  state.drawer = false;
  state.menu = null;
  state.problem = null;
  if (isOther) {
    state.session?.close();
    state.session = new Session(route.thread);
    if (route.thread) state.session.load();
    else state.session.listen();
  }
  tabOf(route.tab).open?.(route.thread);
  changed();
  if (isOther) requestAnimationFrame(() => document.getElementById("message")?.focus({ preventScroll: true }));
}

function toggleTheme() {
  const isDark = document.documentElement.dataset.theme
    ? document.documentElement.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  const theme = isDark ? "light" : "dark";
  document.documentElement.dataset.theme = theme;
  try {
    localStorage.setItem("stategraph.theme", theme);
  } catch {
    // Storage is turned off: the choice lasts as long as the page.
  }
}

function header() {
  const { session, route } = state;
  const title = tabOf(route.tab).heading?.(state) ?? session?.thread?.title ?? (session?.threadId ? "Untitled session" : "New session");
  return html`<header class="bar">
    <button
      type="button"
      class="quiet square only-narrow"
      aria-label="Sessions"
      aria-expanded=${String(state.drawer)}
      aria-controls="sessions"
      @click=${() => {
        state.drawer = !state.drawer;
        changed();
        if (state.drawer) requestAnimationFrame(() => document.getElementById("new-session")?.focus());
      }}
    >
      ${icons.menu}
    </button>
    <h1 class="title" title=${title}>${title}</h1>
    ${all().length > 1
      ? html`<nav class="tabs" aria-label="Views">
          ${all().map(
            (tab) =>
              html`<a href=${address(tab.id, route.thread)} aria-current=${tab.id === tabOf(route.tab).id ? "page" : "false"}
                >${tab.title}</a
              >`,
          )}
        </nav>`
      : nothing}
    <span class="grow"></span>
    ${tabOf(route.tab).tools?.(state) ?? nothing}
    <button type="button" class="quiet square" aria-label="Light or dark" title="Light or dark" @click=${toggleTheme}>
      <span class="when-light">${icons.moon}</span><span class="when-dark">${icons.sun}</span>
    </button>
  </header>`;
}

function problem() {
  if (!state.problem) return nothing;
  return html`<div class="problem" role="alert">
    ${icons.warning}
    <span>${state.problem}</span>
    <button
      type="button"
      class="quiet square"
      aria-label="Dismiss"
      @click=${() => {
        state.problem = null;
        changed();
      }}
    >
      ${icons.cross}
    </button>
  </div>`;
}

onChange(() => {
  const hidden = narrow.matches && !state.drawer;
  render(
    html`<a
        class="skip"
        href="#message"
        @click=${(event) => {
          event.preventDefault();
          document.getElementById(tabOf(state.route.tab).main ?? "message")?.focus();
        }}
        >${tabOf(state.route.tab).main ? "Skip to the content" : "Skip to the message"}</a
      >
      ${sidebar(state, hidden)}
      ${state.drawer
        ? html`<div
            class="veil"
            @click=${() => {
              state.drawer = false;
              changed();
            }}
          ></div>`
        : nothing}
      <main class="main" ?inert=${state.drawer && narrow.matches}>
        ${header()} ${problem()} ${state.info ? tabOf(state.route.tab).view(state) : nothing}
      </main>`,
    root,
  );
  document.title = state.session?.thread?.title ? `${state.session.thread.title} · ${state.info?.name ?? ""}` : (state.info?.name ?? "stategraph");
});

addEventListener("hashchange", follow);
narrow.addEventListener("change", changed);
document.addEventListener("visibilitychange", () => {
  if (document.hidden) state.session?.pause();
  else state.session?.resume();
});
addEventListener("online", () => state.session?.resume());
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && (state.drawer || state.menu)) {
    const opener = state.menu ? document.querySelector(`[data-menu="${CSS.escape(state.menu)}"]`) : document.querySelector(".only-narrow");
    state.drawer = state.menu ? state.drawer : false;
    state.menu = null;
    changed();
    opener?.focus();
  }
  if (event.key.toLowerCase() === "o" && event.shiftKey && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    go("chat", null);
  }
});
addEventListener("click", (event) => {
  if (state.menu && !event.target.closest(".session-menu, [data-menu]")) {
    state.menu = null;
    changed();
  }
});

async function start() {
  try {
    state.info = await api.info();
  } catch (error) {
    fail(error);
    setTimeout(start, 2000);
    return;
  }
  state.problem = null;
  follow();
  state.refresh();
}

changed();
start();
