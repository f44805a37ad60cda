// What a turn waits for: approvals of tool calls, questions of tools and servers, limits. Each is answered in the page.

import { humanName, pretty } from "../format.js";
import { icons } from "../icons.js";
import { html, nothing } from "../lib.js";
import { changed, fail } from "../state.js";
import { safe } from "./tools.js";

const drafts = new WeakMap(); // a question -> what the person has put together so far

export function questionCard(question, session) {
  if (!drafts.has(question)) drafts.set(question, { decisions: new Map(), open: new Map(), text: "", chosen: {} });
  const draft = drafts.get(question);
  const payload = question.payload;
  const answer = (value) => session.reply(question.id, value);
  if (Array.isArray(payload?.action_requests)) return approval(payload, draft, answer, session.busy);
  switch (payload?.type) {
    case "ask_user_question":
      return asked(payload, draft, answer, session.busy);
    case "limit_reached":
      return limit(payload, answer, session.busy);
    case "mcp_elicitation":
      return elicitation(payload, draft, answer, session.busy);
    default:
      return anything(payload, draft, answer, session.busy);
  }
}

function card(icon, title, body) {
  return html`<section class="card question" aria-label=${title}><h3>${icon}<span>${title}</span></h3>${body}</section>`;
}

// Approvals: of our own agents (`tool_approval`), and of LangChain's human-in-the-loop middleware.

function approval(payload, draft, answer, busy) {
  const isOwn = payload.type === "tool_approval";
  const requests = payload.action_requests;
  const send = async () => {
    const decisions = requests.map((_, at) => draft.decisions.get(at));
    if (await answer(isOwn ? decisions : { decisions })) return;
    draft.decisions.clear(); // it was refused, or the connection was lost: the buttons come back
    changed();
  };
  const decide = (at, decision) => {
    draft.decisions.set(at, decision);
    draft.open.delete(at);
    if (draft.decisions.size === requests.length) send();
    changed();
  };
  const title = requests.length === 1 ? "Approval needed" : `${requests.length} approvals needed`;
  return card(
    icons.shield,
    title,
    html`${requests.map((request, at) => requestView(request, at, payload, draft, (decision) => decide(at, decision), busy, isOwn))}
    ${requests.length > 1 && draft.decisions.size === 0 && requests.every((each) => allowedFor(each, payload, isOwn).includes("approve"))
      ? html`<div class="row end">
          <button
            type="button"
            ?disabled=${busy}
            @click=${() => {
              for (const at of requests.keys()) if (!draft.decisions.has(at)) draft.decisions.set(at, { type: "approve" });
              send();
            }}
          >
            Approve all
          </button>
        </div>`
      : nothing}`,
  );
}

function allowedFor(request, payload, isOwn) {
  const config = payload.review_configs?.find((each) =>
    isOwn ? each.tool_call_id === request.tool_call_id : each.action_name === request.name,
  );
  return config?.allowed_decisions ?? ["approve", "edit", "reject"];
}

function requestView(request, at, payload, draft, decide, busy, isOwn) {
  const args = request.arguments ?? request.args ?? {};
  const allowed = allowedFor(request, payload, isOwn);
  const done = draft.decisions.get(at);
  const open = draft.open.get(at);
  const toggle = (kind) => {
    if (open?.kind === kind) draft.open.delete(at);
    else draft.open.set(at, { kind, text: kind === "edit" ? JSON.stringify(args, null, 2) : "", problem: "" });
    changed();
    requestAnimationFrame(() => document.getElementById(`decide-${request.tool_call_id ?? at}`)?.focus());
  };
  return html`<div class="request" data-request=${request.name}>
    <p class="what"><strong>${humanName(request.name)}</strong>${request.description ? html`<span class="faint">${request.description}</span>` : nothing}</p>
    <dl class="args">${Object.entries(args).map(([name, value]) => html`<div><dt>${name}</dt><dd>${typeof value === "string" ? value : JSON.stringify(value)}</dd></div>`)}</dl>
    ${done
      ? html`<p class="faint">Decided: ${done.type}</p>`
      : html`<div class="row">
          ${allowed.includes("approve") ? html`<button type="button" class="solid" ?disabled=${busy} @click=${() => decide({ type: "approve" })}>${icons.check}<span>Approve</span></button>` : nothing}
          ${allowed.includes("edit") ? html`<button type="button" aria-expanded=${String(open?.kind === "edit")} ?disabled=${busy} @click=${() => toggle("edit")}>Edit</button>` : nothing}
          ${allowed.includes("reject") ? html`<button type="button" class="danger" aria-expanded=${String(open?.kind === "reject")} ?disabled=${busy} @click=${() => toggle("reject")}>Reject</button>` : nothing}
          ${allowed.includes("respond") ? html`<button type="button" class="quiet" aria-expanded=${String(open?.kind === "respond")} ?disabled=${busy} @click=${() => toggle("respond")}>Answer instead</button>` : nothing}
        </div>`}
    ${open && !done ? opened(request, at, open, decide, busy, isOwn) : nothing}
  </div>`;
}

