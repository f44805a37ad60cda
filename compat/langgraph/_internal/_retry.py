"""Private retry helpers."""

from stategraph.policies import default_retry_on as default_retry_on
