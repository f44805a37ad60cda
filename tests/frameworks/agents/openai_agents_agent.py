"""An agent of the OpenAI Agents SDK with a tool."""

import os

from agents import Agent, ModelSettings, OpenAIChatCompletionsModel, function_tool, set_tracing_disabled
from openai import AsyncOpenAI

set_tracing_disabled(True)


@function_tool
def weather(city: str) -> str:
    """Say how the weather is in a city."""
    return f"sunny in {city}"


client = AsyncOpenAI(base_url=os.environ["MODEL_URL"], api_key=os.environ["MODEL_KEY"], max_retries=0)
agent = Agent(
    name="Forecaster",
    instructions="You say how the weather is.",
    model=OpenAIChatCompletionsModel(model="fake", openai_client=client),
    model_settings=ModelSettings(include_usage=True),
    tools=[weather],
)
