"""The signs between a host's process and its supervisor."""

from __future__ import annotations

from typing import Final

#: Beginning of the line by which a host says that it takes requests; JSON follows: `url`, `local`, `pid`.
READY: Final = "stategraph adapter ready "

#: The token that requests have to show.
TOKEN_VARIABLE: Final = "STATEGRAPH_ADAPTER_TOKEN"

#: Exit code of a host whose agent cannot be served: trying again would not help.
UNUSABLE: Final = 2
