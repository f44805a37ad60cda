"""Private schema helpers."""

from stategraph.fields import annotated_keys as get_cached_annotated_keys
from stategraph.fields import set_items as get_update_as_tuples
from stategraph.graph.schema import described_fields as get_enhanced_type_hints
from stategraph.graph.schema import field_default as get_field_default
from stategraph.graph.schema import is_optional_type as _is_optional_type
