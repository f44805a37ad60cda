"""Names of effects, made of a template such as `charge:{order}` and the arguments of a call.

The values are put behind the template as a list of canonical JSON, not into it: two different lists of values never
make one name, whatever separators and digits are in them.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from typing import Any

from stategraph.governance.canonical import canonical_json


def effect_key(template: str, arguments: Mapping[str, Any]) -> str:
    """Return the name of an effect, such as `charge:{order}["7"]`.

    Args:
        template: Text with the names of arguments in braces, as for `str.format`. A field with a conversion or a format
            stands for the text that it makes.
        arguments: The arguments of the call.

    Raises:
        ValueError: An argument that it needs was not given, or has no canonical form.
    """
    formatter = string.Formatter()
    values = []
    for _, field, form, conversion in formatter.parse(template):
        if field is None:
            continue
        try:
            value, _ = formatter.get_field(field, (), arguments)
            if conversion or form:
                value = formatter.format_field(formatter.convert_field(value, conversion), form or "")
        except (LookupError, AttributeError, TypeError) as error:
            raise ValueError(
                f"The effect key {template!r} needs the argument '{field}', which was not given"
            ) from error
        values.append(value)
    return template + canonical_json(values).decode()
