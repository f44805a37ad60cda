"""The config of a run as a person writes it, checked before anything is executed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from stategraph.cli.programs.inputs import json_object
from stategraph.cli.values import in_a_line
from stategraph.errors import ConfigurationError


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


#: Keys of a RunnableConfig: what fits, the same in words, and an example. None of them means its default.
_FORMS: Final[Mapping[str, tuple[Callable[[object], bool], str, str]]] = {
    "configurable": (_is_object, "an object", '{"user": "ada"}'),
    "metadata": (_is_object, "an object", '{"origin": "shell"}'),
    "tags": (_are_texts, "a list of texts", '["trial"]'),
    "recursion_limit": (_is_count, "a whole number from 1 on", "50"),
    "max_concurrency": (_is_count, "a whole number from 1 on", "4"),
    "run_name": (lambda value: isinstance(value, str), "a text", '"trial"'),
}


def config_of(text: str | None, thread_id: str) -> dict[str, Any]:
    """Return the config of a run on a thread.

    Args:
        text: A RunnableConfig as JSON; None: the defaults.
        thread_id: The thread.

    Raises:
        ConfigurationError: It is no object of JSON, or a key of it has a value of another kind.
    """
    config = json_object("--config", text) or {}
    for key, value in config.items():
        if key == "callbacks" and value:
            raise ConfigurationError(
                "--config: callbacks are objects, which JSON has not; bind them in the program, with "
                "graph.with_config(callbacks=[...])"
            )
        fits, expected, example = _FORMS.get(key, (None, "", ""))
        if fits is not None and value is not None and not fits(value):
            found = in_a_line(json.dumps(value, ensure_ascii=False), 60)
            raise ConfigurationError(
                f"--config: {key} is {found}; expected {expected}, as in --config '{{\"{key}\": {example}}}'"
            )
    return {**config, "configurable": {**(config.get("configurable") or {}), "thread_id": thread_id}}
