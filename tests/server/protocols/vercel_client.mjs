// A chat of Vercel's AI SDK against a server: the transport, the stream's schema and the chat are those of the package.
// Prints the messages at the end as JSON.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [, , modules, name, api, scenario, chat_id] = process.argv;
const require = createRequire(pathToFileURL(`${modules}/x.js`));
const ai = await import(pathToFileURL(require.resolve(name)).href);

class State {
  messages = [];
  status = "ready";
  error = undefined;
  pushMessage = (message) => this.messages.push(message);
  popMessage = () => this.messages.pop();
  replaceMessage = (index, message) => (this.messages[index] = structuredClone(message));
  snapshot = (value) => structuredClone(value);
}

class Chat extends ai.AbstractChat {
  constructor(options) {
    const state = new State();
    super({ state, ...options });
    this.kept = state;
  }
}

const errors = [];
const data = [];
const make = (options = {}) =>
  new Chat({
    id: chat_id,
    transport: new ai.DefaultChatTransport({ api }),
    onError: (error) => errors.push(String(error)),
    onData: (part) => data.push(part),
    ...options,
  });

const approvals = (chat) =>
  chat.kept.messages.flatMap((each) => each.parts).filter((each) => each.state === "approval-requested");
const loaded = async () => (await (await fetch(`${api}/${chat_id}`)).json()).messages;
const texts = (messages) =>
  messages.flatMap((each) => each.parts).map((part) => [part.type, part.text, part.state, part.output]);
const idle = async (chat) => {
  for (let tries = 0; tries < 600; tries++) {
    await new Promise((done) => setTimeout(done, 50));
    if (chat.kept.status === "ready" || chat.kept.status === "error") return;
  }
  throw new Error("the chat goes on and on");
};

let chat;
switch (scenario) {
  case "talk":
    chat = make();
    await chat.sendMessage({ text: "what is it?" });
    await chat.sendMessage({ text: "and?" });
    break;
  case "regenerate":
    chat = make();
    await chat.sendMessage({ text: "what is it?" });
    await chat.regenerate();
    break;
  case "approve":
  case "reject":
    chat = make({ sendAutomaticallyWhen: ai.lastAssistantMessageIsCompleteWithApprovalResponses });
    await chat.sendMessage({ text: "delete them" });
    for (const part of approvals(chat))
      await chat.addToolApprovalResponse({ id: part.approval.id, approved: scenario === "approve", reason: "no" });
    await idle(chat);
    break;
  case "tool":
    chat = make({
      sendAutomaticallyWhen: ai.lastAssistantMessageIsCompleteWithToolCalls,
      onToolCall: ({ toolCall }) => {
        chat.addToolOutput({ tool: toolCall.toolName, toolCallId: toolCall.toolCallId, output: { answer: "yes" } });
      },
    });
    await chat.sendMessage({ text: "ask me" }, { body: { tools: { confirm: { description: "Ask.", inputSchema: {} } } } });
    await idle(chat);
    break;
  case "ask":
    chat = make();
    await chat.sendMessage({ text: "ask me" });
    await chat.sendMessage(undefined, { body: { resume: { [data.at(-1).data.id]: "blue" } } });
    break;
  case "reconnect": {
    chat = make();
    const none = await chat.transport?.reconnectToStream?.({ chatId: "nobody" });
    if (none) throw new Error("a chat without a run has a stream");
    const first = new AbortController();
    const transport = new ai.DefaultChatTransport({ api });
    const message = { id: "user-1", role: "user", parts: [{ type: "text", text: "what is it?" }] };
    const stream = await transport.sendMessages({
      chatId: chat_id, messages: [message], trigger: "submit-message", abortSignal: first.signal,
    });
    const reader = stream.getReader();
    for (let number = 0; number < 6; number++) await reader.read();
    first.abort();
    chat.messages = [message];
    await chat.resumeStream();
    break;
  }
  case "reload": {
    // A page asks, another one that is loaded later has the messages of the thread, and answers.
    const approving = { sendAutomaticallyWhen: ai.lastAssistantMessageIsCompleteWithApprovalResponses };
    await make(approving).sendMessage({ text: "delete them" });
    chat = make(approving);
    chat.messages = await loaded();
    for (const part of approvals(chat)) await chat.addToolApprovalResponse({ id: part.approval.id, approved: true });
    await idle(chat);
    const again = await loaded();
    if (JSON.stringify(texts(again)) !== JSON.stringify(texts(chat.kept.messages))) throw new Error(JSON.stringify(again));
    break;
  }
  case "resume": {
    // A page is loaded while an answer is being given.
    const leaving = new AbortController();
    const message = { id: "user-1", role: "user", parts: [{ type: "text", text: "what is it?" }] };
    const stream = await new ai.DefaultChatTransport({ api }).sendMessages({
      chatId: chat_id, messages: [message], trigger: "submit-message", abortSignal: leaving.signal,
    });
    const reader = stream.getReader();
    for (;;) if ((await reader.read()).value?.type === "tool-output-available") break;
    leaving.abort();
    chat = make();
    chat.messages = await loaded();
    await chat.resumeStream();
    break;
  }
}
console.log(JSON.stringify({ messages: chat.kept.messages, status: chat.kept.status, errors, data }));
