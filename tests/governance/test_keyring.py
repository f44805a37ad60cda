"""Keys by their ids: what they encrypt and sign, and how they are changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stategraph.errors import ConfigurationError
from stategraph.governance.keyring import ALGORITHMS, Keyring, KeyUnavailable


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_was_encrypted_is_decrypted_with_its_own_key(algorithm: Any) -> None:
    old = Keyring().with_new_key("k1", algorithm)
    key_id, sealed = old.encrypt(b"secret", b"about")
    assert b"secret" not in sealed
    new = old.with_new_key("k2")
    assert (key_id, new.active) == ("k1", "k2")
    assert new.decrypt(key_id, sealed, b"about") == b"secret"
    with pytest.raises(KeyUnavailable, match="'k1' is not in the keyring, which has k2"):
        new.without_key("k1").decrypt(key_id, sealed, b"about")


@given(st.integers(0, 10**6), st.integers(0, 7), st.sampled_from(ALGORITHMS))
def test_any_changed_bit_is_found(at: int, bit: int, algorithm: Any) -> None:
    keyring = Keyring().with_new_key("k", algorithm)
    _, sealed = keyring.encrypt(b"some text", b"about")
    changed = bytearray(sealed)
    changed[at % len(changed)] ^= 1 << bit
    with pytest.raises(KeyUnavailable, match="does not open"):
        keyring.decrypt("k", bytes(changed), b"about")
    with pytest.raises(KeyUnavailable, match="does not open"):
        keyring.decrypt("k", sealed, b"about others")


def test_signatures_are_checked_with_public_keys_alone() -> None:
    keyring = Keyring().with_new_signer("s1")
    key_id, signature = keyring.sign(b"message")
    public = Keyring.load(keyring.with_new_signer("s2").public().dump())
    assert public.is_signature(key_id, signature, b"message")
    assert not public.is_signature(key_id, signature, b"massage")
    assert not public.is_signature("s2", signature, b"message")
    with pytest.raises(KeyUnavailable, match="no signing key"):
        public.sign(b"message")
    with pytest.raises(KeyUnavailable, match="'s3' is not in the keyring"):
        public.is_signature("s3", signature, b"message")


def test_a_keyring_is_written_for_its_owner_alone_and_read_again(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    keyring = Keyring().with_new_key("k1").with_new_signer("s1")
    keyring.write(file)
    assert file.stat().st_mode & 0o777 == 0o600
    again = Keyring.from_file(file)
    key_id, sealed = keyring.encrypt(b"x", b"")
    assert again.decrypt(key_id, sealed, b"") == b"x"
    assert [each.name for each in tmp_path.iterdir()] == ["keys.json"]


def test_a_key_file_that_others_may_write_to_is_refused_and_one_they_may_read_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "keys.json"
    Keyring().with_new_key().write(file)
    file.chmod(0o644)
    Keyring.from_file(file)
    assert "may read the key file" in caplog.text
    file.chmod(0o666)
    with pytest.raises(ConfigurationError, match="may write"):
        Keyring.from_file(file)


def test_the_environment_holds_a_keyring_or_names_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keyring = Keyring().with_new_key("k1")
    monkeypatch.delenv("STATEGRAPH_AUDIT_KEYS", raising=False)
    assert Keyring.from_environment() is None
    monkeypatch.setenv("STATEGRAPH_AUDIT_KEYS", keyring.dump())
    assert Keyring.from_environment().ids == ("k1",)  # type: ignore[union-attr]
    keyring.write(tmp_path / "keys.json")
    monkeypatch.setenv("STATEGRAPH_AUDIT_KEYS", str(tmp_path / "keys.json"))
    assert Keyring.from_environment().ids == ("k1",)  # type: ignore[union-attr]


def test_keys_are_neither_printed_nor_in_errors() -> None:
    keyring = Keyring().with_new_key("k1")
    text = keyring.dump()
    assert repr(keyring) == "<Keyring: 1 keys, active k1; signer None>"
    with pytest.raises(ConfigurationError) as raised:
        Keyring.load(text[:-20])
    assert all(line.strip(' ",') not in str(raised.value) for line in text.splitlines() if len(line) > 40)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Keyring({"k": ("AES-256-GCM", b"short")}), "5 bytes; expected 32"),
        (lambda: Keyring({"k": ("ROT13", bytes(32))}), "'ROT13'; expected AES-256-GCM or"),  # type: ignore[dict-item]
        (lambda: Keyring(active="k"), "no such key"),
        (lambda: Keyring(signer="s"), "no such key"),
        (lambda: Keyring().with_new_key("k").with_new_key("k"), "forever"),
        (lambda: Keyring().with_new_key("k").without_key("k"), "active"),
        (lambda: Keyring.load("[]"), "no keyring"),
        (lambda: Keyring.from_file("/nowhere/keys.json"), "cannot be read"),
    ],
)
def test_keyrings_that_make_no_sense_are_refused(make: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        make()
