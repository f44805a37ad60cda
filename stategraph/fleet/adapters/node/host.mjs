// Serves an agent of Mastra over A2A 1.0, in Mastra's environment: the host of `stategraph.fleet.adapters` for Node.
//
//   node host.mjs mastra path/of/module.mjs:attribute --name NAME [--port N] [--host ADDRESS] [--url URL] [--drain S]
//
// The same interface as the hosts of Python: `/`, the card with an ETag, `/health`, `/statistics`, draining at SIGTERM,
// the token in STATEGRAPH_ADAPTER_TOKEN. `@a2a-js/sdk` is found beside the agent's module, as Mastra is.

import { createServer } from "node:http";
import { createHash, timingSafeEqual } from "node:crypto";
import { createRequire } from "node:module";
import { isIP } from "node:net";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { Counter, masked } from "./counting.mjs";
import { Conversations } from "./mastra.mjs";
import { executorOf } from "./executor.mjs";
import { KeptTasks } from "./tasks.mjs";

const READY = "stategraph adapter ready ";
const TOKEN_VARIABLE = "STATEGRAPH_ADAPTER_TOKEN";
const LEAST_TOKEN = 16;
const CARD = "/.well-known/agent-card.json";
const CARD_MAX_AGE_S = 30;
const MOST_BYTES = 10 * 1024 * 1024;
const UNUSABLE = 2;

class AdapterError extends Error {}

// Standard output is for the line that says that the agent is ready; frameworks print.
const out = process.stdout.write.bind(process.stdout);
process.stdout.write = process.stderr.write.bind(process.stderr);

function options() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      name: { type: "string", default: "" },
      host: { type: "string", default: "127.0.0.1" },
      port: { type: "string", default: "0" },
      url: { type: "string", default: "" },
      drain: { type: "string", default: "30" },
      conversations: { type: "string", default: "1000" },
      "with-parent": { type: "boolean", default: false },
    },
  });
  const [framework, target] = positionals;
  if (framework !== "mastra" || !target) {
    throw new AdapterError("expected: node host.mjs mastra path/of/module.mjs:attribute");
  }
  const colon = target.lastIndexOf(":");
  if (colon < 1 || colon === target.length - 1) {
    throw new AdapterError(`The agent '${target}' is no path; expected 'path/of/module.mjs:attribute'`);
  }
  const token = process.env[TOKEN_VARIABLE] ?? "";
  delete process.env[TOKEN_VARIABLE];
  const isLocal = values.host === "localhost" || values.host === "::1" || (isIP(values.host) === 4 && values.host.startsWith("127."));
  if (token && token.length < LEAST_TOKEN) {
    throw new AdapterError(`The token of ${TOKEN_VARIABLE} is short; expected ${LEAST_TOKEN} characters or more`);
  }
  if (!token && !isLocal) {
    throw new AdapterError(`Other machines reach '${values.host}', and nothing says who may ask: set ${TOKEN_VARIABLE}, or listen at 127.0.0.1`);
  }
  return { ...values, token, file: resolve(target.slice(0, colon)), attribute: target.slice(colon + 1) };
}

async function loaded({ file, attribute }) {
  let found;
  try {
    found = (await import(pathToFileURL(file).href))[attribute];
  } catch (error) {
    throw new AdapterError(`'${file}' cannot be imported: ${error.name}: ${error.message}`);
  }
  if (found === undefined) throw new AdapterError(`'${file}' has no export '${attribute}'`);
  if (typeof found.stream !== "function" || typeof found.generate !== "function") {
    throw new AdapterError(`'${attribute}' of '${file}' is no Agent of Mastra: it has no stream and generate`);
  }
  const near = createRequire(file);
  try {
    return { agent: found, sdk: near("@a2a-js/sdk/server"), version: near("@mastra/core/package.json").version };
  } catch (error) {
    throw new AdapterError(`'@a2a-js/sdk' or '@mastra/core' is not installed beside '${file}': ${error.message}`);
  }
}

