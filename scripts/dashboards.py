"""Write Grafana's dashboards of the fleet (`stategraph/workers/watching/files`), or say that they are not as here.

    python scripts/dashboards.py
    python scripts/dashboards.py --check

A dashboard is a row here for each panel: kind, title, unit, and what it asks Prometheus for, with the legend of each.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent.parent / "stategraph" / "workers" / "watching" / "files"

SOURCE = {"type": "prometheus", "uid": "${datasource}"}

#: Panels by kind: width and height on a grid of 24.
SIZES = {"stat": (6, 4), "timeseries": (12, 8)}


@dataclass(frozen=True)
class Panel:
    """A panel.

    Attributes:
        kind: `stat` or `timeseries`.
        title: What a person reads.
        unit: Grafana's name of the unit.
        asked: Expressions by their legends.
        meaning: A sentence about it.
    """

    kind: str
    title: str
    unit: str
    asked: dict[str, str]
    meaning: str = ""


def stat(title: str, unit: str, expr: str, meaning: str = "") -> Panel:
    return Panel("stat", title, unit, {"__auto": expr}, meaning)


def graph(title: str, unit: str, meaning: str = "", /, **asked: str) -> Panel:
    legends = {"{{" + name + "}}" if name in _LABELS else name.replace("_", " "): expr for name, expr in asked.items()}
    return Panel("timeseries", title, unit, legends, meaning)


_LABELS = {
    "queue", "state", "status", "event", "instance", "le", "http_route", "http_response_status_code",
    "stategraph_agent", "gen_ai_request_model", "gen_ai_token_type", "gen_ai_operation_name", "server_address", "unit",
}  # fmt: skip

_HTTP = "http_server_request_duration_seconds"
_RATE = "[$__rate_interval]"


def p(quantile: float, name: str, by: str = "") -> str:
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({quantile}, sum by ({labels}) (rate({name}_bucket{_RATE})))"


BOARDS: dict[str, tuple[str, list[Panel]]] = {
    "server": (
        "Server",
        [
            stat("Requests per second", "reqps", f"sum(rate({_HTTP}_count{_RATE}))"),
            stat("Answered with 5xx", "percentunit", "stategraph:http_errors:ratio5m"),
            stat("Open event streams", "short", "sum(stategraph_server_streams)"),
            stat("Requests under way", "short", "sum(http_server_active_requests)"),
            graph("Requests by route", "reqps", http_route=f"sum by (http_route) (rate({_HTTP}_count{_RATE}))"),
            graph(
                "Requests by status",
                "reqps",
                http_response_status_code=f"sum by (http_response_status_code) (rate({_HTTP}_count{_RATE}))",
            ),
            graph("Time to the first byte", "s", p50=p(0.5, _HTTP), p95=p(0.95, _HTTP), p99=p(0.99, _HTTP)),
            graph("Time to the first byte by route, p95", "s", http_route=p(0.95, _HTTP, "http_route")),
            graph("Delay of the event loop", "s", instance="max by (instance) (stategraph_event_loop_delay_seconds)"),
            graph("Memory", "bytes", instance="max by (instance) (process_resident_memory_bytes)"),
            graph("Processor", "percentunit", instance=f"sum by (instance) (rate(process_cpu_seconds_total{_RATE}))"),
            graph("Open files", "percentunit", instance="max by (instance) (process_open_fds / process_max_fds)"),
        ],
    ),
    "runs": (
        "Runs and queues",
        [
            stat("Waiting", "short", 'max(stategraph_runs{state="pending"})'),
            stat(
                "Oldest waiting",
                "s",
                "max(stategraph_runs_waiting_seconds)",
                "Scheduled runs are counted from their time on.",
            ),
            stat("Running", "short", 'max(stategraph_runs{state="running"})'),
            stat("Leases that have run out", "short", 'max(stategraph_runs{state="expired"})'),
            graph(
                "Runs by state",
                "short",
                "Those that have not ended, and all that servers count as waiting, scheduled ones too.",
                state="max by (state) (stategraph_runs)",
                waiting="max(stategraph_runs_waiting)",
            ),
            graph("Waiting by queue", "short", queue="max by (queue) (stategraph_queue_waiting)"),
            graph("Oldest waiting by queue", "s", queue="max by (queue) (stategraph_queue_oldest_seconds)"),
            graph(
                "Time in the queue",
                "s",
                "Until a run was claimed for the first time.",
                p50=p(0.5, "stategraph_run_queue_seconds"),
                p95="stategraph:run_queue_seconds:p95",
            ),
            graph(
                "Duration of runs",
                "s",
                p50=p(0.5, "stategraph_run_duration_seconds"),
                p95="stategraph:run_duration_seconds:p95",
            ),
            graph("Ended per second", "ops", status="stategraph:runs_ended:rate5m"),
            graph(
                "Taken over, lost, given back",
                "ops",
                taken_over=f"sum(rate(stategraph_worker_takeovers_total{_RATE}))",
                event=f'sum by (event) (rate(stategraph_worker_runs_total{{event=~"lost|returned|abandoned"}}{_RATE}))',
            ),
            graph(
                "Database",
                "s",
                "The time of a look at the registry, and whether all processes reach it.",
                look="max(stategraph_database_look_seconds)",
                up="min(stategraph_database_up)",
            ),
        ],
    ),
    "workers": (
        "Workers",
        [
            stat("Alive", "short", 'max(stategraph_workers{state="alive"})'),
            stat("Gone within a day", "short", 'max(stategraph_workers{state="gone"})', "Without a goodbye."),
            stat("Runs that fit", "short", "max(stategraph_workers_capacity)"),
            stat("Events that are not stored", "short", "sum(stategraph_worker_events_unsaved)"),
            graph(
                "Busy of capacity",
                "short",
                "Of workers, and of servers that execute runs themselves.",
                busy="sum(stategraph_worker_busy)",
                capacity="sum(stategraph_worker_capacity)",
                draining="sum(stategraph_worker_draining)",
            ),
            graph("Busy by process", "short", instance="max by (instance) (stategraph_worker_busy)"),
            graph("What happens to runs", "ops", event=f"sum by (event) (rate(stategraph_worker_runs_total{_RATE}))"),
            graph(
                "Events that are not stored", "short", instance="max by (instance) (stategraph_worker_events_unsaved)"
            ),
            graph("Delay of the event loop", "s", instance="max by (instance) (stategraph_event_loop_delay_seconds)"),
            graph("Memory", "bytes", instance="max by (instance) (process_resident_memory_bytes)"),
            graph("Processor", "percentunit", instance=f"sum by (instance) (rate(process_cpu_seconds_total{_RATE}))"),
            graph("Since their start", "s", instance="time() - max by (instance) (process_start_time_seconds)"),
        ],
    ),
    "router": (
        "Router and agents",
        [
            stat("Endpoints that take requests", "short", "sum(stategraph_fleet_endpoints)"),
            stat("Unhealthy", "short", "count(stategraph_fleet_healthy == 0) or vector(0)"),
            stat("Open breakers", "short", "sum(stategraph_fleet_breaker_open)"),
            stat("Requests under way", "short", "sum(stategraph_fleet_outstanding)"),
            graph(
                "Endpoints by agent", "short", stategraph_agent="max by (stategraph_agent) (stategraph_fleet_endpoints)"
            ),
            graph(
                "Under way by agent",
                "short",
                stategraph_agent="sum by (stategraph_agent) (stategraph_fleet_outstanding)",
            ),
            graph(
                "Time to the first byte, p95",
                "s",
                stategraph_agent=p(0.95, "stategraph_fleet_first_byte_seconds", "stategraph_agent"),
            ),
            graph(
                "Answers per second",
                "ops",
                stategraph_agent=f"sum by (stategraph_agent) (rate(stategraph_fleet_first_byte_seconds_count{_RATE}))",
            ),
            graph(
                "Failures per second",
                "ops",
                server_address=f"sum by (server_address, server_port) (rate(stategraph_fleet_failures_total{_RATE}))",
            ),
            graph(
                "Sent again, breakers opened",
                "ops",
                sent_again=f"sum(rate(stategraph_fleet_retries_total{_RATE}))",
                opened=f"sum(rate(stategraph_fleet_breaker_opened_total{_RATE}))",
            ),
        ],
    ),
    "models": (
        "Models and cost",
        [
            stat("Tokens per minute", "short", "60 * sum(stategraph:tokens:rate5m)"),
            stat("Tokens of a day", "short", "sum(increase(gen_ai_client_token_usage_sum[24h]))"),
            stat(
                "Spent of a day",
                "currencyUSD",
                'sum(increase(stategraph_governance_budget_spent{unit="usd"}[24h]))',
                "Where budgets are kept (docs/governance-metrics.md).",
            ),
            stat(
                "Calls per second",
                "ops",
                f'sum(rate(gen_ai_client_operation_duration_seconds_count{{gen_ai_operation_name="chat"}}{_RATE}))',
            ),
            graph(
                "Tokens per second by model",
                "short",
                gen_ai_request_model="sum by (gen_ai_request_model) (stategraph:tokens:rate5m)",
            ),
            graph(
                "Tokens per second by kind",
                "short",
                gen_ai_token_type="sum by (gen_ai_token_type) (stategraph:tokens:rate5m)",
            ),
            graph(
                "Duration of calls, p95",
                "s",
                gen_ai_request_model=p(0.95, "gen_ai_client_operation_duration_seconds", "gen_ai_request_model"),
            ),
            graph(
                "Failed calls",
                "ops",
                gen_ai_request_model="sum by (gen_ai_request_model) "
                f'(rate(gen_ai_client_operation_duration_seconds_count{{error_type!=""}}{_RATE}))',
            ),
            graph(
                "Operations per second",
                "ops",
                gen_ai_operation_name="sum by (gen_ai_operation_name) "
                f"(rate(gen_ai_client_operation_duration_seconds_count{_RATE}))",
            ),
            graph("Checkpoints, p95", "s", p95=p(0.95, "stategraph_checkpoint_duration_seconds")),
        ],
    ),
}


def board(name: str) -> dict[str, Any]:
    """Return a dashboard as Grafana imports it."""
    title, panels = BOARDS[name]
    made = []
    x = y = row = 0
    for number, panel in enumerate(panels, 1):
        width, height = SIZES[panel.kind]
        if x + width > 24:
            x, y, row = 0, y + row, 0
        made.append(_panel(number, panel, {"h": height, "w": width, "x": x, "y": y}))
        x, row = x + width, height
    variable = {
        "name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "current": {},
        "hide": 0, "options": [], "refresh": 1, "regex": "",
    }  # fmt: skip
    return {
        "title": f"{title} (stategraph)",
        "uid": f"stategraph-{name}",
        "tags": ["stategraph"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": []},
        "templating": {"list": [variable]},
        "panels": made,
    }


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    targets = [
        {"expr": expr, "legendFormat": legend, "refId": chr(ord("A") + index), "datasource": SOURCE}
        for index, (legend, expr) in enumerate(panel.asked.items())
    ]
    return {
        "id": number,
        "title": panel.title,
        "description": panel.meaning,
        "type": panel.kind,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "options": {},
        "targets": targets,
    }


def main() -> int:
    """Write the dashboards; with --check return 1 if one is not as here."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = 0
    for name in BOARDS:
        file, text = FOLDER / f"{name}.json", json.dumps(board(name), indent=2) + "\n"
        if file.exists() and file.read_text() == text:
            continue
        if check:
            stale += 1
            print(f"{file} is not what scripts/dashboards.py makes: run it", file=sys.stderr)
        else:
            file.write_text(text)
            print(f"{file.name} was written")
    return int(stale > 0)


if __name__ == "__main__":
    sys.exit(main())
