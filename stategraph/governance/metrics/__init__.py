"""Metrics of governed actions with OpenTelemetry, alert rules for Prometheus, and a dashboard for Grafana.

`instruments` names the metrics, `recorder` records them, and `files` are the rules and the dashboard that ship.
"""
