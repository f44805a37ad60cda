"""Names of the semantic conventions for generative AI, and our own.

The conventions: https://opentelemetry.io/docs/specs/semconv/gen-ai/.

The package with these names, `opentelemetry-semantic-conventions`, calls them incubating: it may rename its modules in
any release. So they are written here, and a test compares them with that package.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

Operation: TypeAlias = Literal[
    "chat", "text_completion", "execute_tool", "invoke_agent", "invoke_workflow", "retrieval"
]
"""The values of `gen_ai.operation.name` that occur here."""

OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
CONVERSATION: Final = "gen_ai.conversation.id"
WORKFLOW: Final = "gen_ai.workflow.name"
AGENT_ID: Final = "gen_ai.agent.id"
AGENT_NAME: Final = "gen_ai.agent.name"

REQUEST_MODEL: Final = "gen_ai.request.model"
REQUEST_STREAM: Final = "gen_ai.request.stream"
RESPONSE_MODEL: Final = "gen_ai.response.model"
RESPONSE_ID: Final = "gen_ai.response.id"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
TIME_TO_FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"

INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
CACHE_READ_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
CACHE_CREATION_TOKENS: Final = "gen_ai.usage.cache_creation.input_tokens"
REASONING_TOKENS: Final = "gen_ai.usage.reasoning.output_tokens"
TOKEN_TYPE: Final = "gen_ai.token.type"

TOOL_NAME: Final = "gen_ai.tool.name"
TOOL_TYPE: Final = "gen_ai.tool.type"
TOOL_DESCRIPTION: Final = "gen_ai.tool.description"
TOOL_CALL_ID: Final = "gen_ai.tool.call.id"

# Content: recorded only on request.
INPUT_MESSAGES: Final = "gen_ai.input.messages"
OUTPUT_MESSAGES: Final = "gen_ai.output.messages"
TOOL_DEFINITIONS: Final = "gen_ai.tool.definitions"
TOOL_ARGUMENTS: Final = "gen_ai.tool.call.arguments"
TOOL_RESULT: Final = "gen_ai.tool.call.result"
QUERY: Final = "gen_ai.retrieval.query.text"

ERROR_TYPE: Final = "error.type"

# Of tools of MCP servers.
MCP_METHOD: Final = "mcp.method.name"
MCP_PROTOCOL: Final = "mcp.protocol.version"
NETWORK_TRANSPORT: Final = "network.transport"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
RPC_STATUS: Final = "rpc.response.status_code"

STOP_SEQUENCES: Final = "gen_ai.request.stop_sequences"
CHOICES: Final = "gen_ai.request.choice.count"
REQUEST_PARAMETERS: Final = {
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "top_k": "gen_ai.request.top_k",
    "max_tokens": "gen_ai.request.max_tokens",
    "max_completion_tokens": "gen_ai.request.max_tokens",
    "max_output_tokens": "gen_ai.request.max_tokens",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "presence_penalty": "gen_ai.request.presence_penalty",
    "seed": "gen_ai.request.seed",
    "n": CHOICES,
    "stop": STOP_SEQUENCES,
    "stop_sequences": STOP_SEQUENCES,
}
"""Attributes by the names that clients of providers have for their parameters; no other parameter is recorded."""

PROVIDERS: Final = {
    "amazon_bedrock": "aws.bedrock",
    "azure": "azure.ai.openai",
    "azureopenai": "azure.ai.openai",
    "azure_ai": "azure.ai.inference",
    "bedrock": "aws.bedrock",
    "google": "gcp.gemini",
    "google_genai": "gcp.gemini",
    "google_vertexai": "gcp.vertex_ai",
    "ibm": "ibm.watsonx.ai",
    "mistral": "mistral_ai",
    "mistralai": "mistral_ai",
    "vertexai": "gcp.vertex_ai",
    "xai": "x_ai",
}
"""Values of `gen_ai.provider.name` by what LangChain calls a provider; others have the same name in both."""

# Metrics of the conventions, and the limits of their buckets.
TOKEN_USAGE: Final = "gen_ai.client.token.usage"
OPERATION_DURATION: Final = "gen_ai.client.operation.duration"
FIRST_CHUNK: Final = "gen_ai.client.operation.time_to_first_chunk"
TOKEN_BUCKETS: Final = tuple(float(4**power) for power in range(14))
DURATION_BUCKETS: Final = tuple(round(0.01 * 2**power, 2) for power in range(14))
FIRST_CHUNK_BUCKETS: Final = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
)

# What has no name in the conventions.
RUN_ID: Final = "stategraph.run.id"
RUN_STATUS: Final = "stategraph.run.status"
NODE: Final = "stategraph.node.name"
STEP: Final = "stategraph.node.step"
ENDED_BY: Final = "stategraph.ended_by"
"""Why a span ended without a result and without an error: `interrupt`, `command` or `cancellation`."""
SAVE_OPERATION: Final = "stategraph.checkpoint.operation"
SAVE_DURATION: Final = "stategraph.checkpoint.duration"
QUEUE_DURATION: Final = "stategraph.queue.duration"
QUEUED: Final = "stategraph.run.queued"
"""Seconds that a run waited for a worker."""
SAVE_BUCKETS: Final = (0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
