"""The spans of a run: agents, models and tools, and a span of the program below its tool.

Prints::

    invoke_workflow travel
      invoke_agent desk
        chat scripted: 30 tokens in, 9 out
        execute_tool find_train
          look into the timetable
        chat scripted: 48 tokens in, 6 out
    The agent used 78 tokens in, 15 out.
    Content in the spans: none
"""

import asyncio

from langchain_core.tools import tool
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from stategraph import AgentInputs, create_run
from stategraph.telemetry import Telemetry
from stategraph.testing import ScriptedChatModel, call, reply

exporter = InMemorySpanExporter()  # a program sends its spans to a collector: BatchSpanProcessor(OTLPSpanExporter())
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
tracer = provider.get_tracer("travel")


@tool
def find_train(city: str) -> str:
    """Find a train to a city."""
    with tracer.start_as_current_span("look into the timetable"):
        return f"To {city} at nine."


model = ScriptedChatModel(
    replies=[
        reply(call("find_train", city="Rome"), usage=(30, 9)),
        reply("There is a train at nine.", usage=(48, 6)),
    ]
)


def show(span: ReadableSpan, depth: int = 0) -> None:
    about = span.attributes or {}
    tokens = ""
    if span.name.startswith("chat"):
        tokens = f": {about['gen_ai.usage.input_tokens']!s} tokens in, {about['gen_ai.usage.output_tokens']!s} out"
    print("  " * depth + span.name + tokens)
    for each in sorted(exporter.get_finished_spans(), key=lambda each: each.start_time or 0):
        if each.parent is not None and span.context is not None and each.parent.span_id == span.context.span_id:
            show(each, depth + 1)


async def main() -> None:
    agent = AgentInputs(agent_id="desk", model=model, tools=[find_train])
    telemetry = Telemetry(workflow="travel", tracer_provider=provider)
    run = await create_run(run_id="trip", agents=[agent], telemetry=telemetry)
    await run.process_stream({"messages": [("user", "When can I go to Rome?")]})
    spans = exporter.get_finished_spans()
    show(next(span for span in spans if span.parent is None))
    used = next(span for span in spans if span.name == "invoke_agent desk").attributes or {}
    print(
        f"The agent used {used['gen_ai.usage.input_tokens']!s} tokens in, {used['gen_ai.usage.output_tokens']!s} out."
    )
    said = [span for span in spans if "Rome" in span.to_json()]
    print(f"Content in the spans: {said or 'none'}")


asyncio.run(main())
