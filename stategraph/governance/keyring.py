"""Keys for encrypting fields and signing statements, each known by an id.

    keyring = Keyring.from_file("/etc/stategraph/audit-keys.json")

Rules
-----
* New values are encrypted with the active key; every key that is still there decrypts. So a key is rotated by adding
  one and making it active (`with_new_key`), and taken away when nothing needs it any more.
* Keys come from a file or an environment variable, and are never stored beside what they protect. They are not printed.
* AES-256-GCM (NIST SP 800-38D) with random nonces is safe for 2**32 values of one key: rotate long before.
  ChaCha20-Poly1305 (RFC 8439) is the other choice, for machines without AES in hardware.
* Signatures are Ed25519 (RFC 8032). Who only verifies needs the public keys alone: `public()`.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast

from stategraph.errors import ConfigurationError, MissingPackageError
from stategraph.governance.errors import GovernanceError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

Algorithm: TypeAlias = Literal["AES-256-GCM", "ChaCha20-Poly1305"]
ALGORITHMS: Final[tuple[Algorithm, ...]] = ("AES-256-GCM", "ChaCha20-Poly1305")

VARIABLE: Final = "STATEGRAPH_AUDIT_KEYS"
"""The environment variable that `from_environment` reads: the JSON of a key file, or the path of one."""

NONCE_BYTES: Final = 12
KEY_BYTES: Final = 32

_logger = logging.getLogger(__name__)


class KeyUnavailable(GovernanceError):
    """A key is not in the keyring, or does not open what it should; the message names its id, never the key."""


class Keyring:
    """Keys by their ids; immutable.

    Args:
        keys: The keys for encryption: their algorithms and 32 bytes each, by id.
        active: The id of the key for new values; None: values are not encrypted.
        signing: Seeds of private Ed25519 keys, 32 bytes each, by id.
        signer: The id of the key that signs; None: nothing is signed.
        verifying: Public Ed25519 keys, 32 bytes each, by id, beside those of `signing`.

    Raises:
        ConfigurationError: A key has another length, an algorithm is not known, or an active id names no key.
        MissingPackageError: The extra `governance` is not installed.
    """

    def __init__(
        self,
        keys: Mapping[str, tuple[Algorithm, bytes]] | None = None,
        active: str | None = None,
        *,
        signing: Mapping[str, bytes] | None = None,
        signer: str | None = None,
        verifying: Mapping[str, bytes] | None = None,
    ) -> None:
        self._keys = dict(keys or {})
        self._signing = dict(signing or {})
        self._verifying = dict(verifying or {})
        self.active = active
        self.signer = signer
        for name, known, chosen in (("active", self._keys, active), ("signer", self._signing, signer)):
            if chosen is not None and chosen not in known:
                raise ConfigurationError(
                    f"Keyring: {name} is '{chosen}', and there is no such key. There are: {', '.join(known) or 'none'}"
                )
        self._ciphers = {id: _cipher(id, *key) for id, key in self._keys.items()}
        self._private = {id: _private(id, seed) for id, seed in self._signing.items()}
        self._public = {id: key.public_key() for id, key in self._private.items()} | {
            id: _public(id, raw) for id, raw in self._verifying.items()
        }

    def __repr__(self) -> str:
        return f"<Keyring: {len(self._keys)} keys, active {self.active}; signer {self.signer}>"

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the keys for encryption."""
        return tuple(self._keys)

    @property
    def can_verify(self) -> bool:
        """True if there is a key to verify signatures with."""
        return bool(self._public)

    def encrypt(self, plain: bytes, about: bytes) -> tuple[str, bytes]:
        """Encrypt with the active key.

        Args:
            plain: What is hidden.
            about: What it belongs to (associated data): it has to be the same for `decrypt`.

        Returns:
            The key's id, and the nonce with the ciphertext and its tag behind it.

        Raises:
            KeyUnavailable: There is no active key.
        """
        if self.active is None:
            raise KeyUnavailable("This keyring has no active key to encrypt with: give it one with with_new_key()")
        nonce = os.urandom(NONCE_BYTES)
        return self.active, nonce + self._ciphers[self.active].encrypt(nonce, plain, about)

    def decrypt(self, key_id: str, sealed: bytes, about: bytes) -> bytes:
        """Decrypt what `encrypt` returned.

        Raises:
            KeyUnavailable: The key is not there, or what was encrypted, or what it belongs to, has been changed.
        """
        from cryptography.exceptions import InvalidTag

        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise KeyUnavailable(
                f"Key '{key_id}' is not in the keyring, which has {', '.join(self._keys) or 'no keys'}: add it to read "
                "what it encrypted"
            )
        try:
            return cast("bytes", cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], about))
        except (InvalidTag, ValueError):
            raise KeyUnavailable(f"Key '{key_id}' does not open this value: one of them is not what it was") from None

    def sign(self, message: bytes) -> tuple[str, bytes]:
        """Return the id of the signing key, and its signature of a message.

        Raises:
            KeyUnavailable: There is no signing key.
        """
        if self.signer is None:
            raise KeyUnavailable("This keyring has no signing key: give it one with with_new_signer()")
        return self.signer, self._private[self.signer].sign(message)

    def is_signature(self, key_id: str, signature: bytes, message: bytes) -> bool:
        """Return whether a signature is that of a key for a message.

        Raises:
            KeyUnavailable: The key is not there.
        """
        from cryptography.exceptions import InvalidSignature

        key = self._public.get(key_id)
        if key is None:
            raise KeyUnavailable(
                f"Signing key '{key_id}' is not in the keyring, which has {', '.join(self._public) or 'none'}"
            )
        try:
            key.verify(signature, message)
        except InvalidSignature:
            return False
        return True

    def with_new_key(self, id: str | None = None, algorithm: Algorithm = "AES-256-GCM") -> Keyring:
        """Return a keyring with a further key, which is active; the others still decrypt.

        Args:
            id: Its id; None: a new one.
            algorithm: How it encrypts.

        Raises:
            ConfigurationError: There is a key with this id, or no such algorithm.
        """
        id = id or f"k{secrets.token_hex(4)}"
        _refuse_known(id, self._keys)
        return self._changed(keys={**self._keys, id: (algorithm, os.urandom(KEY_BYTES))}, active=id)

    def with_new_signer(self, id: str | None = None) -> Keyring:
        """Return a keyring with a further key for signing, which signs from now on; the others still verify.

        Raises:
            ConfigurationError: There is a key with this id.
        """
        id = id or f"s{secrets.token_hex(4)}"
        _refuse_known(id, self._public)
        return self._changed(signing={**self._signing, id: os.urandom(KEY_BYTES)}, signer=id)

    def without_key(self, id: str) -> Keyring:
        """Return a keyring without a key for encryption: what it encrypted cannot be read any more.

        Raises:
            ConfigurationError: It is active, or not there.
        """
        if id == self.active or id not in self._keys:
            raise ConfigurationError(f"Key '{id}' is {'active' if id == self.active else 'not in the keyring'}")
        return self._changed(keys={key: each for key, each in self._keys.items() if key != id})

    def public(self) -> Keyring:
        """Return a keyring that can only verify signatures."""
        return Keyring(verifying={id: _raw(key) for id, key in self._public.items()})

    def _changed(self, **changes: Any) -> Keyring:
        now: dict[str, Any] = {
            "keys": self._keys,
            "active": self.active,
            "signing": self._signing,
            "signer": self.signer,
            "verifying": self._verifying,
        }
        return Keyring(**{**now, **changes})

    # Files

    def dump(self) -> str:
        """Return the keyring as JSON, with its keys: the content of a key file."""
        written: dict[str, Any] = {
            "version": 1,
            "active": self.active,
            "keys": {id: {"algorithm": algorithm, "key": _written(key)} for id, (algorithm, key) in self._keys.items()},
            "signer": self.signer,
            "signing": {id: _written(seed) for id, seed in self._signing.items()},
            "verifying": {id: _written(raw) for id, raw in self._verifying.items()},
        }
        return json.dumps({name: each for name, each in written.items() if each}, indent=2)

    @classmethod
    def load(cls, text: str) -> Keyring:
        """Make a keyring of the JSON that `dump` writes.

        Raises:
            ConfigurationError: It is not such JSON; the message shows none of it.
        """
        try:
            found = json.loads(text)
            keys = {id: (each["algorithm"], _read(each["key"])) for id, each in found.get("keys", {}).items()}
            signing = {id: _read(each) for id, each in found.get("signing", {}).items()}
            verifying = {id: _read(each) for id, each in found.get("verifying", {}).items()}
            active, signer = found.get("active"), found.get("signer")
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ConfigurationError(
                f"This is no keyring ({type(error).__name__}): expected JSON as `stategraph audit keygen` writes it"
            ) from None
        return cls(keys, active, signing=signing, signer=signer, verifying=verifying)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Keyring:
        """Read a key file.

        A file that others of the machine may write to is refused; one that they may read is warned of.

        Raises:
            ConfigurationError: It cannot be read, is no keyring, or others may write to it.
        """
        try:
            mode = os.stat(path).st_mode
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"The key file '{os.fspath(path)}' cannot be read: {error}") from error
        if mode & stat.S_IWOTH:
            raise ConfigurationError(
                f"Every user of this machine may write to the key file '{os.fspath(path)}': chmod 600 it"
            )
        keyring = cls.load(text)
        if mode & stat.S_IROTH and (keyring.ids or keyring.signer):
            _logger.warning("Every user of this machine may read the key file '%s': chmod 600 it", os.fspath(path))
        return keyring

    @classmethod
    def from_environment(cls, variable: str = VARIABLE) -> Keyring | None:
        """Read the keyring that an environment variable holds or names; None if it is not set.

        Raises:
            ConfigurationError: What it holds is no keyring.
        """
        given = os.environ.get(variable, "").strip()
        if not given:
            return None
        return cls.load(given) if given.startswith("{") else cls.from_file(given)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write a key file that only its owner may read, in place of one that is there.

        Raises:
            OSError: It cannot be written.
        """
        new = f"{os.fspath(path)}.{secrets.token_hex(4)}.new"
        file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(file, "w", encoding="utf-8") as opened:
                opened.write(f"{self.dump()}\n")
                opened.flush()
                os.fsync(opened.fileno())
            os.replace(new, path)
        except BaseException:
            Path(new).unlink(missing_ok=True)
            raise


def _cipher(id: str, algorithm: str, key: bytes) -> Any:
    if algorithm not in ALGORITHMS:
        raise ConfigurationError(f"Key '{id}': the algorithm is {algorithm!r}; expected {' or '.join(ALGORITHMS)}")
    _check_length(id, key)
    try:
        from cryptography.hazmat.primitives.ciphers import aead  # 20 ms, and only those who encrypt need it
    except ImportError as error:
        raise MissingPackageError("stategraph[governance]", "A keyring") from error
    return aead.AESGCM(key) if algorithm == "AES-256-GCM" else aead.ChaCha20Poly1305(key)


def _private(id: str, seed: bytes) -> Ed25519PrivateKey:
    _check_length(id, seed)
    return _ed25519().Ed25519PrivateKey.from_private_bytes(seed)  # type: ignore[no-any-return]


def _public(id: str, raw: bytes) -> Ed25519PublicKey:
    _check_length(id, raw)
    return _ed25519().Ed25519PublicKey.from_public_bytes(raw)  # type: ignore[no-any-return]


def _ed25519() -> Any:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise MissingPackageError("stategraph[governance]", "A keyring") from error
    return ed25519


def _check_length(id: str, key: bytes) -> None:
    if not isinstance(key, bytes) or len(key) != KEY_BYTES:
        raise ConfigurationError(f"Key '{id}' has {len(key)} bytes; expected {KEY_BYTES}")


def _refuse_known(id: str, known: Mapping[str, object]) -> None:
    if id in known:
        raise ConfigurationError(f"There is a key '{id}' already: an id belongs to one key forever")


def _raw(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes_raw()


def _written(key: bytes) -> str:
    return base64.b64encode(key).decode()


def _read(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("no base64") from error
