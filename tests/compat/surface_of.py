"""Print the public surface of the LangGraph that is installed: every name of every public module, and how it is called.

    PYTHON tests/compat/surface_of.py > tests/compat/namespaces.json
    PYTHON tests/compat/surface_of.py --missing < namespaces.json      what of it cannot be imported with this Python

A name counts that can be imported from the module, also one that the module itself only imports. The second level is
`{name: signature}`; the signature is empty for what cannot be called or does not tell. It is run with a Python that has
LangGraph, so it imports nothing but the standard library and that.
"""

import importlib
import inspect
import json
import sys
import warnings
from importlib.metadata import files


def public_modules() -> list[str]:
    """Return the modules of the `langgraph` distribution without an underscore, and none of its neighbours'."""
    parts = [file.with_suffix("").parts for file in files("langgraph") or () if file.suffix == ".py"]
    names = {".".join(part[:-1] if part[-1] == "__init__" else part) for part in parts if part[0] == "langgraph"}
    return sorted(name for name in names if "._" not in name and name != "langgraph")


def signature_of(value: object) -> str:
    """Return how something of LangGraph's own is called; its neighbours' and the standard library's do not matter."""
    if not callable(value) or not str(getattr(value, "__module__", "")).startswith("langgraph."):
        return ""
    try:
        parameters = inspect.signature(value).parameters.values()
    except (TypeError, ValueError):
        return ""
    marks = {
        inspect.Parameter.KEYWORD_ONLY: "*:",
        inspect.Parameter.VAR_POSITIONAL: "*",
        inspect.Parameter.VAR_KEYWORD: "**",
    }
    return " ".join(f"{marks.get(p.kind, '')}{p.name}{'=' * (p.default is not p.empty)}" for p in parameters)


def surface() -> dict[str, dict[str, str]]:
    """Return the names of each module with their signatures."""
    found = {}
    for name in public_modules():
        module = importlib.import_module(name)
        public = sorted(key for key in vars(module) if not key.startswith("_"))
        found[name] = {key: signature_of(getattr(module, key)) for key in public}
    return found


def missing(wanted: dict[str, dict[str, str]]) -> list[str]:
    """Return the names that cannot be imported."""
    return [f"{module}.{name}" for module, names in wanted.items() for name in names if not can_import(module, name)]


def can_import(module: str, name: str) -> bool:
    try:
        return hasattr(importlib.import_module(module), name)
    except ImportError:
        return False


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    answer: object = missing(json.load(sys.stdin)) if sys.argv[1:] == ["--missing"] else surface()
    print(json.dumps(answer, indent=1))
