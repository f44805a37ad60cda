"""Functions that manifests of tests name."""

from __future__ import annotations


def find(q: str) -> str:
    """Find something."""
    return f"found {q}"


def node(state: dict) -> dict:
    """Change nothing."""
    return {}
