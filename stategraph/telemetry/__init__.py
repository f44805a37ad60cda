"""OpenTelemetry: spans and metrics of runs, agents, models and tools, by the semantic conventions for generative AI.

`Telemetry` holds what is to be measured. It is given to a run (`RunConfig.telemetry`, `AgentRuntime(telemetry=...)`),
to any graph as a callback handler (`Telemetry().handler()`), or to all graphs of a block of code
(`Telemetry().listening()`).

It listens at ports: LangChain's callbacks, `GraphRunHandler` of the engine, the listeners of agents, `RunTelemetry` of
runs. It never patches anybody, and must never be imported by what it measures. OpenTelemetry is imported when something
is measured for the first time.
"""

from stategraph.telemetry.settings import Telemetry

__all__ = ("Telemetry",)
