"""Code by its import path: what is found, what is made, and what is kept."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from stategraph.errors import ConfigurationError
from stategraph.workers.pool import Job
from stategraph.workers.references import MADE_KEPT, Reference, Targets, imported, reference_to
from tests.workers import agents

HERE = "tests.workers.test_references"


class Client:
    """Something with connections, of which a worker should have one."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings


def test_what_a_call_makes_is_made_once_for_equal_arguments() -> None:
    targets = Targets([HERE])
    reference = Reference(f"{HERE}:Client", {"hosts": ["a", "b"], "limits": {"size": 1}})

    made = targets.resolve(reference)

    assert targets.resolve(Reference(f"{HERE}:Client", {"hosts": ["a", "b"], "limits": {"size": 1}})) is made
    assert targets.resolve(Reference(f"{HERE}:Client", {"hosts": ["a", "c"], "limits": {"size": 1}})) is not made
    assert targets.resolve(Reference(f"{HERE}:Client", {"hosts": ["a", "b"], "limits": {"size": True}})) is not made


def test_secrets_that_look_alike_are_told_apart() -> None:
    targets = Targets([HERE])
    made = [targets.resolve(Reference(f"{HERE}:Client", {"key": SecretStr(key)})) for key in ("one", "two", "one")]

    assert made[0] is made[2] is not made[1]
    assert made[1].settings["key"].get_secret_value() == "two"


def test_what_has_no_hash_is_made_each_time() -> None:
    targets = Targets([HERE])
    reference = Reference(f"{HERE}:Client", {"names": {"a", "b"}})

    assert targets.resolve(reference) is not targets.resolve(reference)


def test_no_more_than_so_many_made_objects_are_kept() -> None:
    targets = Targets([HERE])
    first = targets.resolve(Reference(f"{HERE}:Client", {"number": 0}))
    for number in range(1, MADE_KEPT + 1):
        targets.resolve(Reference(f"{HERE}:Client", {"number": number}))

    assert targets.resolve(Reference(f"{HERE}:Client", {"number": 0})) is not first


def test_arguments_may_be_references() -> None:
    targets = Targets([HERE, "tests.workers.agents"])
    reference = Reference(f"{HERE}:Client", {"tools": [Reference("tests.workers.agents:weather")]})

    assert targets.resolve(reference).settings == {"tools": [agents.weather]}


def test_tools_functions_and_imported_objects_have_references() -> None:
    made = imported(f"{HERE}:Client", size=1)

    assert reference_to(agents.weather, "it") == Reference("tests.workers.agents:weather")
    assert reference_to(agents.count, "it") == Reference("tests.workers.agents:count")
    assert reference_to(made, "it") == Reference(f"{HERE}:Client", {"size": 1})


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"id": 7}, "A job's id is 7; expected a text that no other job has"),
        ({"id": ""}, "A job's id is ''; expected a text that no other job has"),
        ({"kind": "tsk"}, "The kind of job 'j' is 'tsk'; expected 'run' or 'task'"),
        ({"target": len}, "is a value of type builtin_function_or_method, and workers import code by its name"),
    ],
)
def test_a_job_that_no_worker_can_do_is_refused_where_it_is_made(fields: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Job(**{"id": "j", "kind": "task", "target": f"{HERE}:Client", **fields})


def test_a_text_is_not_taken_for_a_list_of_modules() -> None:
    with pytest.raises(ConfigurationError, match=r"'allow' is 'my_app', a text, where a list .* \['my_app'\]"):
        Targets("my_app")
