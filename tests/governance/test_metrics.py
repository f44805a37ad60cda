"""Metrics of governed actions, read as Prometheus reads them; the rules and the dashboard that ship name no others."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from prometheus_client import REGISTRY, generate_latest

from stategraph.governance.actions import ActionOutcome
from stategraph.governance.approval.port import Waiting
from stategraph.governance.audit.event import AuditEvent, AuditEventType
from stategraph.governance.audit.log import AuditStatistics
from stategraph.governance.budget.ledger import SqlBudgetLedger
from stategraph.governance.budget.port import Amounts, Tree
from stategraph.governance.context import Budget
from stategraph.governance.errors import AuditUnavailable, BudgetExceeded
from stategraph.governance.metrics import instruments
from stategraph.governance.metrics.recorder import GovernanceMetrics
from stategraph.workers.registry.databases import open_database

FILES = Path(str(resources.files("stategraph.governance.metrics") / "files"))
NAME = re.compile(r"\bstategraph_governance_\w+")
SERIES = {name for each in instruments.ALL for name in each.prometheus}


@pytest.fixture
def metrics() -> Iterator[GovernanceMetrics]:
    reader = PrometheusMetricReader()
    provider = MeterProvider([reader], resource=Resource.get_empty())
    yield GovernanceMetrics(provider)
    provider.shutdown()


def lines() -> list[str]:
    return [line for line in generate_latest(REGISTRY).decode().splitlines() if line.startswith("stategraph_")]


def value(name: str, **labels: str) -> float:
    for line in lines():
        found, _, number = line.rpartition(" ")
        if found.partition("{")[0] == name and all(f'{key}="{each}"' in found for key, each in labels.items()):
            return float(number)
    raise AssertionError(f"{name} {labels} is not in {lines()}")


class Sink:
    def __init__(self) -> None:
        self.away = False

    async def record(self, event: AuditEvent, /, *, durable: bool = False) -> None:
        self.record_sync(event)

    def record_sync(self, event: AuditEvent, /, *, durable: bool = False) -> None:
        if self.away:
            raise AuditUnavailable("away")


def event(type: str, **more: Any) -> AuditEvent:
    return AuditEvent(type, "acme", datetime.now(UTC), "1", **more)


def tell(metrics: GovernanceMetrics) -> None:
    """Have everything happen once."""
    metrics.action(ActionOutcome("completed", "ok", duration_ms=20.0), None)
    metrics.action(ActionOutcome("rejected", "no", reason="the_author_of_a_policy_wrote_this"), None)
    metrics.action(ActionOutcome("rejected", "no", reason="budget_exceeded"), None)
    sink = Sink()
    measured = metrics.sink(sink)
    measured.record_sync(event(AuditEventType.POLICY_DECIDED, decision="deny"))
    measured.record_sync(event(AuditEventType.APPROVAL_REQUESTED))
    measured.record_sync(event(AuditEventType.SECRET_ACCESSED))
    measured.record_sync(event("plugin.of.somebody"))
    asyncio.run(measured.record(event(AuditEventType.SECRET_ACCESSED)))
    sink.away = True
    with pytest.raises(AuditUnavailable):
        measured.record_sync(event(AuditEventType.ACTION_STARTED))
    with pytest.raises(AuditUnavailable):
        asyncio.run(measured.record(event(AuditEventType.ACTION_STARTED)))
    ledger = SqlBudgetLedger(open_database("sqlite:///:memory:"), observer=metrics)
    tree = Tree("r", "acme", Budget(tokens=10))
    held = ledger.reserve_sync(tree, Amounts(tokens=12), key="m")
    ledger.reserve_sync(Tree("s", "acme", Budget(tokens=10)), Amounts(tokens=3), key="m")
    ledger.settle_sync(held, Amounts(tokens=11))
    with pytest.raises(BudgetExceeded):
        ledger.reserve_sync(tree, Amounts(tokens=1), key="n")
    ledger.close()
    metrics.lapsed("tokens", 5)
    metrics.watch_audit(lambda: AuditStatistics(3, 2, 0, 0, 0, "the disk is full"))
    metrics.watch_approvals(Requests())  # type: ignore[arg-type]


class Requests:
    """Requests of all tenants."""

    def waiting(self, tenant: str | None = None, /) -> Waiting:
        assert tenant is None
        return Waiting(2, 60.0)


def test_prometheus_reads_what_was_told(metrics: GovernanceMetrics) -> None:
    tell(metrics)
    prefix = "stategraph_governance_"
    assert value(f"{prefix}actions_total", status="completed", kind="unknown", reason="none") == 1
    assert value(f"{prefix}actions_total", status="rejected", reason="policy") == 1
    assert value(f"{prefix}actions_total", status="rejected", reason="budget_exceeded") == 1
    assert value(f"{prefix}action_duration_seconds_sum", status="completed") == pytest.approx(0.02)
    assert value(f"{prefix}decisions_total", decision="deny") == 1
    assert value(f"{prefix}approvals_total", event="requested") == 1
    assert value(f"{prefix}secrets_accessed_total") == 2
    assert value(f"{prefix}audit_events_total", type="plugin", severity="info") == 1
    assert value(f"{prefix}audit_unavailable_total") == 2
    assert value(f"{prefix}budget_spent", unit="tokens") == 11
    assert value(f"{prefix}budget_reserved", unit="tokens") == 3
    assert value(f"{prefix}budget_refusals_total", unit="tokens") == 1
    assert value(f"{prefix}budget_lapses_total", unit="tokens") == 1
    assert value(f"{prefix}audit_queue") == 5
    assert value(f"{prefix}audit_away") == 1
    assert value(f"{prefix}approvals_waiting") == 2
    assert value(f"{prefix}approvals_oldest_seconds") == 60


def test_every_metric_is_shown_under_the_names_that_it_says(metrics: GovernanceMetrics) -> None:
    tell(metrics)
    shown = {line.partition("{")[0].partition(" ")[0] for line in lines()}
    assert shown - {name for name in shown if name.endswith("_created")} == SERIES


def test_the_rules_are_whole_and_name_no_metric_that_is_not_there() -> None:
    rules = yaml.safe_load((FILES / "alerts.yaml").read_text())
    (group,) = rules["groups"]
    names = [each["alert"] for each in group["rules"]]
    assert len(names) == len(set(names))
    for rule in group["rules"]:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert set(rule["annotations"]) == {"summary", "description"}
        named = set(NAME.findall(rule["expr"]))
        assert named
        assert named <= SERIES, rule["alert"]
        assert rule["expr"].count("(") == rule["expr"].count(")")


@pytest.fixture
def promtool() -> str:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool (Debian's package prometheus) is not installed")
    return program


def accepted(promtool: str, *words: str | Path) -> None:
    done = subprocess.run([promtool, *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_accepts_the_rules(promtool: str) -> None:
    accepted(promtool, "check", "rules", FILES / "alerts.yaml")


def test_promtool_accepts_what_the_dashboard_asks_for(promtool: str, tmp_path: Path) -> None:
    board = json.loads((FILES / "dashboard.json").read_text())
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    rules = [
        {"record": f"panel:{number}", "expr": expr.replace("$__rate_interval", "5m")}
        for number, expr in enumerate(asked)
    ]
    assert len(rules) == len(set(asked)) > 15
    file = tmp_path / "panels.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    accepted(promtool, "check", "rules", file)


PREFIX = "stategraph_governance_"

#: For each alert: series of one value each minute under which it is quiet, and one under which it fires by 40 minutes.
#: `_` is a minute without the series, `a+bxn` a value that grows n times.
FIRING: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "AuditUnavailable": ({"audit_unavailable_total": "0x60"}, {"audit_unavailable_total": "_x37 1x20"}),
    "AuditStorageAway": ({"audit_away": "0x36 1 0x20"}, {"audit_away": "0x30 1x30"}),
    "AuditQueueGrows": ({"audit_queue": "4000x60"}, {"audit_queue": "0x30 6000x30"}),
    "ActionsInDoubt": (
        {'actions_total{status="in_doubt"}': "3x60"},
        {'actions_total{status="in_doubt"}': "_x35 1x20"},
    ),
    "ActionsFail": (
        {'actions_total{status="failed"}': "0+1x60", 'actions_total{status="completed"}': "0+9x60"},
        {'actions_total{status="failed"}': "0+3x60", 'actions_total{status="completed"}': "0+7x60"},
    ),
    "ActionsRefused": (
        {'actions_total{status="rejected"}': "0+4x60", 'actions_total{status="completed"}': "0+6x60"},
        {'actions_total{status="rejected"}': "0+6x60", 'actions_total{status="completed"}': "0+4x60"},
    ),
    "CriticalEvents": (
        {'audit_events_total{severity="error"}': "0+1x60"},
        {'audit_events_total{severity="critical"}': "2x35 3x20"},
    ),
    "ApprovalsWait": ({"approvals_oldest_seconds": "0+10x60"}, {"approvals_oldest_seconds": "0+60x60"}),
    "ApprovalsPile": ({"approvals_waiting": "900x60"}, {"approvals_waiting": "1100x60"}),
    "BudgetsUsedUp": (
        {'budget_refusals_total{unit="usd"}': "0+1x60"},
        {'budget_refusals_total{unit="usd"}': "0+2x60"},
    ),
    "ReservationsLapse": (
        {'budget_lapses_total{unit="usd"}': "1x60"},
        {'budget_lapses_total{unit="usd"}': "_x20 1x40"},
    ),
}


def test_each_alert_fires_when_it_should_and_is_quiet_otherwise(promtool: str, tmp_path: Path) -> None:
    rules = yaml.safe_load((FILES / "alerts.yaml").read_text())["groups"][0]["rules"]
    assert {each["alert"] for each in rules} == {f"Stategraph{name}" for name in FIRING}
    tests = []
    for name, cases in FIRING.items():
        for series, samples in zip(cases, ([], [{"labels": "{}", "value": 1}]), strict=True):
            tests.append(
                {
                    "name": name,
                    "interval": "1m",
                    "input_series": [{"series": PREFIX + key, "values": values} for key, values in series.items()],
                    "promql_expr_test": [
                        {
                            "expr": f'count(ALERTS{{alertname="Stategraph{name}",alertstate="firing"}})',
                            "eval_time": "40m",
                            "exp_samples": samples,
                        }
                    ],
                }
            )
    file = tmp_path / "tests.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(FILES / "alerts.yaml")], "tests": tests}))
    accepted(promtool, "test", "rules", file)


def test_the_dashboard_is_whole_and_names_no_metric_that_is_not_there() -> None:
    board = json.loads((FILES / "dashboard.json").read_text())
    assert {"title", "uid", "schemaVersion", "panels", "templating", "time"} <= set(board)
    assert [each["name"] for each in board["templating"]["list"]] == ["datasource"]
    seen: set[str] = set()
    places = set()
    for panel in board["panels"]:
        grid = panel["gridPos"]
        assert grid["x"] + grid["w"] <= 24
        for x in range(grid["x"], grid["x"] + grid["w"]):
            for y in range(grid["y"], grid["y"] + grid["h"]):
                assert (x, y) not in places, panel["title"]
                places.add((x, y))
        assert panel["datasource"]["uid"] == "${datasource}"
        for target in panel["targets"]:
            named = set(NAME.findall(target["expr"]))
            assert named
            assert named <= SERIES, panel["title"]
            seen |= named
    assert len({each["id"] for each in board["panels"]}) == len(board["panels"])
    one_of_each = {each.prometheus for each in instruments.ALL}
    assert [names for names in one_of_each if not seen & set(names)] == []
