"""An agent of LangChain's `create_agent`, without a checkpointer: the host remembers the conversation."""

import os

from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI


@tool
def weather(city: str) -> str:
    """Say how the weather is in a city."""
    return f"sunny in {city}"


model = ChatOpenAI(
    model="fake",
    base_url=os.environ["MODEL_URL"],
    api_key=os.environ["MODEL_KEY"],
    max_retries=0,
    stream_usage=True,
)
agent = create_agent(model, [weather], system_prompt="You say how the weather is.")
chain = model
