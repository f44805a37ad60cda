// The content of an answer, made from the events of its run: parts in the order in which they began.
//
// Parts are those of stored answers (`text`, `think`, `tool_call`, ...), so that what streams and what is read later are
// shown alike. A tool call is found by its id, also among parts that were stored by an earlier process.

export class Content {
  constructor(parts = []) {
    this.parts = parts;
    this.steps = new Map(); // id of a step -> { part, calls by position }
    this.status = "running";
    this.usage = null;
  }

  apply(event, data) {
    APPLY[event]?.(this, data);
  }

  // Another turn has begun although this one waits: its calls will not run.
  leave() {
    if (this.status !== "interrupted") return;
    this.status = "completed";
    for (const part of this.parts) if (part.state === "running") part.state = "cancelled";
  }

  callPart(id) {
    return this.parts.find((part) => part.type === "tool_call" && part.tool_call.id === id);
  }

  add(part) {
    this.parts.push(part);
    return part;
  }
}

function open(content, data) {
  const step = { part: null, calls: [], agent: data.agentId ?? null, status: "running" };
  content.steps.set(data.id, step);
  if (data.stepDetails.type !== "tool_calls") return;
  for (const call of data.stepDetails.tool_calls ?? []) step.calls.push(callOf(content, step, call));
}

function callOf(content, step, call) {
  const known = call.id ? content.callPart(call.id) : undefined;
  if (known) return known;
  const args = typeof call.args === "object" && Object.keys(call.args ?? {}).length === 0 ? "" : (call.args ?? "");
  return content.add({
    type: "tool_call",
    tool_call: { id: call.id, name: call.name, args },
    agentId: step.agent,
    state: "running",
  });
}

function append(content, data) {
  const step = content.steps.get(data.id);
  if (!step) return;
  for (const piece of [data.delta.content].flat()) {
    if (piece.type !== "text" && piece.type !== "think") {
      if (piece.type) content.add({ ...piece, agentId: step.agent });
      continue;
    }
    if (step.part?.type !== piece.type) step.part = content.add({ type: piece.type, [piece.type]: "", agentId: step.agent });
    step.part[piece.type] += piece[piece.type] ?? "";
  }
}

function fragments(content, data) {
  const step = content.steps.get(data.id);
  if (!step || data.delta.type !== "tool_calls") return;
  for (const piece of data.delta.tool_calls ?? []) {
    const part = (piece.id && content.callPart(piece.id)) || step.calls[piece.index] || step.calls.at(-1);
    if (!part || part.state !== "running") continue;
    if (data.delta.auth) part.auth = data.delta.auth;
    if (typeof part.tool_call.args === "string") part.tool_call.args += piece.args ?? "";
  }
}

function complete(content, data) {
  const { result } = data;
  if (result.type === "summary") {
    content.add({ type: "summary", ...result.summary });
    return;
  }
  const call = result.tool_call;
  const part = content.callPart(call.id) ?? callOf(content, { agent: null }, call);
  part.tool_call = { ...part.tool_call, ...call };
  part.state = call.outcome ?? "done";
}

function close(content, data) {
  const step = content.steps.get(data.id);
  if (!step) return;
  step.status = data.status;
  if (step.part) step.part.closed = true;
  for (const part of step.calls) if (part.state === "running") part.state = data.status === "completed" ? "done" : data.status;
}

function progress(content, data) {
  const part = content.callPart(data.toolCallId);
  if (part) part.progress = { done: data.progress, total: data.total, message: data.message };
}

function subagent(content, data) {
  const part = content.callPart(data.parentToolCallId);
  if (!part) return;
  const helper = (part.subagent ??= { name: data.subagentType, text: "", tools: [], state: "running" });
  if (data.phase === "message_delta") {
    for (const piece of [data.data?.delta?.content ?? []].flat()) helper.text += piece.text ?? "";
  } else if (data.phase === "run_step_completed") {
    helper.tools.push(data.data?.result?.tool_call?.name ?? "tool");
  } else if (data.phase === "stop" || data.phase === "error") {
    helper.state = data.phase === "stop" ? "done" : "failed";
  }
}

const APPLY = {
  on_run_step: open,
  on_message_delta: append,
  on_reasoning_delta: append,
  on_run_step_delta: fragments,
  on_run_step_completed: complete,
  on_run_step_closed: close,
  on_tool_progress: progress,
  on_subagent_update: subagent,
  on_output: (content, data) => content.add({ type: "output", output: data, agentId: data.agentId }),
  on_output_refused: (content, data) => content.add({ type: "refused", problems: data.problems, agentId: data.agentId }),
  on_custom_event: (content, data) => content.add({ type: "custom", name: data.name, data: data.data }),
  on_summarize_complete: (content, data) => data.error && content.add({ type: "refused", problems: [data.error] }),
  on_gap: (content) => {
    content.gap = true;
  },
  on_run_end: (content, data) => {
    content.status = data.status;
    content.reason = data.reason;
    content.usage = data.usage ?? content.usage;
    content.error = data.error ?? null;
    for (const part of content.parts) if (part.state === "running" && data.status !== "interrupted") part.state = data.status;
  },
};
