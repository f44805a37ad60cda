"""An operator of NATS servers for tests: accounts, users and their JWTs, as `nsc` would make them.

The form is that of https://docs.nats.io/running-a-nats-service/configuration/securing_nats/auth_intro/jwt: claims that
are signed with the NKey of the one who answers for them.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nkeys

_UNLIMITED = dict.fromkeys(
    ("subs", "data", "payload", "imports", "exports", "conn", "leaf", "mem_storage", "disk_storage", "streams"), -1
) | {"consumer": -1, "wildcards": True}
_NO_JETSTREAM = {"mem_storage": 0, "disk_storage": 0, "streams": 0, "consumer": 0}


@dataclass(frozen=True)
class Key:
    """An NKey."""

    seed: bytes
    public: str

    @classmethod
    def new(cls, prefix: int) -> Key:
        seed = nkeys.encode_seed(os.urandom(32), prefix)
        return cls(bytes(seed), nkeys.from_seed(bytearray(seed)).public_key.decode())

    def sign(self, subject: str, kind: str, claims: dict[str, Any], lives_s: float | None = None) -> str:
        """Answer for a key; return the JWT."""
        body = {"iat": int(time.time()), "iss": self.public, "name": kind, "sub": subject}
        if lives_s is not None:
            body["exp"] = int(time.time() + lives_s)
        body |= {"nats": {**claims, "type": kind, "version": 2}}
        body["jti"] = base64.b32encode(hashlib.sha256(json.dumps(body).encode()).digest()).decode().rstrip("=")
        parts = ({"typ": "JWT", "alg": "ed25519-nkey"}, body)
        signed = ".".join(_encoded(json.dumps(part).encode()) for part in parts)
        return f"{signed}.{_encoded(nkeys.from_seed(bytearray(self.seed)).sign(signed.encode()))}"


class Operator:
    """Answers for two accounts: one of the system, and one for programs."""

    def __init__(self) -> None:
        self._key = Key.new(nkeys.PREFIX_BYTE_OPERATOR)
        self._system, self._account = (Key.new(nkeys.PREFIX_BYTE_ACCOUNT) for _ in range(2))

    def configure(self, file: Path) -> list[str]:
        """Write a configuration, and return the server's arguments for it."""
        system, account = (
            self._key.sign(key.public, "account", {"limits": limits, "default_permissions": {"pub": {}, "sub": {}}})
            for key, limits in ((self._system, _UNLIMITED | _NO_JETSTREAM), (self._account, _UNLIMITED))
        )
        operator = self._key.sign(self._key.public, "operator", {"system_account": self._system.public})
        file.write_text(
            f"operator: {operator}\nsystem_account: {self._system.public}\nresolver: MEMORY\n"
            f"resolver_preload: {{ {self._system.public}: {system}, {self._account.public}: {account} }}\n"
        )
        return ["-c", str(file)]

    def let_in(self, file: Path, lives_s: float | None = None, **permissions: Any) -> Key:
        """Write credentials of a new user, whose key is returned."""
        user = Key.new(nkeys.PREFIX_BYTE_USER)
        claims = {"pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1, **permissions}
        jwt = self._account.sign(user.public, "user", claims, lives_s)
        file.write_text(
            f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
            "************************* IMPORTANT *************************\nKeep it secret.\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{user.seed.decode()}\n------END USER NKEY SEED------\n"
        )
        return user


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