async function cardOf(agent, name, url, version, token) {
  const said = typeof agent.getDescription === "function" ? agent.getDescription() : "";
  let tools = {};
  try {
    tools = (await agent.listTools?.()) ?? {};
  } catch (error) {
    console.error(`The agent's tools cannot be listed, and are not in its card: ${error.message}`);
  }
  const skill = (id, description) => ({ id, name: id, description: description || id, tags: ["mastra"], examples: [], inputModes: [], outputModes: [], securityRequirements: [] });
  const skills = Object.entries(tools).map(([id, tool]) => skill(id, tool?.description));
  const description = said || `An agent of mastra ${version}`;
  return {
    name,
    description,
    version,
    supportedInterfaces: [{ url, protocolBinding: "JSONRPC", tenant: "", protocolVersion: "1.0" }],
    provider: undefined,
    capabilities: { streaming: true, pushNotifications: false, extensions: [], extendedAgentCard: false },
    securitySchemes: token ? { bearer: { httpAuthSecurityScheme: { scheme: "bearer" } } } : {},
    securityRequirements: token ? [{ schemes: { bearer: { list: [] } } }] : [],
    defaultInputModes: ["text/plain", "application/json"],
    defaultOutputModes: ["text/plain", "application/json"],
    skills: skills.length ? skills : [skill(name, description)],
    signatures: [],
  };
}

function answer(response, status, body, headers = {}) {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  response.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(text), ...headers });
  response.end(text);
}

async function bodyOf(request) {
  const chunks = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size > MOST_BYTES) return null;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

async function stream(response, events) {
  let isOpen = true;
  response.on("close", () => (isOpen = false));
  const iterator = events[Symbol.asyncIterator]();
  const first = await iterator.next();
  response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-cache", connection: "keep-alive" });
  for (let next = first; !next.done && isOpen; next = await iterator.next()) {
    response.write(`data: ${JSON.stringify(next.value)}\n\n`);
  }
  response.end();
}

function mayAsk(request, token) {
  if (!token) return true;
  const [scheme, given = ""] = (request.headers.authorization ?? "").split(" ");
  const digest = (text) => createHash("sha256").update(text).digest();
  return scheme.toLowerCase() === "bearer" && timingSafeEqual(digest(given.trim()), digest(token));
}

class Host {
  constructor(agent, sdk, card, settings) {
    this.sdk = sdk;
    this.settings = settings;
    this.isDraining = false;
    this.counter = new Counter();
    this.about = { agent: card.name, framework: "mastra", version: card.version };
    this.conversations = new Conversations(agent, Number(settings.conversations));
    this.executor = executorOf(sdk, this.conversations, this.counter);
    this.card = card;
    this.cardText = "";
    this.handler = new sdk.DefaultRequestHandler(card, new KeptTasks(), this.executor);
    this.transport = new sdk.JsonRpcTransportHandler(this.handler);
  }

  async handle(request, response) {
    const { pathname } = new URL(request.url, "http://agent");
    const isPublic = pathname === CARD || pathname === "/health";
    if (!isPublic && !mayAsk(request, this.settings.token)) {
      answer(response, 401, { error: "A token is needed: Authorization: Bearer TOKEN" }, { "www-authenticate": "Bearer" });
    } else if (this.isDraining && pathname !== "/statistics") {
      answer(response, 503, { error: "The agent is stopping" }, { "retry-after": "5" });
    } else if (request.method === "GET" && pathname === CARD) {
      this.answerCard(request, response);
    } else if (request.method === "GET" && pathname === "/health") {
      answer(response, 200, { status: "ok", framework: "mastra", version: this.about.version });
    } else if (request.method === "GET" && pathname === "/statistics") {
      answer(response, 200, { ...this.about, ...this.counter.statistics(), conversations: this.conversations.size });
    } else if (request.method === "POST" && pathname === "/") {
      await this.call(request, response);
    } else {
      answer(response, 404, { error: `There is nothing at ${request.method} ${pathname}` });
    }
  }

