// The events of a run, as they come; pieces of one message or call are told together.

import { html, nothing } from "../lib.js";
import { changed } from "../state.js";
import { readEvents } from "./api.js";
import { register } from "./panels.js";

const MOST = 400; // rows that are shown, the newest

register({ id: "events", title: "Events", view });

class Events {
  constructor(run) {
    this.run = run;
    this.rows = [];
    this.left = 0;
    this.status = "reading";
    this.abort = new AbortController();
    this.read();
  }

  async read() {
    try {
      const status = await readEvents(this.run, (event, data, seq) => this.add(event, data, seq), this.abort.signal);
      this.status = status === 200 ? "ended" : status === 404 ? "gone" : "failed";
    } catch {
      this.status = this.abort.signal.aborted ? "ended" : "failed";
    }
    changed();
  }

  add(event, data, seq) {
    const last = this.rows.at(-1);
    const text = textOf(event, data);
    if (last && text !== null && last.event === event && last.of === (data.id ?? null)) {
      last.text += text;
      last.count += 1;
      last.to = seq;
    } else {
      this.rows.push({ event, seq, to: seq, of: data.id ?? null, text: text ?? JSON.stringify(data, null, 2), count: 1, isText: text !== null });
      if (this.rows.length > MOST) {
        this.rows.shift();
        this.left += 1;
      }
    }
    changed();
  }

  stop() {
    this.abort.abort();
  }
}

// The piece of a text that an event brings; null for other events.
function textOf(event, data) {
  if (!event.endsWith("_delta")) return null;
  const pieces = [data.delta?.content ?? data.delta?.tool_calls ?? []].flat();
  const texts = pieces.map((piece) => piece?.text ?? piece?.think ?? piece?.args ?? null);
  return texts.length && texts.every((text) => typeof text === "string") ? texts.join("") : null;
}

function view({ step, inspection }) {
  const run = inspection.following?.run ?? step.run;
  if (!run) return html`<p class="faint">It is not known which run made this step.</p>`;
  if (inspection.events?.run !== run) {
    inspection.events?.stop();
    inspection.events = new Events(run);
  }
  const { rows, left, status } = inspection.events;
  if (status === "gone") {
    return html`<p class="faint">The events of the run <code>${run}</code> are not kept any more: it is one of an earlier start of the server, or ended long ago. Its steps are here all the same.</p>`;
  }
  return html`<p class="faint">
      Run <code>${run}</code>${status === "reading" ? html` · <span class="pulse"></span> goes on` : status === "failed" ? " · the connection was lost" : ""}
      ${left ? ` · ${left} earlier rows are not shown` : nothing}
    </p>
    <ol class="events">
      ${rows.map(
        (row) => html`<li>
          <details>
            <summary><code>${row.event}</code><span class="faint">${row.count > 1 ? `${row.seq}–${row.to}` : row.seq}</span><span class="brief">${row.text.slice(0, 160)}</span></summary>
            <pre class="value" tabindex="0">${row.text}</pre>
          </details>
        </li>`,
      )}
    </ol>`;
}
