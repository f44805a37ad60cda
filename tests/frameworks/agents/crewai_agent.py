"""An agent of CrewAI with a tool, and a crew of it."""

import os

from crewai import LLM, Agent, Crew, Task
from crewai.tools import tool


@tool("weather")
def weather(city: str) -> str:
    """Say how the weather is in a city."""
    return f"sunny in {city}"


agent = Agent(
    role="Forecaster",
    goal="Say how the weather is",
    backstory="You know the sky.",
    llm=LLM(model="openai/gpt-4o", base_url=os.environ["MODEL_URL"], api_key=os.environ["MODEL_KEY"], max_retries=0),
    tools=[weather],
    max_retry_limit=0,
)
crew = Crew(
    agents=[agent],
    tasks=[Task(description="{history} Answer: {message}", expected_output="An answer", agent=agent)],
)
