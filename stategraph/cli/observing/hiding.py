"""Values that are not shown: those of the Secrets of a store, and what is known by its form."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from stategraph.resources.model import Resource

if TYPE_CHECKING:
    from stategraph.governance.redaction import Redactor


@contextmanager
def hiding(resources: Sequence[Resource]) -> Iterator[Redactor]:
    """Yield what hides secrets: the values that this process can read of the Secrets, in all forms, and known forms.

    Values in keyrings and in Kubernetes are not asked for; where they are told, they are known by their form alone.

    Args:
        resources: What is in the store.
    """
    from stategraph.governance.redaction import Redactor

    redactor = Redactor(personal=False)
    values = [value for each in resources if each.key.kind == "secret" for value in _values(each) if value]
    with redactor.register(*values):
        yield redactor


def unknown(resources: Sequence[Resource]) -> list[str]:
    """Return the Secrets whose values this process cannot read, all or some: they could not be hidden."""
    return [str(each.key) for each in resources if each.key.kind == "secret" and None in _values(each)]


def _values(resource: Resource) -> Iterator[str | None]:
    """Yield the values of a Secret; None for one that cannot be read here."""
    from stategraph.resources.errors import ResourceError
    from stategraph.resources.kinds.secret import SecretSpec
    from stategraph.resources.loop import secrets
    from stategraph.resources.schema import parsed

    try:
        spec = parsed(resource, environment=dict(os.environ))
    except ResourceError:
        yield None
        return
    assert isinstance(spec, SecretSpec)
    for source in secrets.sources(spec).values():
        if source.env is None and source.file is None:
            yield None
            continue
        try:
            yield secrets.read(source, os.environ, secrets.FOLDERS, resource.namespace)
        except ResourceError:
            yield None
