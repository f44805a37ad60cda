"""``make foreign-manifests FOLDER=...``: convert the documents of others in a folder, and compare what became of them.

Each document is converted, or refused with a reason for each construct. The topology of one that is converted is
compared with that which is read from the document itself, edge by edge. The folder is one that you fetched: the
repositories `argoproj/argo-workflows` (its `examples/`), `kagent-dev/kagent`, `crewAIInc/crewAI`; nothing of them is
kept here. Exits with 1 if a topology differs.

    python -m tests.resources.foreign ~/argo-workflows/examples ~/kagent ~/crewAI
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stategraph.resources.convert import Conversion, convert
from stategraph.resources.convert.conversion import format_of, name_of, resource_name
from tests.resources.foreign import reading, topologies

_SHOWN = 8


@dataclass
class Row:
    """The documents of one format.

    Attributes:
        documents: How many there are.
        converted: How many are converted.
        same: Those of them with the same topology.
        graphs: How many of Argo have steps or a DAG.
        graphs_same: Those of them that are converted with the same topology.
        edges: Edges that were compared.
        reasons: Constructs that were refused, by the number of documents.
        differing: What differs.
    """

    documents: int = 0
    converted: int = 0
    same: int = 0
    graphs: int = 0
    graphs_same: int = 0
    edges: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    differing: list[str] = field(default_factory=list)


def compared(conversion: Conversion, document: Mapping[str, Any], library: Mapping[str, Any]) -> tuple[int, list[str]]:
    """Return how many edges were compared, and the edges that one side lacks."""
    by_name = {each.name: each for each in conversion.resources if each.kind == "Workflow"}
    format = format_of(document)
    pairs: list[tuple[str, topologies.Edges, topologies.Edges]] = []
    if format == "kagent":
        wanted = topologies.kagent(document)
        found = topologies.agents(conversion.resources) if document["kind"] in ("Agent", "SandboxAgent") else wanted
        pairs.append((conversion.name, wanted, found))
    elif format == "crewai":
        (resource,) = by_name.values()
        wanted = topologies.crewai(document)
        pairs.append((resource.name, wanted, topologies.workflow(resource, {each for edge in wanted for each in edge})))
    else:
        spec = document.get("spec") or {}
        spec = spec.get("workflowSpec") or spec
        entry = spec.get("entrypoint")
        for key, wanted in topologies.argo(document, library).items():
            is_entry = key in ("<entry>", entry) or (not entry and len(by_name) == 1)
            name = resource_name(name_of(document) if is_entry else f"{name_of(document)}-{key}")
            resource = by_name.pop(name, None) or by_name.pop(resource_name(name_of(document)), None)
            if resource is None:
                pairs.append((name, wanted, set()))
                continue
            pairs.append((name, wanted, topologies.workflow(resource, {each for edge in wanted for each in edge})))
        pairs += [(name, set(), {("nothing", "there")}) for name in by_name]
    lines = []
    for name, wanted, found in pairs:
        lines += [f"{name}: missing {a} -> {b}" for a, b in sorted(wanted - found)]
        lines += [f"{name}: too many {a} -> {b}" for a, b in sorted(found - wanted)]
    return sum(len(wanted) for _, wanted, _ in pairs), lines


def table(folders: Sequence[Path]) -> dict[str, Row]:
    """Return what became of the documents of folders, by format."""
    known = [each for folder in folders for each in reading.documents(folder)]
    everything = [document for _, document in known]
    library = {
        name_of(each): each.get("spec") or {} for each in everything if str(each.get("kind")).endswith("Template")
    }
    rows: dict[str, Row] = {}
    for path, document in known:
        format = str(format_of(document))
        row = rows.setdefault(format, Row())
        row.documents += 1
        spec = document.get("spec") or {}
        templates = (spec.get("workflowSpec") or spec).get("templates") or () if format == "argo" else ()
        is_graph = any({"steps", "dag"} & set(each) for each in templates)
        row.graphs += is_graph
        (conversion,) = convert([document], format, among=everything)
        if not conversion.is_converted:
            row.reasons.update({each.construct for each in conversion.refused})
            assert all(each.reason and each.place for each in conversion.refused), path
            continue
        row.converted += 1
        edges, lines = compared(conversion, document, library)
        row.edges += edges
        row.same += not lines
        row.graphs_same += is_graph and not lines
        row.differing += [f"{path}: {each}" for each in lines]
    return rows


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Convert documents of others, and compare their topologies.")
    parser.add_argument("folders", nargs="+", type=Path, help="folders of documents that you fetched")
    rows = table(parser.parse_args().folders)
    print("| format | documents | converted, same topology | refused | edges compared | most frequently refused |")
    print("|---|--:|--:|--:|--:|---|")
    for format, row in sorted(rows.items()):
        reasons = ", ".join(f"{name} ({number})" for name, number in row.reasons.most_common(_SHOWN))
        print(
            f"| {format} | {row.documents} | {row.same} | {row.documents - row.converted} | {row.edges} | {reasons} |"
        )
        if row.graphs:
            print(f"| {format}, with steps or dag | {row.graphs} | {row.graphs_same} | | | |")
    differing = [each for row in rows.values() for each in row.differing]
    for each in differing:
        print(each)
    if not rows:
        print("There are no documents of a known format in these folders")
    return 1 if differing or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