  answerCard(request, response) {
    const etag = `W/"${createHash("sha256").update(this.cardText).digest("hex")}"`;
    const headers = { etag, "cache-control": `public, max-age=${CARD_MAX_AGE_S}` };
    const kept = (request.headers["if-none-match"] ?? "").split(",").map((each) => each.trim().replace(/^W\//, ""));
    if (kept.includes("*") || kept.includes(etag.slice(2))) {
      response.writeHead(304, headers);
      response.end();
    } else {
      answer(response, 200, this.cardText, headers);
    }
  }

  async call(request, response) {
    const text = await bodyOf(request);
    if (text === null) return answer(response, 413, { error: `The body is larger than ${MOST_BYTES} bytes` }, { connection: "close" });
    let body;
    try {
      body = JSON.parse(text);
    } catch {
      return answer(response, 200, { jsonrpc: "2.0", id: null, error: { code: -32700, message: "The body is no JSON" } });
    }
    const told = (error) => ({ jsonrpc: "2.0", id: body?.id ?? null, error: this.sdk.JsonRpcTransportHandler.mapToJSONRPCError(error) });
    try {
      const context = this.sdk.defaultServerCallContextBuilder({
        extensions: undefined,
        user: new this.sdk.UnauthenticatedUser(),
        headers: {},
        requestedVersion: request.headers["a2a-version"],
      });
      this.sdk.validateVersion(context.requestedVersion, this.card, "JSONRPC");
      const result = await this.transport.handle(body, context);
      if (typeof result?.[Symbol.asyncIterator] === "function") await stream(response, result);
      else answer(response, 200, result);
    } catch (error) {
      if (response.headersSent) response.destroy(error);
      else answer(response, 200, told(error));
    }
  }
}

async function main() {
  const settings = options();
  const { agent, sdk, version } = await loaded(settings);
  const server = createServer();
  await new Promise((done, failed) => {
    server.once("error", (error) => failed(new AdapterError(`Nothing can listen at ${settings.host}:${settings.port}: ${error.message}. Choose another port`)));
    server.listen(Number(settings.port), settings.host, done);
  });
  const shown = { "0.0.0.0": "127.0.0.1", "::": "::1" }[settings.host] ?? settings.host;
  const local = `http://${shown.includes(":") ? `[${shown}]` : shown}:${server.address().port}`;
  const card = await cardOf(agent, settings.name || settings.attribute, settings.url || local, version, settings.token);
  const host = new Host(agent, sdk, card, settings);
  host.cardText = JSON.stringify(sdkCard(sdk, card, settings.file));
  server.on("request", (request, response) => {
    host.handle(request, response).catch((error) => {
      console.error(error);
      if (response.headersSent) response.destroy();
      else answer(response, 500, { error: masked(`${error.name}: ${error.message}`) });
    });
  });
  stopping(host, server, Number(settings.drain), settings["with-parent"]);
  out(`${READY}${JSON.stringify({ url: settings.url || local, local, pid: process.pid })}\n`);
}

// The card in the protocol's JSON: the SDK's own writer, which knows the names of its oneofs.
function sdkCard(sdk, card, file) {
  const types = createRequire(file)("@a2a-js/sdk");
  const written = types.AgentCard?.toJSON ? types.AgentCard.toJSON(card) : card;
  if (card.securityRequirements.length) {
    written.securitySchemes = card.securitySchemes;
    written.securityRequirements = card.securityRequirements;
  }
  return written;
}

function stopping(host, server, drainS, withParent) {
  let hurry = false;
  const stop = async () => {
    if (host.isDraining) {
      hurry = true;
      return;
    }
    host.isDraining = true;
    const end = performance.now() + drainS * 1000;
    while (host.counter.active && !hurry && performance.now() < end) await new Promise((done) => setTimeout(done, 50));
    await host.executor.stopAll("The agent was stopped before the turn ended");
    server.close();
    setTimeout(() => server.closeAllConnections(), 1000).unref();
    server.closeIdleConnections();
    setTimeout(() => process.exit(0), 3000).unref();
    server.on("close", () => process.exit(0));
  };
  process.on("SIGTERM", stop);
  process.on("SIGINT", stop);
  if (withParent) {
    process.stdin.resume();
    process.stdin.on("end", stop);
    process.stdin.on("error", stop);
  }
}

main().catch((error) => {
  console.error(error instanceof AdapterError ? error.message : error);
  process.exit(error instanceof AdapterError ? UNUSABLE : 1);
});
