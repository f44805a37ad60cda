// An open session: its turns, the run that goes on in it, and the stream that brings the run's events.
//
// The stream is an EventSource. A connection that breaks is opened again behind the last event that came, so nothing is
// shown twice and nothing is lost; a page that is hidden lets its connection go, as browsers allow six at a time.

import { api } from "../api.js";
import { changed, fail, say, state } from "../state.js";
import { Content } from "./content.js";

const RETRY_MS = [500, 1000, 2000, 4000];

let turns = 0;

export function turnOf(stored) {
  return { key: `turn-${(turns += 1)}`, version: 0, ...stored };
}

export class Session {
  constructor(threadId) {
    this.threadId = threadId;
    this.thread = null;
    this.turns = [];
    this.waiting = [];
    this.files = [];
    this.run = null; // the newest run that is known: its id
    this.log = null; // the log that its events are numbered in, of one process of the server
    this.seq = 0; // its last event that is shown
    this.answer = null; // the turn that its events write
    this.running = false;
    this.unfinished = null; // "cut off" where the process has died, "stopped" at a breakpoint
    this.loading = threadId !== null;
    this.missing = false;
    this.connection = "closed"; // "open", "lost"
    this.draft = "";
    this.attached = [];
    this.busy = false; // a request is under way
    this.queued = null; // sends a message once the answer has come
    this.source = null;
    this.attempts = 0;
    this.loads = 0;
    this.retry = null;
    this.closed = false;
  }

  async load() {
    const number = (this.loads += 1);
    try {
      const told = await api.thread(this.threadId);
      if (this.closed || number !== this.loads) return; // a later one brings more
      this.pause(); // the stream that there is has told its events to what is replaced now
      this.take(told);
      this.connect();
    } catch (error) {
      if (this.closed || number !== this.loads) return;
      this.loading = false;
      this.missing = error.status === 404;
      if (!this.missing) {
        fail(error);
        this.later();
      }
    }
    changed();
  }

  take(told) {
    this.thread = told.thread;
    this.turns = told.turns.map(turnOf);
    this.waiting = told.waiting;
    this.files = told.files;
    this.unfinished = told.thread.status === "unfinished" ? "cut off" : null;
    this.loading = false;
    this.run = told.run?.id ?? null;
    this.log = told.run?.log ?? null;
    this.seq = 0;
    this.answer = null;
    this.running = false;
    if (!told.run) return;
    this.lastRun = told.run;
    if (told.run.followed) {
      this.begin(told.run);
    } else if (told.run.running) {
      this.goOnWith(told.run);
    } else {
      this.settle(told.run); // its answer is among the turns
    }
  }

  // A run begins: its message, and an answer to come.
  begin(run) {
    if (this.answer && this.run !== run.id) {
      this.answer.live.leave();
      this.answer.version += 1;
    }
    this.run = run.id;
    this.log = run.log;
    this.seq = 0;
    this.lastRun = run;
    this.waiting = [];
    this.unfinished = null;
    const asked = this.turns.findLast((turn) => turn.run === run.id && turn.role === "user");
    if (asked) Object.assign(asked, { pending: false });
    else if (run.content.length) this.turns.push(turnOf({ role: "user", run: run.id, content: run.content }));
    this.answer = turnOf({ role: "assistant", run: run.id, live: new Content() });
    this.turns.push(this.answer);
    this.running = run.running;
  }

  // A run of an earlier process goes on: its events belong to the last answer.
  goOnWith(run) {
    this.run = run.id;
    this.seq = 0;
    const last = this.turns.at(-1)?.role === "assistant" ? this.turns.pop() : null;
    const parts = (last?.content ?? []).filter(Boolean).map((part) => ({ ...part }));
    this.answer = turnOf({ ...last, role: "assistant", run: run.id, content: undefined, live: new Content(parts) });
    this.turns.push(this.answer);
    this.running = true;
    this.waiting = [];
  }

  // An execution is over: what it used, what it waits for, why it failed.
  settle(run) {
    const answer = this.answer ?? this.turns.findLast((turn) => turn.role === "assistant");
    this.lastRun = run;
    this.running = run.running;
    if (!run.running && (this.answer || run.waiting.length)) this.waiting = run.waiting;
    if (run.paused && !run.waiting.length) this.unfinished = "stopped";
    if (!answer) return;
    for (const [id, files] of Object.entries(run.files ?? {})) {
      const part = answer.live?.callPart(id);
      if (part) part.tool_call.files = files;
    }
    if (this.answer || run.usage?.cost !== undefined) answer.usage = run.usage ?? answer.usage;
    answer.error = run.error ?? null;
    answer.version += 1;
  }

  // Sends what was written while an answer came, now that it has come.
  release() {
    const { queued } = this;
    this.queued = null;
    if (queued && !this.running && !this.waiting.length) queued();
  }

