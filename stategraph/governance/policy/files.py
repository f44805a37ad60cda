"""Loading of policy files in YAML (and JSON, which is YAML).

Files are data: only plain JSON values are made, by YAML 1.2's JSON schema (`no` is a text). Aliases are refused (a few
of them can stand for gigabytes), and a key that is written twice is an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final

from stategraph.errors import MissingPackageError
from stategraph.governance.errors import PolicyError
from stategraph.governance.policy import limits
from stategraph.governance.policy.rules import RulePolicy
from stategraph.governance.policy.schema import document_of

# Scalars of YAML 1.2's JSON schema: `no` is a text there, and `1:30` is no number.
_SCALARS: Final = (
    ("bool", r"^(?:true|false)$", list("tf")),
    ("null", r"^(?:null|~|)$", ["n", "~", ""]),
    ("int", r"^-?(?:0|[1-9][0-9]*)$", list("-0123456789")),
    ("float", r"^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?$", list("-0123456789")),
)


def load_policy(
    path: str | Path, *, redact: Callable[[Any], Any] | None = None, limit: limits.Limits = limits.DEFAULT
) -> RulePolicy:
    """Load a policy from a file.

    Args:
        path: The file.
        redact: Removes secrets from JSON, for rules that transform `with: redact`.
        limit: The bounds of one decision.

    Raises:
        PolicyError: It cannot be read, or is no policy; the message names the file, the rule and the field.
        MissingPackageError: The extra `governance` is not installed.
    """
    return parse_policy(read(path), source=str(path), redact=redact, limit=limit)


def parse_policy(
    text: str,
    *,
    source: str = "<policy>",
    redact: Callable[[Any], Any] | None = None,
    limit: limits.Limits = limits.DEFAULT,
) -> RulePolicy:
    """Make a policy of the text of a file; arguments and errors are those of `load_policy`."""
    return RulePolicy(document_of(parse_yaml(text, source), source), redact=redact, limit=limit)


def read(path: str | Path) -> str:
    """Return the text of a file.

    Raises:
        PolicyError: It cannot be read, is not UTF-8, or is too large.
    """
    try:
        with Path(path).open("rb") as file:
            content = file.read(limits.MAX_FILE_BYTES + 1)
        if len(content) > limits.MAX_FILE_BYTES:
            raise PolicyError(f"{path}: the file is larger than {limits.MAX_FILE_BYTES:,} bytes")
        return content.decode()
    except OSError as error:
        raise PolicyError(f"{path}: the file cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PolicyError(f"{path}: the file is not UTF-8: {error.reason} at byte {error.start}") from error


def parse_yaml(text: str, source: str) -> Any:
    """Return the content of a file with one document, as JSON.

    Raises:
        PolicyError: It is not YAML, or more than plain values; the message names the line.
    """
    yaml, loader = _loader()
    try:
        return yaml.load(text, loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        what = ", ".join(each for each in (error.context, error.problem) if each)
        raise PolicyError(f"{source}{place}: {what}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise PolicyError(f"{source}: the file cannot be read: {str(error).splitlines()[0]}") from None


@cache
def _loader() -> tuple[Any, Any]:
    try:
        import yaml  # 10 ms, and only those who load files need it
    except ImportError as error:
        raise MissingPackageError("stategraph[governance]", "Files of policies") from error

    class Loader(yaml.SafeLoader):
        """Reads plain JSON values."""

        def compose_node(self, parent: Any, index: Any) -> Any:
            """Refuse aliases."""
            if self.check_event(yaml.AliasEvent):
                mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
                raise yaml.composer.ComposerError(None, None, "aliases (*name) are not read; write the value", mark)
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            """Refuse keys that are no text, or that are written twice."""
            known = set[str]()
            for key, _ in node.value:
                if key.tag != "tag:yaml.org,2002:str":
                    problem = f"the key {key.value!r} is no text; write it in quotes"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                if key.value in known:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value!r} is written twice", key.start_mark
                    )
                known.add(key.value)
            return super().construct_mapping(node, deep)

    def refused(loader: Any, node: Any) -> Any:
        raise yaml.constructor.ConstructorError(None, None, f"{node.tag} is no plain value", node.start_mark)

    for kind in ("binary", "omap", "pairs", "set", "timestamp"):
        Loader.add_constructor(f"tag:yaml.org,2002:{kind}", refused)
    Loader.yaml_implicit_resolvers = {}
    for tag, pattern, first in _SCALARS:
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(pattern), first)
    return yaml, Loader
