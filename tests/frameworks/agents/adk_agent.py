"""An agent of Google's Agent Development Kit with a tool."""

import os

from google.adk.agents import LlmAgent
from google.adk.models.lite_llm import LiteLlm


def weather(city: str) -> str:
    """Say how the weather is in a city."""
    return f"sunny in {city}"


agent = LlmAgent(
    name="forecaster",
    model=LiteLlm(
        model="openai/fake",
        api_base=os.environ["MODEL_URL"],
        api_key=os.environ["MODEL_KEY"],
        num_retries=0,
        stream_options={"include_usage": True},
    ),
    description="Says how the weather is.",
    instruction="You say how the weather is.",
    tools=[weather],
)