  connect() {
    if (this.closed || this.source || document.hidden) return;
    const source = new EventSource(api.eventsPath(this.threadId, this.run && `${this.run}~${this.log}`, this.answer ? this.seq : "end"));
    this.source = source;
    source.addEventListener("open", () => {
      this.attempts = 0;
      if (this.connection === "lost") say("Connected again.");
      this.connection = "open";
      changed();
    });
    source.addEventListener("error", () => this.lost(source));
    source.addEventListener("run", (frame) => this.onRun(JSON.parse(frame.data).run));
    source.addEventListener("event", (frame) => this.onEvent(JSON.parse(frame.data)));
    source.addEventListener("paused", (frame) => this.onPaused(JSON.parse(frame.data).run));
    source.addEventListener("gone", () => this.reload());
    source.addEventListener("threads", () => state.refresh?.());
  }

  lost(source) {
    if (this.source !== source) return;
    source.close();
    this.source = null;
    if (this.closed) return;
    this.connection = "lost";
    this.later();
    changed();
  }

  later() {
    clearTimeout(this.retry);
    const wait = RETRY_MS[Math.min(this.attempts, RETRY_MS.length - 1)];
    this.attempts += 1;
    this.retry = setTimeout(() => (this.thread || this.threadId === null ? this.connect() : this.load()), wait);
  }

  // A session without a thread follows the list alone.
  listen() {
    this.loading = false;
    this.connect();
  }

  // Takes the connection up again, as when somebody looks.
  resume() {
    this.attempts = 0;
    clearTimeout(this.retry);
    if (this.threadId !== null && this.thread === null && !this.missing) this.load();
    else this.connect();
  }

  failed(error) {
    fail(error);
  }

  // Lets the connection go while nobody looks.
  pause() {
    clearTimeout(this.retry);
    this.source?.close();
    this.source = null;
  }

  close() {
    this.closed = true;
    this.pause();
  }

  async reload() {
    this.pause();
    await this.load();
  }

  onRun(run) {
    if (run.id === this.run && this.answer) return;
    // A run that this page has not seen begin, and perhaps others before it: the thread is read again.
    if ((run.previous ?? null) !== this.run || !run.content.length) {
      this.reload();
      return;
    }
    this.begin(run);
    changed();
  }

  onEvent({ run, seq, event, data }) {
    if (run !== this.run || (seq <= this.seq && event !== "on_gap")) return;
    this.seq = seq;
    if (!this.answer) return;
    const content = this.answer.live;
    if (content.status === "interrupted") {
      content.status = "running";
      this.waiting = [];
    }
    this.running = true; // until the server says that the execution is over, and takes the next message
    content.apply(event, data);
    this.answer.version += 1;
    if (event === "on_run_end") say(ENDS[data.status] ?? "");
    changed();
  }

  onPaused(run) {
    if (run.id !== this.run) return;
    const gap = this.answer?.live?.gap;
    this.settle(run);
    if (gap && !run.waiting.length) this.reload();
    changed();
    this.release();
  }

  // Commands.

  async send(text, files) {
    const runId = crypto.randomUUID?.() ?? `${Date.now()}-${Math.random().toString(36).slice(2)}`;
    const content = [...(text ? [{ type: "text", text }] : []), ...files.map((file) => file.part)];
    const asked = turnOf({ role: "user", run: runId, content, pending: true });
    this.turns.push(asked);
    this.waiting = [];
    this.busy = true;
    changed();
    try {
      if (this.threadId === null) await this.create();
      const body = { run_id: runId, text, files: files.map(({ name, type, data }) => ({ name, type, data })) };
      const run = await api.send(this.threadId, body);
      if (this.run !== runId) this.begin(run);
      this.connect();
      state.refresh?.();
    } catch (error) {
      this.turns = this.turns.filter((turn) => turn !== asked);
      throw error;
    } finally {
      this.busy = false;
      changed();
    }
  }

  async create() {
    const thread = await api.makeThread();
    this.threadId = thread.id;
    this.thread = thread;
    this.pause(); // the stream of the list; that of the thread brings both
    state.opened?.(this);
  }

  // Whether the server took the answer.
  async reply(questionId, answer) {
    return this.command(async () => {
      const run = await api.answer(this.threadId, { [questionId]: answer });
      this.waiting = this.waiting.filter((question) => question.id !== questionId);
      this.resumed(run);
      // The buttons are gone, and with them the focus.
      requestAnimationFrame(() => document.activeElement === document.body && document.getElementById("message")?.focus());
    });
  }

  async goOn() {
    await this.command(async () => this.resumed(await api.goOn(this.threadId)));
  }

  resumed(run) {
    this.unfinished = null;
    if (run.id !== this.run || run.log !== this.log || !this.answer) this.reload();
    else {
      this.running = true;
      if (this.answer.live.status === "interrupted") this.answer.live.status = "running";
    }
    this.connect();
  }

  async stop() {
    if (this.run && this.running) await this.command(() => api.stop(this.run));
  }

  async command(work) {
    this.busy = true;
    changed();
    try {
      await work();
      return true;
    } catch (error) {
      fail(error);
      return false;
    } finally {
      this.busy = false;
      changed();
    }
  }
}

const ENDS = {
  completed: "The answer is complete.",
  interrupted: "The answer waits for your decision.",
  cancelled: "The answer was stopped.",
  failed: "The answer failed.",
};
