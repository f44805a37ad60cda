"""Private helpers that read the fields of schemas."""

from stategraph.graph.schema import described_fields as get_enhanced_type_hints
from stategraph.graph.schema import field_default as get_field_default
from stategraph.graph.schema import is_optional_type as _is_optional_type
