"""Rules and dashboards of the fleet name only what processes show; each alert fires when it should."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts import dashboards
from tests.workers.watching import scraped
from tests.workers.watching.scraped import ROOT, Series

FILES = Path(str(resources.files("stategraph.workers.watching") / "files"))
GROUPS = yaml.safe_load((FILES / "rules.yaml").read_text())["groups"]
RULES: list[dict[str, Any]] = [rule for group in GROUPS for rule in group["rules"]]
ALERTS = [each for each in RULES if "alert" in each]
BOARDS = sorted(FILES.glob("*.json"))


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Series:
    """Everything that a real server, a worker, a router and governed actions show, and what is recorded of it."""
    text = scraped.of_processes(tmp_path_factory.mktemp("fleet")) + scraped.of_router()
    found = {"up": frozenset({"job", "instance"}), **scraped.of_governance(), **scraped.series_of(text)}
    for rule in RULES:
        if "record" in rule:
            by = re.search(r"by \(([^)]*)\)", rule["expr"])
            labels = [] if by is None else [each.strip() for each in by[1].split(",")]
            found[rule["record"]] = frozenset(each for each in labels if each != "le")
    return found


def test_rules_and_dashboards_name_only_what_processes_show(shown: Series) -> None:
    asked = {each.get("alert") or each["record"]: each["expr"] for each in RULES}
    for file in BOARDS:
        for panel in json.loads(file.read_text())["panels"]:
            asked |= {f"{file.name}: {panel['title']} {t['refId']}": t["expr"] for t in panel["targets"]}
    assert len(asked) > 80
    assert {name: wrong for name, expr in asked.items() if (wrong := scraped.unknown(expr, shown))} == {}


def test_legends_and_texts_of_alerts_name_labels_that_remain(shown: Series) -> None:
    for rule in ALERTS:
        by = re.findall(r"by \(([^)]*)\)", rule["expr"])
        remain = {each.strip() for text in by for each in text.split(",")}
        if "(" not in rule["expr"]:
            remain |= {"instance", "job"}
        named = set(re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
        assert named <= remain, rule["alert"]
    for file in BOARDS:
        for panel in json.loads(file.read_text())["panels"]:
            for target in panel["targets"]:
                named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
                by = set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", target["expr"]))))
                recorded = {each for name in shown if ":" in name and name in target["expr"] for each in shown[name]}
                assert named <= by | recorded, panel["title"]


@pytest.mark.parametrize(
    ("expr", "wrong"),
    [
        ("sum(stategraph_nothing)", ["stategraph_nothing"]),
        ('max(stategraph_runs{status="x"})', ["status of stategraph_runs"]),
        ("max by (queue) (stategraph_runs)", ["queue"]),
        ("rate(http_requests_total[$__rate_interval])", ["http_requests_total"]),
    ],
)
def test_names_that_are_not_there_are_found(expr: str, wrong: list[str]) -> None:
    assert scraped.unknown(expr, {"stategraph_runs": frozenset({"state"})}) == wrong


def test_every_series_of_the_fleet_is_on_a_dashboard_or_in_a_rule(shown: Series) -> None:
    texts = " ".join(each.read_text() for each in (*BOARDS, FILES / "rules.yaml"))
    own = {re.sub(r"_(bucket|sum|count|created)$", "", name) for name in shown if name.startswith("stategraph_")}
    own = {name for name in own if "governance" not in name}
    assert {name for name in own if name not in texts} == set()


def test_dashboards_are_what_the_script_makes() -> None:
    assert {each.stem for each in BOARDS} == set(dashboards.BOARDS)
    program = ROOT / "scripts" / "dashboards.py"
    done = subprocess.run([sys.executable, program, "--check"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("file", BOARDS, ids=lambda each: each.stem)
def test_a_dashboard_is_whole(file: Path) -> None:
    board = json.loads(file.read_text())
    assert {"title", "uid", "schemaVersion", "panels", "templating", "time"} <= set(board)
    assert len({each["id"] for each in board["panels"]}) == len(board["panels"]) >= 10
    places: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        assert panel["type"] in ("stat", "timeseries")
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["fieldConfig"]["defaults"]["unit"]
        references = [each["refId"] for each in panel["targets"]]
        assert references == sorted(set(references))
        grid = panel["gridPos"]
        assert grid["x"] + grid["w"] <= 24
        taken = {
            (x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not taken & places, panel["title"]
        places |= taken


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool (Debian's package prometheus) is not installed")
    return found


def accepted(promtool: str, *words: str | Path) -> None:
    done = subprocess.run([promtool, *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_accepts_what_dashboards_ask_for(promtool: str, tmp_path: Path) -> None:
    asked = {
        target["expr"].replace("$__rate_interval", "5m")
        for file in BOARDS
        for panel in json.loads(file.read_text())["panels"]
        for target in panel["targets"]
    }
    rules = [{"record": f"panel:{number}", "expr": expr} for number, expr in enumerate(sorted(asked))]
    file = tmp_path / "panels.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    accepted(promtool, "check", "rules", file)


HTTP = "http_server_request_duration_seconds_count"
CHAT = 'gen_ai_client_operation_duration_seconds_count{gen_ai_operation_name="chat",gen_ai_request_model="m"'
RUNS = "stategraph_worker_runs_total"
SLOW = "http_server_request_duration_seconds_bucket"
ENDPOINT = '{stategraph_agent="a",server_address="h",server_port="1"}'
JOB = '{job="stategraph-worker",instance="w"}'

#: For each alert: series of one value each minute under which it is quiet, and under which it fires by 40 minutes.
FIRING: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "ProcessAway": ({f"up{JOB}": "1x38 0 1x20"}, {f"up{JOB}": "1x30 0x30"}),
    "DatabaseAway": ({"stategraph_database_up": "1x60"}, {"stategraph_database_up": "1x30 0x30"}),
    "QueueOld": (
        {'stategraph_queue_oldest_seconds{queue="q"}': "50x60"},
        {'stategraph_queue_oldest_seconds{queue="q"}': "0x20 100x40"},
    ),
    "QueueGrows": (
        {'stategraph_queue_waiting{queue="q"}': "5000-10x60"},
        {'stategraph_queue_waiting{queue="q"}': "0+100x60"},
    ),
    "NobodyWorks": (
        {'stategraph_runs{state="pending"}': "5x60", "stategraph_workers_capacity": "10x60"},
        {'stategraph_runs{state="pending"}': "5x60", "stategraph_workers_capacity": "10x30 0x30"},
    ),
    "RunsOrphaned": (
        {'stategraph_runs{state="expired"}': "0x38 3 0x20"},
        {'stategraph_runs{state="expired"}': "0x30 3x30"},
    ),
    "Takeovers": (
        {"stategraph_worker_takeovers_total": "0x30 5x30"},
        {"stategraph_worker_takeovers_total": "0x30 20x30"},
    ),
    "LeasesLost": ({f'{RUNS}{{event="lost"}}': "0x30 2x30"}, {f'{RUNS}{{event="lost"}}': "0x30 9x30"}),
    "WorkersDie": (
        {'stategraph_workers{state="gone"}': "8x60"},
        {'stategraph_workers{state="gone"}': "0x30 8x30"},
    ),
    "RunsFail": (
        {
            f'{RUNS}{{event="ended",status="error"}}': "0+1x60",
            f'{RUNS}{{event="ended",status="success"}}': "0+19x60",
        },
        {f'{RUNS}{{event="ended",status="error"}}': "0+3x60", f'{RUNS}{{event="ended",status="success"}}': "0+7x60"},
    ),
    "EventsUnsaved": (
        {"stategraph_worker_events_unsaved": "900x60"},
        {"stategraph_worker_events_unsaved": "0x30 2000x30"},
    ),
    "LoopLate": (
        {f"stategraph_event_loop_delay_seconds{JOB}": "0x38 9 0x20"},
        {f"stategraph_event_loop_delay_seconds{JOB}": "0x30 2x30"},
    ),
    "ServerErrors": (
        {
            f'{HTTP}{{http_response_status_code="500"}}': "0+1x60",
            f'{HTTP}{{http_response_status_code="200"}}': "0+99x60",
        },
        {
            f'{HTTP}{{http_response_status_code="500"}}': "0+9x60",
            f'{HTTP}{{http_response_status_code="200"}}': "0+91x60",
        },
    ),
    "ServerSlow": (
        {f'{SLOW}{{le="1.0"}}': "0+100x60", f'{SLOW}{{le="5.0"}}': "0+100x60", f'{SLOW}{{le="+Inf"}}': "0+100x60"},
        {f'{SLOW}{{le="1.0"}}': "0+50x60", f'{SLOW}{{le="5.0"}}': "0+100x60", f'{SLOW}{{le="+Inf"}}': "0+100x60"},
    ),
    "RequestsRefused": (
        {f'{HTTP}{{http_response_status_code="429"}}': "0+30x60"},
        {f'{HTTP}{{http_response_status_code="429"}}': "0+300x60"},
    ),
    "Memory": (
        {f"process_resident_memory_bytes{JOB}": "400000000x60"},
        {f"process_resident_memory_bytes{JOB}": "400000000x20 950000000x40"},
    ),
    "FilesUsedUp": (
        {f"process_open_fds{JOB}": "500x60", f"process_max_fds{JOB}": "1000x60"},
        {f"process_open_fds{JOB}": "900x60", f"process_max_fds{JOB}": "1000x60"},
    ),
    "AgentUnreachable": (
        {'stategraph_fleet_endpoints{stategraph_agent="a"}': "1x60"},
        {'stategraph_fleet_endpoints{stategraph_agent="a"}': "1x30 0x30"},
    ),
    "BreakerOpen": (
        {f"stategraph_fleet_breaker_open{ENDPOINT}": "0x37 1x2 0x20"},
        {f"stategraph_fleet_breaker_open{ENDPOINT}": "0x30 1x30"},
    ),
    "EndpointUnhealthy": (
        {f"stategraph_fleet_healthy{ENDPOINT}": "1x37 0x2 1x20"},
        {f"stategraph_fleet_healthy{ENDPOINT}": "1x30 0x30"},
    ),
    "ModelErrors": (
        {f'{CHAT},error_type="x"}}': "0+1x60", f"{CHAT}}}": "0+99x60"},
        {f'{CHAT},error_type="x"}}': "0+2x60", f"{CHAT}}}": "0+8x60"},
    ),
    "TokensJump": (
        {"gen_ai_client_token_usage_sum": "0+100x170"},
        {"gen_ai_client_token_usage_sum": "0+100x150 15000+1000x20"},
    ),
}

#: Alerts about days: ten minutes between values, and the question after so many minutes.
OF_DAYS = {"TokensJump": 1600}


def test_each_alert_has_a_firing_and_a_quiet_case() -> None:
    assert {each["alert"] for each in ALERTS} == {f"Stategraph{name}" for name in FIRING}
    for rule in ALERTS:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert set(rule["annotations"]) == {"summary", "description"}


@pytest.mark.parametrize("of_days", [False, True])
def test_each_alert_fires_when_it_should_and_is_quiet_otherwise(promtool: str, tmp_path: Path, of_days: bool) -> None:
    interval = "10m" if of_days else "1m"
    tests = []
    for name in [each for each in FIRING if (each in OF_DAYS) is of_days]:
        for series, samples in zip(FIRING[name], ([], [{"labels": "{}", "value": 1}]), strict=True):
            asked = {
                "expr": f'count(ALERTS{{alertname="Stategraph{name}",alertstate="firing"}})',
                "eval_time": f"{OF_DAYS.get(name, 40)}m",
                "exp_samples": samples,
            }
            given = [{"series": key, "values": values} for key, values in series.items()]
            tests.append({"name": name, "interval": interval, "input_series": given, "promql_expr_test": [asked]})
    said = {"rule_files": [str(FILES / "rules.yaml")], "evaluation_interval": interval, "tests": tests}
    file = tmp_path / "tests.yaml"
    file.write_text(yaml.safe_dump(said))
    accepted(promtool, "test", "rules", file)
