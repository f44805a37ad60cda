"""Values of secrets, read where they are when they are used, and kept out of everything that is stored or told."""

from __future__ import annotations

import base64
import importlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any, Final

from stategraph.resources.errors import InvalidResource, NotReady
from stategraph.resources.kinds.secret import SecretSpec, SecretValue

#: Folders from which secrets may be read, besides the current one.
FOLDERS: Final = ("/run/secrets", "/var/run/secrets")

HIDDEN: Final = "[secret]"
_SHORTEST_HIDDEN: Final = 4
_MAX_BYTES: Final = 1024 * 1024


def sources(spec: SecretSpec) -> dict[str, SecretValue]:
    """Return where the values of a secret are, by their names; one alone has the name `value`."""
    found = dict(spec.values)
    if spec.value_from is not None:
        found["value"] = spec.value_from
    return found


def read(source: SecretValue, environment: Mapping[str, str], folders: Sequence[str], namespace: str) -> str:
    """Read a value. Blocks for files, keyrings and Kubernetes.

    Raises:
        NotReady: It is not there; the message never has a value.
        InvalidResource: It may not be read.
    """
    if source.env is not None:
        value = environment.get(source.env)
        if not value:
            raise NotReady(f"the variable {source.env} is not set", reason="SecretNotFound")
        return value
    if source.file is not None:
        return _file(source.file, folders)
    if source.keyring is not None:
        return _keyring(source.keyring.service, source.keyring.username)
    assert source.k8s is not None
    return _kubernetes(source.k8s.name, source.k8s.key, namespace)


def hidden(value: Any, secrets: Iterable[str]) -> Any:
    """Return JSON with every secret in its texts replaced, but for those of fewer than 4 characters."""
    words = sorted((each for each in secrets if len(each) >= _SHORTEST_HIDDEN), key=len, reverse=True)
    return _hidden(value, words) if words else value


def _hidden(value: Any, words: Sequence[str]) -> Any:
    if isinstance(value, str):
        for word in words:
            value = value.replace(word, HIDDEN)
        return value
    if isinstance(value, Mapping):
        return {_hidden(key, words): _hidden(each, words) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_hidden(each, words) for each in value]
    return value


def _file(name: str, folders: Sequence[str]) -> str:
    path = FilePath(name).expanduser()
    try:
        real = path.resolve(strict=True)
        allowed = [FilePath(each).resolve() for each in (*folders, os.getcwd())]
        if not any(real.is_relative_to(each) for each in allowed):
            raise InvalidResource(
                f"the file '{name}' is outside of the folders of secrets ({', '.join(map(str, allowed))}); allow its "
                "folder with secret_folders",
                path=("spec",),
            )
        with real.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise NotReady(f"the file '{name}' cannot be read: {error.strerror}", reason="SecretNotFound") from None
    if len(content) > _MAX_BYTES:
        raise NotReady(f"the file '{name}' is larger than {_MAX_BYTES:,} bytes", reason="SecretNotFound")
    try:
        return content.decode().rstrip("\n")
    except UnicodeDecodeError:
        raise NotReady(f"the file '{name}' is not UTF-8", reason="SecretNotFound") from None


def _keyring(service: str, username: str) -> str:
    try:
        keyring = importlib.import_module("keyring")
    except ImportError:
        raise NotReady("the package keyring is not installed: pip install keyring", reason="PackageMissing") from None
    value = keyring.get_password(service, username)
    if value is None:
        raise NotReady(f"the keyring has no password of '{username}' for '{service}'", reason="SecretNotFound")
    return str(value)


def _kubernetes(name: str, key: str, namespace: str) -> str:
    try:
        client = importlib.import_module("kubernetes.client")
        config = importlib.import_module("kubernetes.config")
    except ImportError:
        told = "the package kubernetes is not installed: pip install 'stategraph[kubernetes]'"
        raise NotReady(told, reason="PackageMissing") from None
    try:
        config.load_config()
        found = client.CoreV1Api().read_namespaced_secret(name, namespace)
    except (client.ApiException, config.ConfigException) as error:
        told = getattr(error, "reason", None) or str(error)
        raise NotReady(
            f"the Kubernetes secret '{namespace}/{name}' cannot be read: {told}", reason="SecretNotFound"
        ) from None
    data = found.data or {}
    if key not in data:
        raise NotReady(f"the Kubernetes secret '{namespace}/{name}' has no key '{key}'", reason="SecretNotFound")
    return base64.b64decode(data[key]).decode()
