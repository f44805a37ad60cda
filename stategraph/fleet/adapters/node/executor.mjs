// Turns as tasks of A2A 1.0, by the rules of `stategraph/fleet/adapters/executor.py`.

import { randomUUID } from "node:crypto";
import { masked } from "./counting.mjs";

const State = { SUBMITTED: 1, WORKING: 2, COMPLETED: 3, FAILED: 4, CANCELED: 5, INPUT_REQUIRED: 6 };
const ENDS = { completed: State.COMPLETED, failed: State.FAILED, canceled: State.CANCELED, input_required: State.INPUT_REQUIRED };
const ROLE_AGENT = 2;
const KIND = "stategraph.dev/part";
const CANCELED = "canceled";

export function executorOf(sdk, conversations, counter) {
  const { AgentEvent } = sdk;
  const running = new Map();

  async function execute(context, bus) {
    const { taskId, contextId, userMessage } = context;
    if (!context.task) {
      bus.publish(AgentEvent.task({ id: taskId, contextId, status: status(State.SUBMITTED), artifacts: [], history: [userMessage], metadata: undefined }));
    }
    const abort = new AbortController();
    let over;
    const turn = { abort, reason: "", over: new Promise((done) => (over = done)) };
    running.set(taskId, turn);
    const told = new Told(AgentEvent, bus, taskId, contextId, counter);
    try {
      if (!userMessage?.parts?.length) throw new Error("The message has no parts");
      told.begin();
      await Promise.race([follow(conversations.ask(contextId, userMessage, abort.signal), told, abort.signal), aborted(abort.signal)]);
      told.end("completed", "");
    } catch (error) {
      if (turn.reason === CANCELED) told.end("canceled", "");
      else if (turn.reason) told.end("failed", turn.reason);
      else {
        console.error("A turn failed", error);
        told.end("failed", masked(`${error.name}: ${error.message}`));
      }
    } finally {
      running.delete(taskId);
      over();
      bus.finished();
    }
  }

  async function stop(turn, reason) {
    turn.reason ||= reason;
    turn.abort.abort(new Error(reason));
    await turn.over;
  }

  async function cancelTask(taskId, bus) {
    const turn = running.get(taskId);
    if (turn) return stop(turn, CANCELED);
    // A task that waits for an answer: nothing runs.
    bus.publish(AgentEvent.statusUpdate({ taskId, contextId: "", status: status(State.CANCELED), metadata: undefined }));
    bus.finished();
  }

  return { execute, cancelTask, stopAll: (reason) => Promise.all([...running.values()].map((turn) => stop(turn, reason))) };
}

async function follow(facts, told, signal) {
  for await (const fact of facts) {
    if (signal.aborted) return;
    told.take(fact);
  }
}

function aborted(signal) {
  return new Promise((_, failed) => signal.addEventListener("abort", () => failed(signal.reason), { once: true }));
}

function status(state, message) {
  return { state, message, timestamp: new Date().toISOString() };
}

function part(content, metadata, more = {}) {
  return { content, metadata, filename: "", mediaType: "", ...more };
}

const ofText = (text) => part({ $case: "text", value: text });
const ofData = (value, kind) => part({ $case: "data", value }, kind ? { [KIND]: kind } : undefined);

class Told {
  #usage = [0, 0];
  #losses = {};
  #textId = "";
  #question;
  #hasAnswered = false;

  constructor(AgentEvent, bus, taskId, contextId, counter) {
    Object.assign(this, { AgentEvent, bus, taskId, contextId, counter, began: counter.begin() });
  }

  begin() {
    this.#status(State.WORKING);
  }

  take(fact) {
    switch (fact.kind) {
      case "usage":
        this.#usage = [this.#usage[0] + fact.sent, this.#usage[1] + fact.received];
        this.counter.takeTokens(fact.sent, fact.received);
        return;
      case "losses":
        for (const [name, count] of Object.entries(fact.counts)) this.#losses[name] = (this.#losses[name] ?? 0) + count;
        return;
      case "question":
        this.#question = fact;
        break;
      case "said":
        if (!fact.text) return;
        this.#say(fact.text);
        break;
      case "file":
        this.#endText();
        this.#artifact(randomUUID(), "file", [part({ $case: "raw", value: Buffer.from(fact.data, "base64") }, undefined, { mediaType: fact.mediaType })], false, true);
        break;
      case "reasoning":
        this.#working({ text: fact.text }, "reasoning");
        break;
      case "call":
        this.#working({ id: fact.id, name: fact.name, arguments: fact.arguments }, "tool-call");
        break;
      case "result":
        this.#working({ callId: fact.callId, content: fact.content, name: fact.name, isError: fact.isError }, "tool-result");
        break;
      default:
        throw new Error(`unknown fact '${fact.kind}'`);
    }
    if (!this.#hasAnswered) {
      this.#hasAnswered = true;
      this.counter.first(this.began);
    }
  }

  end(end, text) {
    this.#endText();
    const metadata = {};
    if (this.#usage.some(Boolean)) metadata["stategraph.dev/usage"] = { inputTokens: this.#usage[0], outputTokens: this.#usage[1] };
    if (Object.keys(this.#losses).length) metadata["stategraph.dev/losses"] = this.#losses;
    let parts = text ? [ofText(text)] : [];
    if (end === "completed" && this.#question) {
      end = "input_required";
      parts = [ofText(this.#question.text)];
      if (this.#question.value !== null) parts.push(ofData(this.#question.value));
    }
    this.counter.end(this.began, end);
    this.#status(ENDS[end], parts.length ? this.#message(parts) : undefined, Object.keys(metadata).length ? metadata : undefined);
  }

  #working(value, kind) {
    this.#endText();
    this.#status(State.WORKING, this.#message([ofData(value, kind)]));
  }

  #say(text) {
    const isNew = !this.#textId;
    this.#textId ||= randomUUID();
    this.#artifact(this.#textId, "answer", [ofText(text)], !isNew, false);
  }

  #endText() {
    if (this.#textId) this.#artifact(this.#textId, "answer", [], true, true);
    this.#textId = "";
  }

  #message(parts) {
    return { messageId: randomUUID(), contextId: this.contextId, taskId: this.taskId, role: ROLE_AGENT, parts, metadata: undefined, extensions: [], referenceTaskIds: [] };
  }

  #status(state, message, metadata) {
    const { taskId, contextId } = this;
    this.bus.publish(this.AgentEvent.statusUpdate({ taskId, contextId, status: status(state, message), metadata }));
  }

  #artifact(artifactId, name, parts, append, lastChunk) {
    const artifact = { artifactId, name, description: "", parts, metadata: undefined, extensions: [] };
    this.bus.publish(this.AgentEvent.artifactUpdate({ taskId: this.taskId, contextId: this.contextId, artifact, append, lastChunk, metadata: undefined }));
  }
}
