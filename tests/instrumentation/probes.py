"""Runs the program under one instrumentation and prints the spans that it made, as JSON.

    python -m tests.instrumentation.probes sentry

Rules
-----
* The instrumentation is set up the way its own documentation says, before the program is imported.
* Nothing leaves the process: spans are collected in memory, or taken from where the tracer hands them to its exporter.
* A span is ``id``, ``parent`` (an id or None), ``name``, ``status`` and ``attributes``.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

Span = dict[str, Any]
Scene = Callable[[], Any]


def _each(spans_of: Callable[[Scene], list[Span]], own_span: Callable[[str], Any]) -> dict[str, list[Span]]:
    """Play the scenes of the program, which is imported now.

    Args:
        spans_of: Plays a scene and returns its spans.
        own_span: How a program opens a span of its own with this instrumentation.
    """
    program: Any = import_module("tests.instrumentation.program")
    program.own_span = own_span
    return {name: spans_of(scene) for name, scene in program.SCENES.items()}


def _in_memory(instrumentor: Callable[[Any], None]) -> dict[str, list[Span]]:
    """Collect what an instrumentation for OpenTelemetry tells."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentor(provider)

    def spans_of(scene: Scene) -> list[Span]:
        exporter.clear()
        scene()
        return [_otel_span(span) for span in exporter.get_finished_spans()]

    return _each(spans_of, provider.get_tracer("scenes").start_as_current_span)


def _otel_span(span: Any) -> Span:
    return {
        "id": span.context.span_id,
        "parent": span.parent.span_id if span.parent else None,
        "name": span.name,
        "status": f"{span.status.status_code.name} {[event.name for event in span.events]}",
        "attributes": dict(span.attributes or {}),
    }


def opentelemetry() -> dict[str, list[Span]]:
    def instrument(provider: Any) -> None:
        from opentelemetry.instrumentation.langchain import LangchainInstrumentor

        LangchainInstrumentor().instrument(tracer_provider=provider)

    return _in_memory(instrument)


def openinference() -> dict[str, list[Span]]:
    def instrument(provider: Any) -> None:
        from openinference.instrumentation.langchain import LangChainInstrumentor

        LangChainInstrumentor().instrument(tracer_provider=provider)

    return _in_memory(instrument)


def sentry() -> dict[str, list[Span]]:
    import sentry_sdk
    from sentry_sdk.integrations.langchain import LangchainIntegration
    from sentry_sdk.integrations.langgraph import LanggraphIntegration

    told: list[Any] = []

    def keep(event: Any, hint: Any) -> None:
        told.append(event)

    sentry_sdk.init(
        dsn="http://key@127.0.0.1:9/1",
        traces_sample_rate=1.0,
        send_default_pii=True,
        before_send_transaction=keep,
        default_integrations=False,
        integrations=[LangchainIntegration(), LanggraphIntegration()],
    )

    def spans_of(scene: Scene) -> list[Span]:
        told.clear()
        with sentry_sdk.start_transaction(name="scene", op="scene"):
            scene()
        return [span for event in told for span in _sentry_spans(event)]

    return _each(spans_of, lambda name: sentry_sdk.start_span(name=name))


def _sentry_spans(event: Any) -> list[Span]:
    root = event["contexts"]["trace"]
    spans = [{"id": root["span_id"], "parent": None, "name": event["transaction"], "status": "", "attributes": {}}]
    for span in event["spans"]:
        spans.append(
            {
                "id": span["span_id"],
                "parent": span["parent_span_id"],
                "name": f"{span.get('op')}: {span.get('description')}",
                "status": str(span.get("status")),
                "attributes": span.get("data", {}),
            }
        )
    return spans


def ddtrace() -> dict[str, list[Span]]:
    os.environ.update(DD_TRACE_AGENT_URL="http://127.0.0.1:9", DD_INSTRUMENTATION_TELEMETRY_ENABLED="false")
    import ddtrace as dd  # type: ignore[import-not-found,unused-ignore]
    from ddtrace.trace import TraceFilter, tracer  # type: ignore[import-not-found,unused-ignore]

    told: list[Any] = []

    class Keep(TraceFilter):  # type: ignore[misc,unused-ignore]
        def process_trace(self, trace: Any) -> None:
            told.extend(trace)

    tracer.configure(trace_processors=[Keep()])
    dd.patch(langgraph=True, langchain=True, raise_errors=True)

    def spans_of(scene: Scene) -> list[Span]:
        told.clear()
        with tracer.trace("scene"):
            scene()
        return [_dd_span(span) for span in told]

    return _each(spans_of, tracer.trace)


def _dd_span(span: Any) -> Span:
    tags = {key: value for key, value in span.get_tags().items() if not key.startswith(("_dd", "runtime-id"))}
    return {
        "id": span.span_id,
        "parent": span.parent_id,
        "name": f"{span.name}: {span.resource}",
        "status": f"error={span.error}",
        "attributes": {key: value for key, value in tags.items() if key != "error.stack"},
    }


def ddtrace_llm() -> dict[str, list[Span]]:
    os.environ.update(
        DD_TRACE_AGENT_URL="http://127.0.0.1:9",
        DD_LLMOBS_OVERRIDE_ORIGIN="http://127.0.0.1:9",
        DD_INSTRUMENTATION_TELEMETRY_ENABLED="false",
    )
    from ddtrace.llmobs import LLMObs  # type: ignore[import-not-found,unused-ignore]

    told: list[Any] = []
    LLMObs.enable(ml_app="scenes", agentless_enabled=True, api_key="0" * 32, site="example.invalid")
    LLMObs._instance._llmobs_span_writer.enqueue = told.append

    def spans_of(scene: Scene) -> list[Span]:
        told.clear()
        with LLMObs.workflow(name="scene"):
            scene()
        names = {event["span_id"]: event["name"] for event in told}
        return [_llm_span(event, names) for event in told]

    return _each(spans_of, lambda name: LLMObs.task(name=name))


