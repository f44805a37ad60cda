"""Warnings about names and arguments that will go away.

    DeprecationWarning
    └── LangGraphDeprecationWarning      says since when, and which version removes it
        ├── LangGraphDeprecatedSinceV05  removed in 2.0
        ├── LangGraphDeprecatedSinceV10  removed in 2.0
        └── LangGraphDeprecatedSinceV11  removed in 3.0

The names and version numbers are LangGraph's, because programs filter warnings by these classes.
"""

__all__ = (
    "LangGraphDeprecatedSinceV05",
    "LangGraphDeprecatedSinceV10",
    "LangGraphDeprecatedSinceV11",
    "LangGraphDeprecationWarning",
)

Version = tuple[int, int]


class LangGraphDeprecationWarning(DeprecationWarning):
    """Something still works and will stop working.

    Attributes:
        message: The deprecated name and its replacement, as a sentence without a final full stop.
        since: Version that deprecated it.
        expected_removal: Version that removes it.
    """

    message: str
    since: Version
    expected_removal: Version

    def __init__(self, message: str, *args: object, since: Version, expected_removal: Version | None = None) -> None:
        """Describe a deprecation.

        Args:
            message: The deprecated name and its replacement.
            *args: Kept in `args` behind the message.
            since: Version that deprecated it.
            expected_removal: Version that removes it; None means the next major version after `since`.
        """
        super().__init__(message, *args)
        self.message = message.rstrip(".")
        self.since = since
        self.expected_removal = expected_removal or (since[0] + 1, 0)

    def __str__(self) -> str:
        since, removal = (".".join(map(str, version)) for version in (self.since, self.expected_removal))
        return f"{self.message}. Deprecated in LangGraph V{since} to be removed in V{removal}."


class LangGraphDeprecatedSinceV05(LangGraphDeprecationWarning):
    """Deprecated in 0.5."""

    def __init__(self, message: str, *args: object) -> None:
        super().__init__(message, *args, since=(0, 5), expected_removal=(2, 0))


class LangGraphDeprecatedSinceV10(LangGraphDeprecationWarning):
    """Deprecated in 1.0."""

    def __init__(self, message: str, *args: object) -> None:
        super().__init__(message, *args, since=(1, 0), expected_removal=(2, 0))


class LangGraphDeprecatedSinceV11(LangGraphDeprecationWarning):
    """Deprecated in 1.1."""

    def __init__(self, message: str, *args: object) -> None:
        super().__init__(message, *args, since=(1, 1), expected_removal=(3, 0))
