"""An agent of AutoGen with a tool; each conversation has one of its own."""

import os

from autogen_agentchat.agents import AssistantAgent
from autogen_core.models import ModelFamily, ModelInfo
from autogen_ext.models.openai import OpenAIChatCompletionClient


async def weather(city: str) -> str:
    """Say how the weather is in a city."""
    return f"sunny in {city}"


client = OpenAIChatCompletionClient(
    model="fake",
    base_url=os.environ["MODEL_URL"],
    api_key=os.environ["MODEL_KEY"],
    max_retries=0,
    include_name_in_message=False,
    stream_options={"include_usage": True},
    model_info=ModelInfo(
        vision=False,
        function_calling=True,
        json_output=True,
        family=ModelFamily.UNKNOWN,
        structured_output=False,
        multiple_system_messages=True,
    ),
)


def agent() -> AssistantAgent:
    """Say how the weather is."""
    return AssistantAgent(
        "forecaster",
        client,
        tools=[weather],
        description="Says how the weather is.",
        reflect_on_tool_use=True,
        model_client_stream=True,
    )


shared = agent()
