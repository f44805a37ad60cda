"""Frontmatter of a SKILL.md: YAML in which every value is a text, a mapping or a list, between two lines `---`.

As the reference (`skills-ref`, with strictyaml) reads it: `yes` and `1.10` are texts; flow style, anchors, aliases,
tags and keys that stand twice are refused, as they hide what is there.
"""

from __future__ import annotations

import re
from typing import Any, Final

from stategraph.errors import MissingPackageError

_FENCE: Final = "---"
_DEEPEST: Final = 16
_OPENING: Final = re.compile(r"---[ \t]*\n")
_CLOSING: Final = re.compile(r"^---[ \t]*$", re.MULTILINE)


class FrontmatterError(ValueError):
    """Text that has no frontmatter, or one that cannot be read; the message says where."""


def split(text: str) -> tuple[str, str]:
    """Return the frontmatter of a text, and what follows.

    Args:
        text: With line breaks as of Unix.

    Raises:
        FrontmatterError: It has none.
    """
    opening = _OPENING.match(text)
    if opening is None:
        raise FrontmatterError("it must begin with a line '---', and the frontmatter behind it")
    closing = _CLOSING.search(text, opening.end())
    if closing is None:
        raise FrontmatterError("the frontmatter is not closed: write a line '---' behind it")
    found = text[opening.end() : closing.start()]
    if _FENCE in found:
        line = found[: found.index(_FENCE)].count("\n") + 2
        raise FrontmatterError(
            f"line {line} has '---' inside of the frontmatter, where other clients take it for its end: write it "
            "otherwise"
        )
    return found, text[closing.end() :].strip()


def read(text: str) -> dict[str, Any]:
    """Read a frontmatter.

    Args:
        text: Without the lines around it.

    Returns:
        Texts, mappings and lists by field.

    Raises:
        FrontmatterError: It is no mapping, or no YAML that is taken here.
        MissingPackageError: The extra `governance` is not installed.
    """
    try:
        import yaml  # 12 ms, and only those who have skills need it
    except ImportError as error:
        raise MissingPackageError("stategraph[governance]", "Skills") from error
    try:
        _check(yaml, text)
        found = _value(yaml, yaml.compose(text, Loader=yaml.BaseLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise FrontmatterError(f"{_line(mark)}{error.problem or error.context or 'no YAML'}") from error
    except yaml.YAMLError as error:
        raise FrontmatterError(f"no YAML: {error}") from error
    if not isinstance(found, dict):
        raise FrontmatterError("the frontmatter must be a mapping, such as 'name: pdf'")
    return found


def plain(text: str) -> dict[str, Any]:
    """Return a frontmatter as YAML has it: numbers and truths as such, and dates as texts, as JSON has none.

    Args:
        text: Without the lines around it; `read` takes it.
    """
    import yaml  # as in `read`

    class Loader(yaml.SafeLoader):
        """Takes dates for texts."""

    Loader.yaml_implicit_resolvers = {
        first: [each for each in resolvers if each[0] != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    found: dict[str, Any] = yaml.load(text, Loader=Loader)
    return found


def _check(yaml: Any, text: str) -> None:
    """Refuse what hides what is there."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.BaseLoader):
        line = _line(event.start_mark)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise FrontmatterError(f"{line}anchors and aliases are not taken: write the value out")
        if getattr(event, "tag", None) is not None:
            raise FrontmatterError(f"{line}tags are not taken: every value is a text")
        if getattr(event, "flow_style", None):
            raise FrontmatterError(
                f"{line}values in {{}} or [] are not taken: write one on each line, or a quoted text"
            )
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise FrontmatterError(f"{line}more than {_DEEPEST} levels")


def _value(yaml: Any, node: Any) -> Any:
    if node is None:
        return ""
    if isinstance(node, yaml.ScalarNode):
        return node.value
    if isinstance(node, yaml.SequenceNode):
        return [_value(yaml, each) for each in node.value]
    found: dict[str, Any] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise FrontmatterError(f"{_line(key.start_mark)}a key must be a text")
        if key.value in found:
            raise FrontmatterError(f"{_line(key.start_mark)}{key.value!r} stands twice")
        found[key.value] = _value(yaml, value)
    return found


def _line(mark: Any) -> str:
    # The first line of the file is the one before the frontmatter.
    return "" if mark is None else f"line {mark.line + 2}: "
