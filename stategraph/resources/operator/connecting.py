"""Logins to the API server: its address, and the credentials of the operator.

A login is a function: it is asked again when the server refuses what it returned, so that a token that was renewed in
its file, as those of service accounts are each hour, is read anew.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Final, TypeAlias

from stategraph.errors import ConfigurationError, MissingPackageError

if TYPE_CHECKING:
    import kopf

Login: TypeAlias = "Callable[[], kopf.ConnectionInfo]"

#: Where a pod has the token, authority and namespace of its service account.
SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")

_HOST: Final = "KUBERNETES_SERVICE_HOST"
_PORT: Final = "KUBERNETES_SERVICE_PORT"


def at(server: str, *, token_file: str | None = None, authority: str | None = None) -> Login:
    """Return a login at an address.

    Args:
        server: The address.
        token_file: The file of a bearer token, read at each login; None: there is none.
        authority: The file of the certificates that the server's is verified by; None: those of the system.
    """

    def login() -> kopf.ConnectionInfo:
        token = None if token_file is None else _read(Path(token_file))
        info: kopf.ConnectionInfo = _kopf().ConnectionInfo(server=server, token=token, ca_path=authority)
        return info

    return login


def found(environment: Mapping[str, str] | None = None, folder: Path = SERVICE_ACCOUNT) -> Login:
    """Return the login of a pod's service account, or else of the kubeconfig.

    Args:
        environment: The variables of the process; None: `os.environ`.
        folder: Where the service account is.
    """
    variables = os.environ if environment is None else environment
    if variables.get(_HOST) and (folder / "token").exists():
        return in_cluster(variables, folder)
    return kubeconfig


def in_cluster(environment: Mapping[str, str], folder: Path = SERVICE_ACCOUNT) -> Login:
    """Return the login of a pod's service account."""
    host = environment[_HOST]
    server = f"https://{f'[{host}]' if ':' in host else host}:{environment.get(_PORT, '443')}"

    def login() -> kopf.ConnectionInfo:
        info: kopf.ConnectionInfo = _kopf().ConnectionInfo(
            server=server, token=_read(folder / "token"), ca_path=str(folder / "ca.crt")
        )
        return info

    return login


def kubeconfig() -> kopf.ConnectionInfo:
    """Log in as the present context of the kubeconfig says.

    Raises:
        ConfigurationError: There is none.
        MissingPackageError: `kubernetes` is not installed.
    """
    import logging

    module = _kopf()
    info: kopf.ConnectionInfo | None
    try:
        info = module.login_via_client(logger=logging.getLogger(__name__), settings=module.OperatorSettings())
    except module.LoginError as error:
        raise ConfigurationError(
            "There is no cluster to log in to: this is no pod with a service account, and there is no kubeconfig; set "
            "KUBECONFIG, or name the API server with --server"
        ) from error
    if info is None:
        raise MissingPackageError("stategraph[kubernetes]", "The login to a cluster")
    return info


def namespace_of(environment: Mapping[str, str] | None = None, folder: Path = SERVICE_ACCOUNT) -> str:
    """Return the namespace of the operator itself: `POD_NAMESPACE`, else its pod's, else `default`."""
    variables = os.environ if environment is None else environment
    file = folder / "namespace"
    return variables.get("POD_NAMESPACE") or (_read(file) if file.exists() else "default")


def _read(file: Path) -> str:
    """Read a small file.

    Raises:
        ConfigurationError: It cannot be read, or is empty.
    """
    try:
        text = file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigurationError(f"The file '{file}' cannot be read: {error.strerror}") from error
    if not text:
        raise ConfigurationError(f"The file '{file}' is empty; expected a token, or a name")
    return text


def _kopf() -> ModuleType:
    try:
        import kopf  # 0.9 s, and only operators need it
    except ImportError as error:
        raise MissingPackageError("stategraph[kubernetes]", "The operator") from error
    return kopf
