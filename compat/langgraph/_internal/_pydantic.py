"""Private pydantic helpers."""

from stategraph.engine.compile.json_schema import create_model as create_model
from stategraph.engine.compile.json_schema import describes_itself as is_supported_by_pydantic
