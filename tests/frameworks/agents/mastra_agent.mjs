// An agent of Mastra with a tool.

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { Agent } from "@mastra/core/agent";
import { createTool } from "@mastra/core/tools";
import { z } from "zod";

const provider = createOpenAICompatible({
  name: "fake",
  baseURL: process.env.MODEL_URL,
  apiKey: process.env.MODEL_KEY,
  includeUsage: true,
});

const weather = createTool({
  id: "weather",
  description: "Say how the weather is in a city.",
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => `sunny in ${city}`,
});

export const agent = new Agent({
  id: "forecaster",
  name: "Forecaster",
  description: "Says how the weather is.",
  instructions: "You say how the weather is.",
  model: provider("fake"),
  tools: { weather },
  maxRetries: 0,
});
