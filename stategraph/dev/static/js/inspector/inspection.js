// A thread that is inspected: its steps, page by page, and the one that is chosen, in detail.

import { changed, fail } from "../state.js";
import { inspect } from "./api.js";

const KEPT = 40; // details that are remembered
const REFRESH_MS = 600;

export class Inspection {
  constructor(threadId, namespace) {
    this.threadId = threadId;
    this.namespace = namespace;
    this.thread = null;
    this.steps = [];
    this.next = null; // where the next page begins
    this.loading = true;
    this.missing = null; // why there is nothing to see
    this.chosen = null; // the step in the address
    this.details = new Map(); // by the steps' ids: details, or null while they are loaded
    this.paths = new Map();
    this.accounts = new Map(); // why nodes ran or did not, by the steps' ids
    this.full = new Map(); // values that are shown in full, by step and name
    this.panel = "changes";
    this.edits = null; // see edit.js
    this.events = null; // see events.js
    this.following = null; // a run that was begun here, whose events are shown, and the step that it began at
    this.busy = false; // a change is under way
    this.seen = ""; // what the session was like when steps were read last
    this.timer = null;
    this.closed = false;
  }

  // The step that is shown: the one in the address, else the newest.
  get shown() {
    return this.chosen ?? this.steps[0]?.id ?? null;
  }

  get detail() {
    return this.details.get(this.shown) ?? null;
  }

  async load() {
    try {
      const page = await inspect.steps(this.threadId, this.namespace);
      if (this.closed) return;
      this.thread = page.thread;
      this.take(page);
      this.missing = null;
    } catch (error) {
      if (this.closed) return;
      this.missing = error.message;
    }
    this.loading = false;
    this.want();
    changed();
  }

  // Takes the newest page: what is known already stays, unless there are steps between.
  take(page) {
    const known = this.steps.findIndex((step) => step.id === page.steps.at(-1)?.id);
    const isNew = this.steps[0]?.id !== page.steps[0]?.id;
    if (known >= 0) {
      this.steps = [...page.steps, ...this.steps.slice(known + 1)];
    } else {
      this.steps = page.steps;
      this.next = page.next;
    }
    // What the newest step waits for may be another thing now; all others are as they were stored.
    if (isNew) for (const step of this.steps.slice(0, 2)) this.forget(step.id);
    else if (this.steps[0]) this.forget(this.steps[0].id);
  }

  forget(id) {
    const known = this.details.get(id);
    if (known) this.stale = { id, detail: known };
    this.details.delete(id);
    this.paths.delete(id);
    this.accounts.delete(id);
  }

  async more() {
    if (!this.next) return;
    try {
      const page = await inspect.steps(this.threadId, this.namespace, this.next);
      const known = new Set(this.steps.map((step) => step.id));
      this.steps = [...this.steps, ...page.steps.filter((step) => !known.has(step.id))];
      this.next = page.next;
    } catch (error) {
      fail(error);
    }
    changed();
  }

  choose(id) {
    if (this.chosen !== id) this.edits = null;
    if (id !== null && id !== this.following?.step) this.following = null;
    this.chosen = id;
    this.want();
  }

  // Asks for what is not here yet of the step that is shown.
  want() {
    const id = this.shown;
    if (!id || this.details.has(id)) return;
    this.details.set(id, null);
    this.paths.set(id, null);
    while (this.details.size > KEPT) {
      const [oldest] = this.details.keys();
      this.details.delete(oldest);
      this.paths.delete(oldest);
      this.accounts.delete(oldest);
    }
    inspect.step(this.threadId, id, this.namespace).then(
      (detail) => this.got(this.details, id, detail),
      (error) => this.got(this.details, id, { problem: error.message }),
    );
    inspect.path(this.threadId, id, this.namespace).then(
      (path) => this.got(this.paths, id, path),
      () => this.got(this.paths, id, null),
    );
  }

  // Asks for the account of the step that is shown, once its panel is open.
  account() {
    const id = this.shown;
    if (id && !this.accounts.has(id)) {
      this.accounts.set(id, null);
      inspect.explanation(this.threadId, id, this.namespace).then(
        (account) => this.got(this.accounts, id, account),
        (error) => this.got(this.accounts, id, { problem: error.message }),
      );
    }
    return this.accounts.get(id) ?? null;
  }

  got(place, id, value) {
    if (this.closed) return;
    place.set(id, value);
    changed();
  }

  // Reads the newest steps again when something has happened in the session, at most every now and then.
  watch(session) {
    const now = `${session.run}/${session.running}/${session.waiting.length}/${session.running ? session.seq : ""}`;
    if (now === this.seen) return;
    const isFirst = this.seen === "";
    this.seen = now;
    if (!isFirst) this.refresh();
  }

  refresh() {
    if (this.timer) return;
    this.timer = setTimeout(() => {
      this.timer = null;
      if (!this.closed) this.load();
    }, REFRESH_MS);
  }

  async showAll(name) {
    const { shown } = this;
    try {
      const value = await inspect.value(this.threadId, shown, this.namespace, name);
      this.full.set(`${shown}/${name}`, value.type === "text" ? JSON.parse(value.text) : value.text);
    } catch (error) {
      fail(error);
    }
    changed();
  }

  // Messages before those that are shown.
  async earlier(name, end) {
    const { shown } = this;
    const key = `${shown}/${name}`;
    try {
      const page = await inspect.messages(this.threadId, shown, this.namespace, name, end);
      const known = this.full.get(key);
      this.full.set(key, { begins: page.begins, messages: [...page.messages, ...(known?.messages ?? [])] });
    } catch (error) {
      fail(error);
    }
    changed();
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
    this.events?.stop();
  }
}
