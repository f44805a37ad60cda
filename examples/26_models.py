"""Models: options, retries that respect the provider, a fallback, time limits, a rate limit.

Prints::

    log: The model 'gpt-5-mini' failed (status 429): attempt 2 of 3
    seed 7; gpt-5-mini answered: Tides follow the moon.
    log: The model 'gpt-5-mini' failed (status 503): attempt 2 of 3
    log: The model 'gpt-5-mini' failed (status 503): attempt 3 of 3
    seed 7; gpt-4.1-mini answered: The moon pulls at the sea.
"""

import asyncio
import re
from collections.abc import Mapping
from typing import Any

from stategraph import AgentInputs, AgentRuntime, Fallback, ModelOptions, ModelRetry, ModelTimeouts, RateLimit
from stategraph.testing import Failure, FakeOpenAIServer


def told(event: str, log: Mapping[str, Any], metadata: object, graph: object) -> None:
    if log["scope"] == "model":
        # Without the class of the client's error and the pause, so that every run prints the same.
        print("log:", re.sub(r"(?<=\()\w+, | in [\d.]+ s$", "", log["message"]))


async def main() -> None:
    replies: dict[str, list[Failure | str]] = {
        "gpt-5-mini": [Failure(429, retry_after_s=0.01), "Tides follow the moon.", *[Failure(503)] * 3],
        "gpt-4.1-mini": ["The moon pulls at the sea."],
    }
    with FakeOpenAIServer(by_model=replies) as server:
        # Without base_url and api_key: OpenAI itself, with the key of the environment.
        options = ModelOptions(seed=7, api_key="sk-example-key", base_url=server.base_url)
        agent = AgentInputs(
            agent_id="assistant",
            model="openai:gpt-5-mini",
            model_options=options,
            fallbacks=(Fallback(model="openai:gpt-4.1-mini", model_options=options),),
            model_retry=ModelRetry(max_attempts=3, initial_interval_s=0.01),
            model_timeouts=ModelTimeouts(first_token_s=30, between_tokens_s=20, total_s=300),
            model_rate_limit=RateLimit(requests_per_minute=6000, burst=10),
        )
        async with AgentRuntime(custom_handlers={"on_agent_log": told}, return_content=True) as runtime:
            for number in ("1", "2"):
                run = await runtime.create_run(run_id=number, agents=[agent])
                parts = await run.process_stream({"messages": [("user", "Why are there tides?")]})
                sent = server.requests[-1].body
                assert parts is not None
                print(f"seed {sent['seed']}; {sent['model']} answered: {parts[0]['text']}")


asyncio.run(main())
