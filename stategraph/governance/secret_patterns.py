"""Secrets and personal data that are known by their form: one row of a table for each kind.

Rules
-----
* Most texts hold none, so a text is first cut into words of letters and digits, in small letters. A kind is looked
  for where one of its `starts` begins a word, one of its `ends` ends one, one of its `symbols` stands, or its `hint`
  is found.
* A pattern hides its groups that begin with `hidden`, or all of its match. Each is linear in the length of the text: no
  repetition within a repetition, and what is repeated has an upper bound.
* Numbers are only hidden if their check digits are right: cards by Luhn's (ISO/IEC 7812-1), IBANs by 97 (ISO 13616).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, TypeVar

T = TypeVar("T")

START: Final = 3
"""Characters of the beginning of a word that are looked at."""

END: Final = 5
"""Characters of the end of a word that are looked at."""


@dataclass(frozen=True, slots=True)
class SecretPattern:
    """A kind of secret.

    Attributes:
        kind: Its name, as texts show it: `[redacted:kind]`.
        pattern: Finds it; a group whose name begins with `hidden` is what is hidden, if there is one.
        starts: Beginnings of words, of at most `START` characters.
        ends: Ends of words, of at most `END` characters.
        symbols: Other texts.
        hint: A pattern over the text in small letters.
        check: Returns how many characters of what was found are one, 0 if it is none; None: all of them.
        personal: Whether it is personal data, such as an e-mail address, and no secret.
        named: Whether it is known by the words around it, and not by its own form.
    """

    kind: str
    pattern: re.Pattern[str]
    starts: tuple[str, ...] = ()
    ends: tuple[str, ...] = ()
    symbols: tuple[str, ...] = ()
    hint: re.Pattern[str] | None = None
    check: Callable[[str], int] | None = None
    personal: bool = False
    named: bool = False


class Suspicion:
    """Finds out quickly which kinds may be in a text at all.

    Args:
        patterns: The kinds.
    """

    def __init__(self, patterns: Iterable[SecretPattern]) -> None:
        self._patterns = tuple(patterns)
        self._starts = self._by(lambda each: each.starts)
        self._ends = self._by(lambda each: each.ends)
        self._known_starts, self._known_ends = frozenset(self._starts), frozenset(self._ends)
        self._symbols = list(self._by(lambda each: each.symbols).items())
        hints = self._by(lambda each: (each.hint,) if each.hint else ())
        self._hints = [(hint.search, those) for hint, those in hints.items()]

    def _by(self, marks: Callable[[SecretPattern], Iterable[T]]) -> dict[T, frozenset[int]]:
        """Return the numbers of the kinds that have a mark, by the mark."""
        found: dict[T, set[int]] = {}
        for at, each in enumerate(self._patterns):
            for mark in marks(each):
                found.setdefault(mark, set()).add(at)
        return {mark: frozenset(those) for mark, those in found.items()}

    def about(self, small: str, words: Iterable[str]) -> tuple[SecretPattern, ...]:
        """Return the kinds that may be in a text, in their order.

        Args:
            small: The text in small letters.
            words: Its words, as `words_of` finds them.
        """
        starts = self._known_starts.intersection([word[:START] for word in words])
        ends = self._known_ends and self._known_ends.intersection([word[-END:] for word in words])
        symbols = [those for symbol, those in self._symbols if symbol in small]
        hints = [those for search, those in self._hints if search(small) is not None]
        if not (starts or ends or symbols or hints):
            return ()
        return self._in_order(
            [self._starts[each] for each in starts], [self._ends[each] for each in ends], symbols, hints
        )

    def _in_order(self, *groups: Iterable[frozenset[int]]) -> tuple[SecretPattern, ...]:
        return tuple(self._patterns[at] for at in sorted({at for group in groups for those in group for at in those}))


_WORD: Final = re.compile(r"[a-z0-9]+")
_ESCAPE: Final = re.compile(r"\\+(?:u[0-9a-f]{4}|[bfnrt])?")


def words_of(small: str) -> set[str]:
    """Return the words of a text in small letters; escapes, as JSON and Python write them, end a word."""
    if "\\" in small:
        small = _ESCAPE.sub(" ", small)
    return set(_WORD.findall(small))


def _luhn(text: str) -> int:
    digits = [int(each) for each in text if each.isdigit()]
    doubled = sum(sum(divmod(2 * each, 10)) for each in digits[-2::-2])
    return 0 if (sum(digits[-1::-2]) + doubled) % 10 else len(text)


#: The lengths of IBANs by country (SWIFT's IBAN registry).
_IBANS: Final = {
    country: length
    for length, countries in {
        15: "NO",
        16: "BE",
        18: "DK FI FO GL NL SD",
        19: "MK SI",
        20: "AT BA EE KZ LT LU XK",
        21: "CH HR LI LV",
        22: "BG BH CR DE GB GE IE ME RS VA",
        23: "AE GI IL IQ OM SO TL",
        24: "AD CZ DJ ES MD PK RO SA SE SK TN VG",
        25: "LY PT ST",
        26: "IS TR",
        27: "BI FR GR IT MC MR SM",
        28: "AL AZ BY CY DO GT HN HU LB NI PL SV",
        29: "BR EG PS QA UA",
        30: "JO KW MN MU YE",
        31: "MT SC",
        32: "LC",
        33: "RU",
    }.items()
    for country in countries.split()
}


def _iban(text: str) -> int:
    """Return the length of the IBAN with which a text begins; 0: with none."""
    places = [at for at, each in enumerate(text) if each not in " -"]
    length = _IBANS.get(text[:2].upper(), 0)
    if not length or len(places) < length:
        return 0
    plain = "".join(text[at] for at in places[:length])
    is_one = int("".join(str(int(each, 36)) for each in plain[4:] + plain[:4])) % 97 == 1
    return places[length - 1] + 1 if is_one else 0


_FREE: Final = r"(?:(?<![A-Za-z0-9])|(?<=\\[bfnrt]))"
"""Nothing before that belongs to the same word; an escape, such as that of a new line, does not."""

_TOKEN: Final = r"(?![A-Za-z0-9_-])"

#: Prefixes by which vendors have their keys found, and the characters behind them.
_PREFIXED: Final = (
    ("aws-key-id", r"(?:AKIA|ASIA|ABIA|ACCA|AROA|AIDA)[A-Z0-9]{16}"),
    ("gcp-key", r"AIza[0-9A-Za-z_-]{35}"),
    ("google-client-secret", r"GOCSPX-[0-9A-Za-z_-]{20,64}"),
    ("google-token", r"ya29\.[0-9A-Za-z_-]{20,2048}"),
    ("google-refresh-token", r"1//0[0-9A-Za-z_-]{20,512}"),
    ("github-token", r"gh[pousr]_[0-9A-Za-z]{30,255}"),
    ("github-pat", r"github_pat_[0-9A-Za-z_]{30,255}"),
    ("gitlab-token", r"gl(?:pat|dt|rt|ptt|cbt|ft|soat|agent|imt)-[0-9A-Za-z_.-]{16,255}"),
    ("slack-token", r"xox[abeoprs]-[0-9A-Za-z-]{10,255}"),
    ("slack-app-token", r"xapp-[0-9A-Za-z-]{10,255}"),
    ("stripe-key", r"(?:sk|rk|pk)_(?:live|test)_[0-9A-Za-z]{10,255}"),
    ("webhook-secret", r"whsec_[0-9A-Za-z+/=]{16,255}"),
    ("anthropic-key", r"sk-ant-[0-9A-Za-z_-]{16,255}"),
    ("openai-key", r"sk-(?:proj-|svcacct-|admin-|or-v1-)?[0-9A-Za-z_-]{20,255}"),
    ("groq-key", r"gsk_[0-9A-Za-z]{20,255}"),
    ("xai-key", r"xai-[0-9A-Za-z]{20,255}"),
    ("perplexity-key", r"pplx-[0-9A-Za-z]{20,255}"),
    ("replicate-token", r"r8_[0-9A-Za-z]{20,255}"),
    ("huggingface-token", r"hf_[0-9A-Za-z]{20,255}"),
    ("langsmith-key", r"lsv2_(?:pt|sk)_[0-9A-Za-z_]{20,255}"),
    ("npm-token", r"npm_[0-9A-Za-z]{20,255}"),
    ("pypi-token", r"pypi-[0-9A-Za-z_-]{16,512}"),
    ("docker-token", r"dckr_[po]at_[0-9A-Za-z_-]{16,255}"),
    ("sendgrid-key", r"SG\.[0-9A-Za-z_-]{16,64}\.[0-9A-Za-z_-]{16,64}"),
    ("digitalocean-token", r"do[opr]_v1_[0-9a-f]{32,128}"),
    ("shopify-token", r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{16,128}"),
    ("databricks-token", r"dapi[0-9a-f]{32}(?:-\d)?"),
    ("new-relic-key", r"NR(?:AK|JS|II)-[0-9A-Za-z]{16,64}"),
    ("linear-key", r"lin_(?:api|oauth)_[0-9A-Za-z]{20,128}"),
    ("notion-token", r"(?:ntn|secret)_[0-9A-Za-z]{32,128}"),
    ("vault-token", r"hv[sbr]\.[0-9A-Za-z_-]{20,255}"),
    ("terraform-token", r"[0-9A-Za-z]{14}\.atlasv1\.[0-9A-Za-z_=-]{40,128}"),
    ("age-key", r"AGE-SECRET-KEY-1[0-9A-Z]{40,80}"),
    ("square-token", r"sq0(?:atp|csp|idp)-[0-9A-Za-z_-]{20,128}"),
    ("planetscale-token", r"pscale_(?:tkn|pw|oauth)_[0-9A-Za-z_.=-]{20,128}"),
    ("grafana-token", r"gl(?:sa|c)_[0-9A-Za-z_+/=]{20,255}"),
    ("mailgun-key", r"key-[0-9a-f]{32}"),
    ("postman-key", r"PMAK-[0-9a-f]{20,32}-[0-9a-f]{30,40}"),
    ("doppler-token", r"dp\.(?:pt|st|sa|ct)\.[0-9A-Za-z_.-]{30,128}"),
    ("azure-client-secret", r"[0-9A-Za-z_~.-]{3}8Q~[0-9A-Za-z_~.-]{31,34}"),
)

#: The beginnings of those that do not begin with letters, or with several.
_STARTS: Final = {
    "aws-key-id": ("aki", "asi", "abi", "acc", "aro", "aid"),
    "github-token": ("ghp", "gho", "ghu", "ghs", "ghr"),
    "gitlab-token": ("glp", "gld", "glr", "glc", "glf", "gls", "gla", "gli"),
    "stripe-key": ("sk", "rk", "pk"),
    "digitalocean-token": ("doo", "dop", "dor"),
    "new-relic-key": ("nra", "nrj", "nri"),
    "notion-token": ("ntn", "sec"),
    "vault-token": ("hvs", "hvb", "hvr"),
    "terraform-token": ("atl",),
    "grafana-token": ("gls", "glc"),
}
_SYMBOLS: Final = {"google-refresh-token": "1//0", "azure-client-secret": "8q~"}


def _prefixed(kind: str, pattern: str) -> SecretPattern:
    free = pattern.startswith("[")  # what stands before is part of it
    compiled = re.compile(pattern if free else rf"{_FREE}{pattern}{_TOKEN}")
    if kind in _SYMBOLS:
        return SecretPattern(kind, compiled, symbols=(_SYMBOLS[kind],))
    beginning = re.match(r"[A-Za-z0-9]*", pattern)
    assert beginning is not None
    return SecretPattern(kind, compiled, _STARTS.get(kind) or (beginning[0][:START].lower(),))


_NOT_ALREADY: Final = r"(?!\[redacted|\*{3}|(?:null|none|true|false)\b)"

#: A value behind `=` or `:`, in quotes or without; quotes may be escaped, as in JSON within a text.
_VALUE: Final = (
    rf"(?:(?P<quote>\\{{0,3}}+[\"']){_NOT_ALREADY}(?P<hidden>(?:(?!(?P=quote))[^\r\n]){{1,4096}})"
    rf"|{_NOT_ALREADY}(?P<hidden_bare>[^\s\"'&;,\\][^\s\"'&;,]{{0,4095}}))"
)

_ASSIGNED: Final = (
    r"(?:pass(?:word|wd|phrase|code)?|pwd|secret|token|api[_-]?key|sessionid|credentials?|signature|"
    r"(?:access|account|private|secret|signing|encryption|subscription|master|license)[_-]?key)"
)

_ENDS_ASSIGNED: Final = (
    *("token", "sword", "asswd", "hrase", "scode", "ecret", "pass", "pwd"),
    *("key", "pikey", "sskey", "ntkey", "tekey", "erkey", "ngkey", "etkey", "onkey", "sekey"),
)
_SYMBOLS_ASSIGNED: Final = ("credential", "signature", "sessionid", "pwd", "pass=", "pass:")

_CARD_STARTS: Final = tuple(map(str, (*range(220, 280), *range(300, 570), *range(600, 700))))
_IBAN_STARTS: Final = tuple(f"{country.lower()}{digit}" for country in _IBANS for digit in range(10))

_ADDRESS: Final = (
    r"(?<=://)(?:[^\s/:@\"']{0,256}:(?P<hidden>[^\s/\"']{1,1024})|(?P<hidden_user>[^\s/:@\"']{16,1024}))(?=@)"
)

_CARD: Final = rf"{_FREE}(?<!\.)(?:2[2-7]|3\d|4\d|5[0-6]|6\d)\d\d(?:[ -]?\d){{8,15}}(?!\d)"

_MAIL: Final = (
    r"(?<![\w.%+-])[\w.%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){0,7}\.[A-Za-z]{2,24}(?![A-Za-z0-9-])"
)


def _of_a_scheme(text: str) -> int:
    """Return the length of a credential behind `Bearer` or `Basic`; 0 for a word of a sentence."""
    return 0 if text.isalpha() and (text.islower() or text.isupper() or text.istitle()) else len(text)


PATTERNS: Final[tuple[SecretPattern, ...]] = (
    SecretPattern(
        "private-key",
        re.compile(
            r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
            r"(?:(?!-----END)[\s\S]){0,20000}(?:-----END [A-Z0-9 ]{0,40}-----)?"
        ),
        symbols=("private key",),
    ),
    SecretPattern("jwt", re.compile(rf"{_FREE}eyJ[\w-]{{8,4096}}(?:\.[\w-]{{0,8192}}){{1,4}}"), ("eyj",)),
    *(_prefixed(kind, pattern) for kind, pattern in _PREFIXED),
    SecretPattern(
        "webhook",
        re.compile(
            r"(?:hooks\.slack\.com/(?:services|workflows|triggers)/|discord(?:app)?\.com/api/webhooks/|webhook\.office\.com/)"
            r"(?P<hidden>[\w/@-]{8,1024})"
        ),
        ("hoo", "web"),
    ),
    SecretPattern("telegram-token", re.compile(r"(?<!\d)\d{8,10}:AA[\w-]{30,40}"), symbols=(":aa",)),
    SecretPattern(
        "twilio-key", re.compile(rf"{_FREE}SK[0-9a-f]{{32}}(?![0-9a-zA-Z])"), hint=re.compile("sk[0-9a-f]{32}")
    ),
    SecretPattern(
        "discord-token",
        re.compile(rf"{_FREE}[MNO][\w-]{{23,27}}\.[\w-]{{6}}\.[\w-]{{27,40}}(?![\w-])"),
        hint=re.compile(r"\.[\w-]{6}\.[\w-]{27}"),
    ),
    SecretPattern(
        "header",
        re.compile(
            r"(?:(?:proxy-)?authorization|(?:set-)?cookie2?|x-[a-z-]{0,40}(?:key|token|secret|auth|signature))"
            rf"\\{{0,3}}[\"']?\s{{0,4}}+[:=]\s{{0,4}}+\\{{0,3}}+[\"']?+{_NOT_ALREADY}(?P<hidden>[^\r\n\"']{{1,8192}})",
            re.IGNORECASE,
        ),
        ("aut", "coo", "x"),
        named=True,
    ),
    SecretPattern(
        "credential",
        re.compile(r"\b(?:bearer|basic|negotiate|dpop)\s{1,4}(?P<hidden>[\w.~+/=-]{8,8192})", re.IGNORECASE),
        ("bea", "bas", "neg", "dpo"),
        check=_of_a_scheme,
        named=True,
    ),
    SecretPattern("login", re.compile(_ADDRESS), symbols=("://",)),
    SecretPattern(
        "query",
        re.compile(
            r"(?<=[?&])(?:[\w.-]{0,40}(?:token|key|signature|credential|secret|password)|sig|code|auth)="
            rf"{_NOT_ALREADY}(?P<hidden>[^&\s\"'#]{{4,4096}})",
            re.IGNORECASE,
        ),
        ends=(*_ENDS_ASSIGNED, "sig", "auth", "code"),
        symbols=_SYMBOLS_ASSIGNED,
        named=True,
    ),
    SecretPattern(
        "value",
        re.compile(
            rf"{_ASSIGNED}(?:_(?:id|json|value)s?)?(?![a-z])\\{{0,3}}[\"']?\s{{0,4}}(?:=>|:=|==|=|:)\s{{0,4}}{_VALUE}",
            re.IGNORECASE,
        ),
        ends=_ENDS_ASSIGNED,
        symbols=_SYMBOLS_ASSIGNED,
        named=True,
    ),
    SecretPattern(
        "option",
        re.compile(
            r"(?<![\w-])--?(?:[\w-]{0,40}[-_])?"
            r"(?:password|passwd|passphrase|pass|token|secret|api-?key|access-key|credential)"
            rf"[ \t]{{1,4}}(?!-){_VALUE}",
            re.IGNORECASE,
        ),
        ends=_ENDS_ASSIGNED,
        symbols=_SYMBOLS_ASSIGNED,
        named=True,
    ),
    SecretPattern(
        "netrc",
        re.compile(
            r"\bmachine\s{1,4}\S{1,256}\s{1,4}login\s{1,4}\S{1,256}\s{1,4}password\s{1,4}(?P<hidden>\S{1,1024})"
        ),
        ("mac",),
        named=True,
    ),
    SecretPattern("card", re.compile(_CARD), _CARD_STARTS, check=_luhn, personal=True),
    SecretPattern(
        "iban",
        re.compile(rf"{_FREE}[A-Za-z]{{2}}\d{{2}}(?:[ -]?[A-Za-z0-9]){{11,30}}"),
        _IBAN_STARTS,
        check=_iban,
        personal=True,
    ),
    SecretPattern("email", re.compile(_MAIL), symbols=("@",), personal=True),
)
"""All kinds, those first whose texts may contain others."""
