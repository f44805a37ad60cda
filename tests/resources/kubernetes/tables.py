"""Lists as the tables that `kubectl get` asks for, by the columns of a definition."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_CHOICE = re.compile(r"(?P<name>\w+)\[\?\(@\.(?P<field>\w+)=='(?P<value>[^']*)'\)\]")


def table(columns: Sequence[Mapping[str, Any]], items: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a table (`meta.k8s.io/v1`)."""
    name = {"name": "Name", "type": "string", "format": "name", "description": "", "priority": 0}
    plain = {"format": "", "description": "", "priority": 0}
    own = ("name", "type", "priority")
    shown = [{**plain, **{field: each[field] for field in own if field in each}} for each in columns]
    rows = [
        {
            "cells": [each["metadata"]["name"], *(found(each, column["jsonPath"]) for column in columns)],
            "object": {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": each["metadata"]},
        }
        for each in items
    ]
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {},
        "columnDefinitions": [name, *shown],
        "rows": rows,
    }


def found(value: Any, path: str) -> Any:
    """Return what a path of a column leads to; None: nothing."""
    for part in re.findall(r"\.((?:\w+\[[^\]]*\])|\w+)", path):
        choice = _CHOICE.fullmatch(part)
        if not isinstance(value, Mapping):
            return None
        if choice is None:
            value = value.get(part)
            continue
        listed = value.get(choice["name"]) or ()
        value = next((each for each in listed if each.get(choice["field"]) == choice["value"]), None)
    return value
