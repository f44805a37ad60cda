"""Make `traces/` from a folder of recordings: ``python -m tests.golden.trim FOLDER``.

Leaves out what is not compared and writes one file for each scenario, a row a line.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.golden import projection
from tests.golden.counting import compact

TRACES = Path(__file__).parent / "traces"


def main(folder: Path) -> None:
    """Trim every scenario in `folder`."""
    for file in sorted(folder.glob("*.final.json")):
        name = file.name.removesuffix(".final.json")
        rows = [_row(row) for row in _lines(folder / f"{name}.jsonl") if row["event"] not in projection.DROPPED]
        final = json.loads(file.read_text(encoding="utf-8"))
        del final["scenario"]
        for seen in final.values():
            if isinstance(seen, dict):
                seen.pop("contentPartsFromGraph", None)
        parts = {"events": rows, "requests": _lines(folder / f"{name}.requests.jsonl")}
        blocks = [f'"{part}":[\n' + ",\n".join(map(compact, each)) + "\n]" for part, each in parts.items()]
        text = ",\n".join([*blocks, f'"final":{compact(final)}'])
        (TRACES / f"{name}.json").write_text(f"{{{text}}}\n", encoding="utf-8")


def _lines(file: Path) -> list[projection.Json]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line]


def _row(row: projection.Json) -> projection.Json:
    about = row.get("meta") or {}
    meta = {name: about[name] for name in projection.META if name in about}
    return {"event": row["event"], "node": about.get("langgraph_node"), "meta": meta, "data": row.get("data")}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
