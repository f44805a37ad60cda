"""Files of manifests that are read and written: those of folders, and new texts in their place or elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

SUFFIXES: Final = (".yaml", ".yml", ".json")


def files_of(given: Sequence[str]) -> Iterator[tuple[Path | None, Path]]:
    """Yield files, with those of folders, each with its place below what was named; None for standard input.

    Raises:
        ConfigurationError: One is not there, or a folder has none.
    """
    from stategraph.errors import ConfigurationError

    for name in given:
        path = Path(name)
        if name == "-":
            yield None, Path("stdin.yaml")
        elif path.is_dir():
            inside = sorted(each for each in path.rglob("*") if each.suffix in SUFFIXES and each.is_file())
            inside = [each for each in inside if not any(part[0] == "." for part in each.relative_to(path).parts)]
            if not inside:
                raise ConfigurationError(f"The folder '{name}' has no manifests ({', '.join(SUFFIXES)})")
            yield from ((each, each.relative_to(path)) for each in inside)
        elif path.exists():
            yield path, Path(path.name)
        else:
            raise ConfigurationError(f"There is no file '{name}'")


def check_free(paths: Sequence[Path], *, force: bool) -> None:
    """Check that files may be written.

    Raises:
        ConfigurationError: One is there already, or two texts would go to one file.
    """
    from stategraph.errors import ConfigurationError

    twice = [str(path) for path in paths if paths.count(path) > 1]
    if twice:
        raise ConfigurationError(f"Several files would be written to '{twice[0]}': name their folder in their place")
    there = [str(path) for path in paths if path.exists()]
    if there and not force:
        raise ConfigurationError(
            f"'{there[0]}' is there already: name another place with --out, or write over it with --force"
        )


def put(path: Path, text: str) -> None:
    """Write a file whole or not at all, with the folders on the way to it.

    Raises:
        ConfigurationError: It cannot be written.
    """
    from stategraph.errors import ConfigurationError

    beside = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(text, encoding="utf-8", newline="")
        if path.exists():
            beside.chmod(path.stat().st_mode)
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise ConfigurationError(f"'{path}' cannot be written: {error.strerror}") from error


def backed_up(path: Path) -> Path:
    """Copy a file beside itself, and return the copy: `app.yaml.bak`, or a number behind it if that is there.

    Raises:
        ConfigurationError: It cannot be written.
    """
    from stategraph.errors import ConfigurationError

    number, copy = 0, path.with_name(f"{path.name}.bak")
    try:
        while True:
            try:
                with copy.open("xb") as file:
                    file.write(path.read_bytes())
                copy.chmod(path.stat().st_mode)
            except FileExistsError:
                number += 1
                copy = path.with_name(f"{path.name}.bak.{number}")
            else:
                return copy
    except OSError as error:
        raise ConfigurationError(f"'{copy}' cannot be written: {error.strerror}") from error