const OPENED = {
  edit: { label: "Arguments as JSON", button: "Approve with these" },
  reject: { label: "Why? The model reads this; it may be empty", button: "Reject" },
  respond: { label: "Result that the model is given in place of the tool's", button: "Send this result" },
};

function opened(request, at, open, decide, busy, isOwn) {
  const { label, button } = OPENED[open.kind];
  const submit = (event) => {
    event.preventDefault();
    open.problem = "";
    if (open.kind === "edit") {
      try {
        const value = JSON.parse(open.text);
        if (typeof value !== "object" || value === null || Array.isArray(value)) throw new Error("arguments are an object in braces");
        decide(isOwn ? { type: "edit", updated_input: value } : { type: "edit", edited_action: { name: request.name, args: value } });
      } catch (error) {
        open.problem = `This is not valid: ${error.message}`;
        changed();
      }
    } else if (open.kind === "reject") {
      const words = open.text.trim();
      decide({ type: "reject", ...(words ? { [isOwn ? "reason" : "message"]: words } : {}) });
    } else {
      decide({ type: "respond", [isOwn ? "response_text" : "message"]: open.text });
    }
  };
  const id = `decide-${request.tool_call_id ?? at}`;
  return html`<form class="stack" @submit=${submit}>
    <label for=${id}>${label}</label>
    <textarea id=${id} class=${open.kind === "edit" ? "mono" : ""} rows=${open.kind === "edit" ? 6 : 2} spellcheck=${open.kind === "edit" ? "false" : "true"} .value=${open.text} @input=${(event) => (open.text = event.target.value)}></textarea>
    ${open.problem ? html`<p class="note failed" role="alert">${open.problem}</p>` : nothing}
    <div class="row"><button type="submit" class=${open.kind === "reject" ? "danger solid" : "solid"} ?disabled=${busy}>${button}</button></div>
  </form>`;
}

// Questions of tools.

function asked(payload, draft, answer, busy) {
  const several = payload.questions;
  const questions = several ?? [payload.question];
  const submit = (event) => {
    event.preventDefault();
    const values = questions.map((each, at) => valueOf(each, draft.chosen[at]));
    answer(several ? Object.fromEntries(several.map((each, at) => [each.id, values[at]])) : { answer: values[0] });
  };
  return card(
    icons.question,
    questions.length === 1 ? questions[0].question : "Questions",
    html`<form class="stack" @submit=${submit}>
      ${questions.map((each, at) => ask(each, at, draft, questions.length > 1))}
      <div class="row"><button type="submit" class="solid" ?disabled=${busy}>Answer</button></div>
    </form>`,
  );
}

const isMany = (question) => question.multi_select ?? question.multiSelect ?? false;
const valueOf = (question, chosen) => (isMany(question) ? [...(chosen ?? [])].join(", ") : (chosen ?? ""));

function ask(question, at, draft, isOneOfSeveral) {
  const many = isMany(question);
  const pick = (value, on) => {
    if (!many) draft.chosen[at] = value;
    else {
      const set = (draft.chosen[at] ??= new Set());
      if (on) set.add(value);
      else set.delete(value);
    }
  };
  return html`<fieldset>
    <legend class=${isOneOfSeveral ? "" : "unseen"}>${question.header ?? question.question}</legend>
    ${question.description ? html`<p class="faint">${question.description}</p>` : nothing}
    ${question.options?.length
      ? question.options.map(
          (option) =>
            html`<label class="option"
              ><input type=${many ? "checkbox" : "radio"} name="option-${at}" ?required=${!many} @change=${(event) => pick(option.value, event.target.checked)} /><span
                >${option.label}${option.description ? html`<span class="faint">${option.description}</span>` : nothing}</span
              ></label
            >`,
        )
      : html`<textarea rows="2" aria-label=${question.question} required @input=${(event) => (draft.chosen[at] = event.target.value)}></textarea>`}
  </fieldset>`;
}

