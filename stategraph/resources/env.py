"""Variables in specs: `${VAR}` and `${VAR:-default}`, expanded where a spec is used.

Rules
-----
* What is stored and shown keeps the expression; only controllers see a value.
* An expanded value is a text; where a spec's model wants a number or a boolean it is read as one.
* `${{ ... }}` is an expression of another language and stays, and `$${VAR}` stands for the text `${VAR}`.
* `${}` and a `${VAR` that is not closed are problems of their field; with `$$` before them they are text.
* A variable that is not set, without a default, is a problem of its field. One that is set and empty takes the default,
  as in a shell.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from stategraph.resources.places import Path, Problem, Source

_EXPRESSION: Final = re.compile(
    r"(?P<other>\$\{\{.*?\}\})|\$(?P<escaped>\$\{(?:[A-Za-z_]\w*(?::-[^{}]*)?)?(?:\}|\Z))"
    r"|\$\{(?P<name>[A-Za-z_]\w*)(?P<default>:-(?P<value>[^{}]*))?\}"
    r"|(?P<broken>\$\{\s*\}|\$\{[A-Za-z_]\w*(?::-[^{}]*)?\Z)",
    re.DOTALL | re.ASCII,
)


def expand(
    value: Any, environment: Mapping[str, str], problems: list[Problem], source: Source | None = None, path: Path = ()
) -> Any:
    """Return a value with the variables in its texts replaced.

    Args:
        value: JSON.
        environment: The variables.
        problems: Where variables that are not set are reported.
        source: Where the document came from, for places.
        path: Where the value is in the document.
    """
    if isinstance(value, str):
        return _text(value, environment, problems, source, path) if "$" in value else value
    if isinstance(value, Mapping):
        return {key: expand(each, environment, problems, source, (*path, key)) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [expand(each, environment, problems, source, (*path, index)) for index, each in enumerate(value)]
    return value


def variables(value: Any) -> set[str]:
    """Return the names of the variables in a value."""
    if isinstance(value, str):
        return {found["name"] for found in _EXPRESSION.finditer(value) if found["name"]}
    if isinstance(value, Mapping):
        return set().union(*(variables(each) for each in value.values()))
    if isinstance(value, list | tuple):
        return set().union(*(variables(each) for each in value))
    return set()


def _text(text: str, environment: Mapping[str, str], problems: list[Problem], source: Source | None, path: Path) -> str:
    def replaced(found: re.Match[str]) -> str:
        if found["other"] is not None:
            return found["other"]
        if found["escaped"] is not None:
            return found["escaped"]
        if found["broken"] is not None:
            told = "names no variable" if found["broken"].endswith("}") else "is not closed"
            expected = f"${{VAR}} or ${{VAR:-value}}; the text is $${found['broken']}"
            problems.append(Problem(f"{found['broken']} {told}", path, source, expected=expected))
            return found[0]
        name = found["name"]
        value = environment.get(name)
        if value or (value is not None and found["default"] is None):
            return value
        if found["default"] is not None:
            return found["value"]
        problems.append(
            Problem(
                f"the variable {name} is not set",
                path,
                source,
                expected=f"a value in the environment, or a default: ${{{name}:-value}}; the text is $${{{name}}}",
            )
        )
        return found[0]

    return _EXPRESSION.sub(replaced, text)
