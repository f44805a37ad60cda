"""Names of any text, written for subjects of NATS and payloads of PostgreSQL."""

from __future__ import annotations

import hashlib
import re
from typing import Final

#: Longer names are cut, and told apart by a digest.
LONGEST_TOKEN: Final = 100

_UNSAFE: Final = re.compile(rb"[^A-Za-z0-9_-]")


def token(name: str) -> str:
    """Write any text with letters, digits, `-`, `_` and `=` alone, so that different texts stay different.

    NATS gives a meaning to dots, stars, angle brackets and spaces in subjects, and PostgreSQL limits a payload. An
    empty text is `=`; other characters are `=` and two hexadecimal digits for each of their bytes.
    """
    data = name.encode("utf-8", "surrogatepass")
    written = _UNSAFE.sub(lambda found: b"=%02X" % found[0][0], data).decode() or "="
    if len(written) <= LONGEST_TOKEN:
        return written
    digest = hashlib.blake2b(data, digest_size=16).hexdigest()
    return f"{written[: LONGEST_TOKEN - 36]}=={digest}"
