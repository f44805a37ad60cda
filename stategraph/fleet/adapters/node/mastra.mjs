// Conversations with an agent of Mastra. With a memory, the agent has the thread named by the `contextId`; without one,
// the host remembers what was said. A turn that fails or is cancelled is forgotten where the host remembers.

import { written } from "./shape.mjs";

const MOST_MESSAGES = 200;
const RESOURCE = "stategraph";

export class Conversations {
  #agent;
  #most;
  #open = new Map();

  constructor(agent, most) {
    this.#agent = agent;
    this.#most = most;
  }

  get size() {
    return this.#open.size;
  }

  // Yields the facts of a turn, once the turns of the conversation before it are over.
  async *ask(contextId, message, signal) {
    const kept = this.#open.get(contextId) ?? { history: [], last: Promise.resolve(), users: 0 };
    this.#open.delete(contextId);
    this.#open.set(contextId, kept);
    kept.users += 1;
    const before = kept.last;
    let release;
    kept.last = new Promise((done) => (release = done));
    try {
      await before;
      signal.throwIfAborted();
      yield* this.#turn(contextId, kept, message, signal);
    } finally {
      release();
      kept.users -= 1;
      this.#shrink();
    }
  }

  async *#turn(contextId, kept, message, signal) {
    const { message: said, losses } = written(message);
    if (Object.keys(losses).length) yield { kind: "losses", counts: losses };
    const remembers = await this.#agent.hasOwnMemory?.();
    const options = { abortSignal: signal };
    if (remembers) options.memory = { thread: contextId, resource: RESOURCE };
    const result = await this.#agent.stream(remembers ? [said] : [...kept.history, said], options);
    for await (const chunk of result.fullStream) {
      yield* factsOf(chunk);
    }
    signal.throwIfAborted();
    if (!remembers) {
      const answered = (await result.response)?.messages ?? [];
      kept.history.push(said, ...answered);
      forget(kept.history);
    }
  }

  #shrink() {
    for (const [contextId, kept] of this.#open) {
      if (this.#open.size <= this.#most) return;
      if (!kept.users) this.#open.delete(contextId);
    }
  }
}

// Forgets the oldest messages; the first that stays is a user's.
function forget(history) {
  if (history.length <= MOST_MESSAGES) return;
  const users = history.flatMap((each, at) => (each.role === "user" ? [at] : []));
  history.splice(0, users.find((at) => history.length - at <= MOST_MESSAGES) ?? users.at(-1) ?? 0);
}

function* factsOf(chunk) {
  const said = chunk.payload ?? {};
  switch (chunk.type) {
    case "text-delta":
      yield { kind: "said", text: said.text ?? "" };
      break;
    case "reasoning-delta":
      yield { kind: "reasoning", text: said.text ?? "" };
      break;
    case "tool-call": {
      const { __mastraMetadata, ...input } = said.args ?? {};
      yield { kind: "call", id: said.toolCallId, name: said.toolName, arguments: input };
      break;
    }
    case "tool-result":
      yield { kind: "result", callId: said.toolCallId, name: said.toolName, content: text(said.result), isError: said.isError === true };
      break;
    case "tool-error":
      yield { kind: "result", callId: said.toolCallId, name: said.toolName, content: text(said.error), isError: true };
      break;
    case "tool-call-approval":
    case "tool-call-suspended":
      yield { kind: "question", text: `The tool '${said.toolName}' waits for a decision`, value: said.suspendPayload ?? said.args ?? null };
      break;
    case "file":
      yield { kind: "file", mediaType: said.mimeType ?? "", data: said.data };
      break;
    case "step-finish": {
      const used = said.output?.usage;
      if (used) yield { kind: "usage", sent: used.inputTokens ?? 0, received: used.outputTokens ?? 0 };
      break;
    }
    case "error":
      throw said.error instanceof Error ? said.error : new Error(text(said.error?.message ?? said.error));
    default:
  }
}

function text(value) {
  if (value instanceof Error) return value.message;
  return typeof value === "string" ? value : (JSON.stringify(value) ?? "");
}
