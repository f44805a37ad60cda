"""An agent of Semantic Kernel with a plugin."""

import os
from typing import Annotated

from openai import AsyncOpenAI
from semantic_kernel.agents import ChatCompletionAgent
from semantic_kernel.connectors.ai.open_ai import OpenAIChatCompletion
from semantic_kernel.functions import kernel_function


class Weather:
    @kernel_function(name="weather", description="Say how the weather is in a city.")
    def weather(self, city: Annotated[str, "The city"]) -> str:
        return f"sunny in {city}"


client = AsyncOpenAI(base_url=os.environ["MODEL_URL"], api_key=os.environ["MODEL_KEY"], max_retries=0)
agent = ChatCompletionAgent(
    service=OpenAIChatCompletion(ai_model_id="fake", async_client=client),
    name="Forecaster",
    instructions="You say how the weather is.",
    plugins=[Weather()],
)
