"""Private cache helpers."""

from stategraph.policies import default_cache_key as default_cache_key
