// A front end's agent of `@ag-ui/client` against a server: its own checks of the order of events, its own reducer.
// Prints messages, state and errors of two turns as JSON; answers interrupts of the first with an approval.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [, , modules, url, threadId] = process.argv;
const require = createRequire(pathToFileURL(`${modules}/x.js`));
const { HttpAgent, buildResumeArray } = require("@ag-ui/client");

const agent = new HttpAgent({ url, threadId });
const kinds = [];
const subscriber = { onEvent: ({ event }) => void kinds.push(event.type) };
agent.addMessage({ id: "user-1", role: "user", content: "what is it?" });
await agent.runAgent({}, subscriber);
if (agent.pendingInterrupts.length) {
  const answers = agent.pendingInterrupts.map((each) => [each.id, { status: "resolved", payload: { approved: true } }]);
  await agent.runAgent({ resume: buildResumeArray(agent.pendingInterrupts, Object.fromEntries(answers)) }, subscriber);
}
console.log(JSON.stringify({ messages: agent.messages, state: agent.state, kinds }));
