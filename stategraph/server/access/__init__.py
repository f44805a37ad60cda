"""Authentication: every request has a `Caller` before an endpoint sees it.

    port.py       `Authenticator`, and the error with which one refuses
    door.py       the middleware that asks them; `caller_of`, for endpoints
    owners.py     the default of what callers may do: each has what it has made itself
    tokens.py     one token for all
    api_keys.py   keys, of which hashes are kept
    jwt.py        JSON Web Tokens, with the keys of an issuer (keys.py)
    oauth.py      a resource server of OAuth 2: its metadata, and challenges
    proxies.py    certificates of clients, which a proxy has checked
    handlers.py   handlers of `langgraph_sdk.Auth`
    opening.py    authenticators by settings

Nothing in here must know a protocol. Secrets are compared in constant time, and are in no message and no log.
"""

from stategraph.server.access.door import caller_of
from stategraph.server.access.port import AuthenticationError, Authenticator

__all__ = ("AuthenticationError", "Authenticator", "caller_of")
