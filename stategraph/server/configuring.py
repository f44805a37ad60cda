"""Settings of a server from a file (TOML), and secrets from the environment.

```toml
cors = ["https://chat.example.com"]
protocols = ["langgraph", "mcp"]

[limits]
requests_per_minute = 1200

[leases]
lease_s = 30
heartbeat_s = 10

[a2a]
organization = "Example"
push_secrets = false

[[a2a.signing]]
key_id = "2026-11"
file = "cards.key"

[mcp]
skills = ["skills/desk"]

[auth.jwt]
issuer = "https://id.example.com/"
audience = "https://agents.example.com"
jwks_url = "https://id.example.com/.well-known/jwks.json"

[auth.api_keys]
file = "keys.jsonl"

[auth.oauth]
resource = "https://agents.example.com"
scopes = ["agents"]
issuers = { "https://id.example.com/" = "https://id.example.com/.well-known/jwks.json" }

[auth.proxies]
networks = ["10.0.0.0/8"]
header = "client-cert"

[tls]
certificate = "server.crt"
key = "server.key"

[announce]
url = "https://host-1.example.com:2024"

[resources]
folder = "app"
allow = ["app."]
```

Secrets are not in the file: the token is in `STATEGRAPH_TOKEN`, the secret of tokens (JWT) in `STATEGRAPH_JWT_SECRET`.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from stategraph.errors import ConfigurationError, MissingPackageError
from stategraph.server.access.port import Authenticator
from stategraph.server.limits import Limits
from stategraph.server.service.graphs.declared import ResourceSettings
from stategraph.server.settings import PROTOCOLS, Announcement, Settings, Tls
from stategraph.workers.leases import LeaseSettings

if TYPE_CHECKING:
    from stategraph.governance.skills.skill import Skill
    from stategraph.server.a2a.settings import A2aSettings, SigningKey
    from stategraph.server.mcp.settings import McpSettings

JWT_SECRET_VARIABLE: Final = "STATEGRAPH_JWT_SECRET"

_LISTS: Final = ("cors", "protocols", "allowed_hosts", "webhook_hosts")
_TABLES: Final = ("a2a", "mcp", "limits", "auth", "leases", "tls", "announce", "resources")
_KNOWN: Final = (*_LISTS, *_TABLES, "drain_s", "access_log", "grpc", "probes", "sessions")


def read(path: str | Path) -> Settings:
    """Read a file of settings.

    Args:
        path: The file; paths in it are relative to its folder.

    Raises:
        ConfigurationError: It is not there, is no TOML, or has something that is not known or makes no sense.
        MissingPackageError: It asks for something whose package is not installed.
    """
    file = Path(path)
    try:
        said = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"The settings '{file}' cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigurationError(f"The settings '{file}' are no TOML: {error}") from error
    try:
        return settings_of(said, file.resolve().parent)
    except ConfigurationError as error:
        raise ConfigurationError(f"The settings '{file}': {error}") from error


def settings_of(said: Mapping[str, Any], folder: Path) -> Settings:
    """Return the settings that a file says.

    Args:
        said: The file as values.
        folder: Paths are relative to it.

    Raises:
        ConfigurationError: Something is not known or makes no sense.
    """
    _check_known(said, _KNOWN, "settings")
    lists: dict[str, Any] = {name: _texts(said[name], name) for name in _LISTS if name in said}
    settings = Settings(**lists)
    if unknown := [each for each in settings.protocols if each not in PROTOCOLS]:
        raise ConfigurationError(f"there is no protocol {unknown[0]!r}; known are {', '.join(PROTOCOLS)}")
    tables: dict[str, Any] = {name: read(said[name], folder) for name, read in _READERS.items() if name in said}
    settings = replace(settings, **tables)
    if "a2a" in said:
        settings = replace(settings, options={**settings.options, "a2a": _a2a(said["a2a"], folder)})
    if "mcp" in said:
        settings = replace(settings, options={**settings.options, "mcp": _mcp(said["mcp"], folder)})
    if "grpc" in said:
        settings = replace(settings, grpc=_address(said["grpc"], "grpc"))
    if "probes" in said:
        settings = replace(settings, probes=_address(said["probes"], "probes"))
    if "sessions" in said:
        settings = replace(settings, sessions=_place(said["sessions"], folder))
    if "drain_s" in said:
        settings = replace(settings, drain_s=_number(said["drain_s"], "drain_s"))
    if "access_log" in said:
        settings = replace(settings, access_log=_truth(said["access_log"], "access_log"))
    return _with_auth(settings, _table(said.get("auth", {}), "auth"), folder)


def _with_auth(settings: Settings, said: Mapping[str, Any], folder: Path) -> Settings:
    _check_known(said, tuple(_MAKERS), "[auth]")
    found: list[Authenticator] = []
    routes = list(settings.routes)
    for name, make in _MAKERS.items():
        if name in said:
            try:
                made = make(_table(said[name], f"auth.{name}"), folder)
            except TypeError as error:
                raise ConfigurationError(f"[auth.{name}]: {_argument(error)}") from None
            except ModuleNotFoundError as error:
                if error.name not in ("jwt", "httpx", "cryptography"):
                    raise
                raise MissingPackageError("stategraph[server]", f"[auth.{name}]") from error
            found.append(made)
            routes.extend(getattr(made, "routes", list)())
    return replace(settings, auth=tuple(found), routes=tuple(routes))


def _argument(error: TypeError) -> str:
    """Return what an error about arguments says of them, without the name of the function."""
    return str(error).partition(" ")[2] or str(error)


def _proxies(said: Mapping[str, Any], folder: Path) -> Authenticator:
    from stategraph.server.access.proxies import TrustedProxies  # each only where it is asked for

    del folder
    return TrustedProxies(**said)


def _oauth(said: Mapping[str, Any], folder: Path) -> Authenticator:
    from stategraph.server.access.keys import FetchedKeys
    from stategraph.server.access.oauth import OAuthResource

    del folder
    issuers = {name: FetchedKeys(str(url)) for name, url in _table(said.get("issuers", {}), "issuers").items()}
    return OAuthResource(**{**said, "issuers": issuers})


def _jwt(said: Mapping[str, Any], folder: Path) -> Authenticator:
    from stategraph.server.access.jwt import Jwt
    from stategraph.server.access.keys import FetchedKeys, StaticKeys

    given = dict(said)
    if "secret" in given:
        raise ConfigurationError(f"[auth.jwt] has a secret: put it into the variable {JWT_SECRET_VARIABLE}")
    url, file = given.pop("jwks_url", None), given.pop("jwks_file", None)
    if url is not None:
        given["keys"] = FetchedKeys(str(url))
    elif file is not None:
        given["keys"] = StaticKeys(_text_at(folder / str(file)))
    else:
        given["secret"] = os.environ.get(JWT_SECRET_VARIABLE) or None
        if given["secret"] is None:
            raise ConfigurationError(
                f"[auth.jwt] needs jwks_url, jwks_file, or a secret in the variable {JWT_SECRET_VARIABLE}"
            )
    return Jwt(**given)


def _api_keys(said: Mapping[str, Any], folder: Path) -> Authenticator:
    from stategraph.server.access.api_keys import ApiKeys

    _check_known(said, ("file",), "[auth.api_keys]")
    return ApiKeys(folder / str(said.get("file", "keys.jsonl")))


#: In the order in which they are asked.
_MAKERS: Final[Mapping[str, Callable[[Mapping[str, Any], Path], Authenticator]]] = {
    "proxies": _proxies,
    "api_keys": _api_keys,
    "oauth": _oauth,
    "jwt": _jwt,
}


def _text_at(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"'{file}' cannot be read: {error.strerror}") from error


def _limits(said: Any) -> Limits:
    given = _table(said, "limits")
    _check_known(given, tuple(each.name for each in fields(Limits)), "[limits]")
    for name, value in given.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise ConfigurationError(f"[limits] {name} is {value!r}; expected a whole number")
    return Limits(**given)


def _signing(said: Any, folder: Path) -> list[SigningKey]:
    """Return the keys that sign cards; several, while one takes the place of another."""
    from stategraph.server.a2a.settings import SigningKey

    found = []
    if not isinstance(said, list):
        raise ConfigurationError(f"[a2a] signing is {said!r}; expected tables, [[a2a.signing]]")
    for each in said:
        given = dict(_table(each, "a2a.signing"))
        _check_known(given, ("file", "key_id", "algorithm", "jwks_url"), "[[a2a.signing]]")
        for name in ("file", "key_id"):
            if not isinstance(given.get(name), str):
                raise ConfigurationError(f"[[a2a.signing]] {name} is {given.get(name)!r}; expected a text")
        found.append(SigningKey(key=_text_at(folder / str(given.pop("file"))), **given))
    return found


def _a2a(said: Any, folder: Path) -> A2aSettings:
    from stategraph.server.a2a.settings import A2aSettings

    given = dict(_table(said, "a2a"))
    signing = _signing(given.pop("signing", []), folder)
    known = {each.name: each.default for each in fields(A2aSettings) if isinstance(each.default, str | bool)}
    known |= dict.fromkeys(_A2A_TEXTS, "")
    _check_known(given, tuple(known), "[a2a]")
    for name, value in given.items():
        if type(value) is not type(known[name]):
            expected = "true or false" if isinstance(known[name], bool) else "a text"
            raise ConfigurationError(f"[a2a] {name} is {value!r}; expected {expected}")
    return A2aSettings(**given, signing=signing)


#: Texts of A2A that are not said by default.
_A2A_TEXTS: Final = ("default", "documentation_url")


def _mcp(said: Any, folder: Path) -> McpSettings:
    from stategraph.server.mcp.settings import McpSettings

    given = dict(_table(said, "mcp"))
    _check_known(given, (*_MCP_TEXTS, "skills"), "[mcp]")
    for name in _MCP_TEXTS:
        if not isinstance(given.get(name, ""), str):
            raise ConfigurationError(f"[mcp] {name} is {given[name]!r}; expected a text")
    places = _texts(given.pop("skills", []), "[mcp] skills")
    return McpSettings(**given, skills=[_skill(folder / each) for each in places])


_MCP_TEXTS: Final = ("name", "instructions")


def _skill(folder: Path) -> Skill:
    from stategraph.governance.skills import loader
    from stategraph.governance.skills.skill import SkillError

    try:
        return loader.load(folder)
    except SkillError as error:
        raise ConfigurationError(f"[mcp] skills: {error}") from error


def _leases(said: Any) -> LeaseSettings:
    given = _table(said, "leases")
    _check_known(given, tuple(each.name for each in fields(LeaseSettings)), "[leases]")
    for name, value in given.items():
        _number(value, f"[leases] {name}")
        if name == "max_attempts" and not isinstance(value, int):
            raise ConfigurationError(f"[leases] {name} is {value!r}; expected a whole number")
    return LeaseSettings(**given)


def _tls(said: Any, folder: Path) -> Tls:
    given = _fields_of(Tls, said, "tls", needs="certificate")
    for name, value in given.items():
        if not isinstance(value, str):
            raise ConfigurationError(f"[tls] {name} is {value!r}; expected a file")
    return Tls(**{name: str(folder / value) for name, value in given.items()})


def _announcement(said: Any) -> Announcement:
    from stategraph.fleet.endpoint import AgentEndpoint

    found = Announcement(**_fields_of(Announcement, said, "announce", needs="url"))
    try:
        AgentEndpoint(agent="each", url=found.url, weight=found.weight)
    except ConfigurationError as error:
        raise ConfigurationError(f"[announce]: {error}") from None
    return found


def _resources(said: Any, folder: Path) -> ResourceSettings:
    given = dict(_table(said, "resources"))
    _check_known(given, tuple(each.name for each in fields(ResourceSettings)), "[resources]")
    for name in ("folder", "services"):
        if not isinstance(given.get(name, ""), str):
            raise ConfigurationError(f"[resources] {name} is {given[name]!r}; expected a text")
    if "only" in given:
        _truth(given["only"], "[resources] only")
    if "allow" in given:
        given["allow"] = _texts(given["allow"], "[resources] allow")
    if given.get("folder"):
        given["folder"] = str(folder / given["folder"])
    if given.get("only") and not given.get("folder"):
        raise ConfigurationError('[resources] only is about a folder: name one, as in folder = "app"')
    return ResourceSettings(**given)


def _fields_of(kind: Any, said: Any, name: str, *, needs: str) -> Mapping[str, Any]:
    """Return a table with the fields of a class, one of which it needs."""
    given = _table(said, name)
    _check_known(given, tuple(each.name for each in fields(kind)), f"[{name}]")
    if needs not in given:
        raise ConfigurationError(f"[{name}] has no '{needs}'")
    return given


#: What reads the tables that are settings of the same name.
_READERS: Final[Mapping[str, Callable[[Any, Path], Any]]] = {
    "limits": lambda said, folder: _limits(said),
    "leases": lambda said, folder: _leases(said),
    "tls": _tls,
    "announce": lambda said, folder: _announcement(said),
    "resources": _resources,
}


def _check_known(said: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    if unknown := [each for each in said if each not in known]:
        raise ConfigurationError(f"{where}: {', '.join(unknown)} is not known; known are {', '.join(known)}")


def _table(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{name} is {value!r}; expected a table, [{name}]")
    return value


def _texts(value: Any, name: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ConfigurationError(f"{name} is {value!r}; expected a list of texts")
    return tuple(value)


def _number(value: Any, name: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or value < 0:
        raise ConfigurationError(f"{name} is {value!r}; expected a number of seconds")
    return float(value)


def _address(value: Any, name: str) -> str:
    host, colon, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if not (host and colon and port.isdecimal() and 0 < int(port) < 65536):
        raise ConfigurationError(f"{name} is {value!r}; expected an address and a port, such as '127.0.0.1:50051'")
    return f"{host}:{port}"


def _place(value: Any, folder: Path) -> str:
    file, colon, name = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if not (file and colon and name):
        raise ConfigurationError(f"sessions is {value!r}; expected 'file.py:name' or 'package.module:name'")
    return f"{folder / file}:{name}" if file.endswith(".py") else str(value)


def _truth(value: Any, name: str) -> bool:
    if not isinstance(value, bool):
        raise ConfigurationError(f"{name} is {value!r}; expected true or false")
    return value