def _llm_span(event: Any, names: dict[str, str]) -> Span:
    """A span of LLM Observability; its links are told by the names of the spans that they lead to."""
    links = [
        (names.get(link["span_id"], "elsewhere"), link["attributes"]["from"], link["attributes"]["to"])
        for link in event.get("span_links", ())
    ]
    return {
        "id": event["span_id"],
        "parent": event["parent_id"],
        "name": event["name"],
        "status": str(event["status"]),
        "attributes": {"meta": event["meta"], "links": sorted(links)},
    }


def newrelic() -> dict[str, list[Span]]:
    os.environ.update(
        NEW_RELIC_DEVELOPER_MODE="true",
        NEW_RELIC_AI_MONITORING_ENABLED="true",
        NEW_RELIC_LICENSE_KEY="0" * 40,
        NEW_RELIC_APP_NAME="scenes",
        NEW_RELIC_STARTUP_TIMEOUT="10",
        NEW_RELIC_LOG_LEVEL="critical",
    )
    import newrelic.agent as agent  # type: ignore[import-not-found,unused-ignore]

    agent.initialize()
    application = agent.register_application(timeout=10)
    from newrelic.core.stats_engine import StatsEngine  # type: ignore[import-not-found,unused-ignore]
    from newrelic.core.transaction_node import TransactionNode  # type: ignore[import-not-found,unused-ignore]

    told: list[TransactionNode] = []
    original = StatsEngine.record_transaction

    def record(self: Any, transaction: Any) -> None:
        told.append(transaction)
        original(self, transaction)

    StatsEngine.record_transaction = record

    def spans_of(scene: Scene) -> list[Span]:
        told.clear()
        with agent.BackgroundTask(application, name="scene"):
            scene()
        spans: list[Span] = []
        for transaction in told:
            _nr_spans(transaction.root, None, spans)
            for event in transaction.custom_events.samples:
                kind, attributes = event[0]["type"], event[1]
                spans.append(
                    {"id": len(spans), "parent": None, "name": kind, "status": "", "attributes": dict(attributes)}
                )
        return spans

    return _each(spans_of, lambda name: agent.FunctionTrace(name))


def _nr_spans(node: Any, parent: int | None, spans: list[Span]) -> None:
    number = len(spans)
    name = f"{type(node).__name__}: {getattr(node, 'group', '')}/{getattr(node, 'name', '')}"
    spans.append({"id": number, "parent": parent, "name": name, "status": "", "attributes": {}})
    for child in node.children:
        _nr_spans(child, number, spans)


def mlflow() -> dict[str, list[Span]]:
    os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", MLFLOW_ENABLE_ASYNC_TRACE_LOGGING="false")
    import mlflow as ml  # type: ignore[import-not-found,unused-ignore]

    with tempfile.TemporaryDirectory(prefix="mlflow-") as folder:
        ml.set_tracking_uri(f"sqlite:///{folder}/tracking.db")
        experiment = ml.create_experiment("scenes", artifact_location=f"file://{folder}/artifacts")
        ml.set_experiment(experiment_id=experiment)
        ml.langchain.autolog()
        seen: set[str] = set()

        def spans_of(scene: Scene) -> list[Span]:
            scene()
            ml.flush_trace_async_logging()
            found = ml.search_traces(locations=[experiment], return_type="list", max_results=1000)
            traces = sorted((t for t in found if t.info.trace_id not in seen), key=lambda t: t.info.request_time)
            seen.update(trace.info.trace_id for trace in traces)
            return [span for trace in traces for span in _mlflow_spans(trace)]

        return _each(spans_of, ml.start_span)


def _mlflow_spans(trace: Any) -> list[Span]:
    info = trace.info
    described = {
        "tags": _of_the_trace(info.tags),
        "metadata": _of_the_trace(info.trace_metadata),
        "request": info.request_preview,
        "response": info.response_preview,
    }
    spans = [{"id": info.trace_id, "parent": None, "name": "trace", "status": str(info.state), "attributes": described}]
    for span in trace.data.spans:
        events = [[event.name, dict(event.attributes)] for event in span.events]
        spans.append(
            {
                "id": span.span_id,
                "parent": span.parent_id or info.trace_id,
                "name": f"{span.span_type}: {span.name}",
                "status": str(span.status),
                "attributes": {**span.attributes, "events": events},
            }
        )
    return spans


def _of_the_trace(labels: dict[str, str]) -> dict[str, str]:
    """Leave out the labels that tell the machine, and sizes: they count what stack traces have of the engine."""
    untold = ("mlflow.source.", "mlflow.user", "mlflow.artifactLocation", "mlflow.trace.size")
    return {key: value for key, value in labels.items() if not key.startswith(untold)}


PROBES = {
    "opentelemetry": opentelemetry,
    "openinference": openinference,
    "sentry": sentry,
    "ddtrace": ddtrace,
    "ddtrace-llm": ddtrace_llm,
    "newrelic": newrelic,
    "mlflow": mlflow,
}


def main() -> int:
    told = PROBES[sys.argv[1]]()
    sys.stdout.flush()
    Path(sys.argv[2]).write_text(json.dumps(told, default=str), encoding="utf-8")
    # The agents of some instrumentations wait at exit for servers that are not there.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
