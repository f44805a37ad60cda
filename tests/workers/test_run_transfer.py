"""What a host says about a run, on its way to a worker."""

from __future__ import annotations

from stategraph import AgentInputs, Fallback, ModelOptions, ModelRetry, ModelTimeouts, RateLimit, RunConfig
from stategraph.workers.agents import run_transfer


def test_settings_of_models_reach_a_worker_as_they_are() -> None:
    agent = AgentInputs(
        agent_id="a",
        model="openai:gpt-x",
        model_options=ModelOptions(api_key="sk-test-key", stop=("END",)),
        fallbacks=("openai:gpt-y", Fallback(provider="openai", client_options={"model": "m"})),
        model_retry=ModelRetry(max_attempts=5),
        model_timeouts=ModelTimeouts(first_token_s=3),
        model_rate_limit=RateLimit(requests_per_minute=4),
    )
    config = RunConfig.of({"run_id": "r", "graph_config": {"agents": [agent]}})
    data = run_transfer.as_data(config)
    assert isinstance(data["graph_config"]["agents"][0]["model_retry"], dict)
    assert RunConfig.of(data).graph_config.agents[0] == agent