// Limits of runs.

function limit(payload, answer, busy) {
  const suggested = Number((payload.allowed * 2).toPrecision(3)) || 1;
  return card(
    icons.warning,
    "A limit is reached",
    html`<p>${humanName(payload.limit)}: ${payload.used} of ${payload.allowed} are used.</p>
      <form
        class="row"
        @submit=${(event) => {
          event.preventDefault();
          answer({ type: "raise", to: Number(new FormData(event.target).get("to")) });
        }}
      >
        <label>Raise to <input type="number" name="to" min=${payload.allowed} step="any" value=${suggested} required /></label>
        <button type="submit" class="solid" ?disabled=${busy}>Raise</button>
        <button type="button" ?disabled=${busy} @click=${() => answer({ type: "end" })}>End the turn</button>
      </form>`,
  );
}

// Questions of MCP servers.

function elicitation(payload, draft, answer, busy) {
  const fields = Object.entries(payload.requestedSchema?.properties ?? {});
  const needed = new Set(payload.requestedSchema?.required ?? []);
  const submit = (event) => {
    event.preventDefault();
    const content = {};
    for (const [name, schema] of fields) {
      const input = event.target.elements[name];
      if (schema.type === "boolean") content[name] = input.checked;
      else if (input.value !== "") content[name] = ["number", "integer"].includes(schema.type) ? Number(input.value) : input.value;
    }
    answer(payload.mode === "url" ? { action: "accept" } : { action: "accept", content });
  };
  return card(
    icons.question,
    `${payload.server ?? "A server"} asks`,
    html`<form class="stack" @submit=${submit}>
      <p>${payload.message}</p>
      ${payload.url ? html`<p><a href=${safe(payload.url)} target="_blank" rel="noopener noreferrer">${payload.url}</a></p>` : nothing}
      ${fields.map(([name, schema]) => field(name, schema, needed.has(name)))}
      <div class="row">
        <button type="submit" class="solid" ?disabled=${busy}>Accept</button>
        <button type="button" ?disabled=${busy} @click=${() => answer({ action: "decline" })}>Decline</button>
        <button type="button" class="quiet" ?disabled=${busy} @click=${() => answer({ action: "cancel" })}>Cancel</button>
      </div>
    </form>`,
  );
}

function field(name, schema, isNeeded) {
  const label = schema.title ?? humanName(name);
  const described = schema.description ? html`<span class="faint">${schema.description}</span>` : nothing;
  if (schema.type === "boolean") return html`<label class="option"><input type="checkbox" name=${name} ?checked=${schema.default === true} /><span>${label}${described}</span></label>`;
  const choices = schema.enum ?? schema.oneOf?.map((each) => each.const);
  if (choices) {
    const titles = schema.enumNames ?? schema.oneOf?.map((each) => each.title) ?? choices;
    return html`<label class="stack"><span>${label}</span>${described}<select name=${name} ?required=${isNeeded}>${choices.map((each, at) => html`<option value=${each}>${titles[at]}</option>`)}</select></label>`;
  }
  const type = ["number", "integer"].includes(schema.type) ? "number" : schema.format === "email" ? "email" : "text";
  return html`<label class="stack"><span>${label}</span>${described}<input type=${type} step="any" name=${name} ?required=${isNeeded} value=${schema.default ?? ""} /></label>`;
}

// Anything else that a graph asks by `interrupt()`: the answer is text, or JSON if it is written as such.

function anything(payload, draft, answer, busy) {
  const submit = (event) => {
    event.preventDefault();
    const text = draft.text.trim();
    if (/^[[{"]|^(true|false|null|-?\d+(\.\d+)?)$/.test(text)) {
      try {
        answer(JSON.parse(text));
        return;
      } catch (error) {
        if (/^[[{]/.test(text)) {
          fail(new Error(`The answer looks like JSON and is none: ${error.message}`));
          return;
        }
      }
    }
    answer(draft.text);
  };
  return card(
    icons.question,
    "The graph asks",
    html`${typeof payload === "string" ? html`<p>${payload}</p>` : html`<pre tabindex="0">${pretty(payload)}</pre>`}
      <form class="stack" @submit=${submit}>
        <textarea rows="2" aria-label="Answer, as text or JSON" placeholder="Answer, as text or JSON" @input=${(event) => (draft.text = event.target.value)}></textarea>
        <div class="row"><button type="submit" class="solid" ?disabled=${busy}>Answer</button></div>
      </form>`,
  );
}
