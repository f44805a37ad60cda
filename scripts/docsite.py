"""Build the documentation site from `docs/`, README, examples and docstrings, and check it.

    python scripts/docsite.py --zensical .venv-docs/bin/zensical            built, checked, and every program in it run
    python scripts/docsite.py --zensical .venv-docs/bin/zensical --quick    built and checked

Rules:

* Pages are staged in `build/docs-pages/`: those of `docs/`, files at the root that readers want, one for each example,
  and the reference, which is made of the docstrings of all public names (`REFERENCE`).
* Links to files that are no pages become plain text, and `examples/NAME.py` in a text becomes a link to its page.
* A page that is not in the navigation of `zensical.toml`, and a page there that does not exist, are errors. So is every
  warning of the builder.
* What was built needs no network: no page loads a script, style, font or picture from elsewhere, and each link within
  the site leads to a file and an anchor that are there.
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parent.parent
STAGE = ROOT / "build" / "docs-pages"
SITE = ROOT / "build" / "docs"
CONFIG = ROOT / "zensical.toml"

ROOT_PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "reporting.md",
    "examples/README.md": "examples/index.md",
}
"""Files outside of `docs/` that are pages, and where they stand in the site."""

REFERENCE: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "graphs": (
        "Graphs",
        {"stategraph": r"graph\.|engine\.(engine|tasks|config|compile)|constants|types|stream_parts|core\.|_version"},
    ),
    "event-stream": ("The event stream of a graph", {"stategraph": r"engine\.streams\."}),
    "agents": ("Agents", {"stategraph": r"agent\.(settings|limits\.amounts)"}),
    "runs": ("Runs", {"stategraph": r"run\.(run|runtime|config|pauses|questions|abort|long_term)$"}),
    "events": ("Events, handlers, content", {"stategraph": r"run\.(events|history)"}),
    "hooks": ("Hooks", {"stategraph": r"run\.hooks"}),
    "threads": ("Threads", {"stategraph": r"run\.threads"}),
    "errors": ("Errors", {"stategraph": r"errors|agent\.\w+\.errors"}),
    "savers": ("Savers", {"stategraph": r"engine\.checkpoints", "stategraph.savers": ""}),
    "workers": ("Workers", {"stategraph.workers": ""}),
    "governance": ("Governed actions", {"stategraph.governance": ""}),
    "resources": ("Resources", {"stategraph.resources": ""}),
    "mcp": ("MCP servers", {"stategraph.agent.mcp": ""}),
    "telemetry": ("Telemetry", {"stategraph.telemetry": ""}),
    "testing": ("The test kit", {"stategraph.testing": ""}),
}
"""Pages of the reference: title, and by package a pattern of the modules whose public names it has."""


class SiteError(Exception):
    """Something that readers would stumble over."""


def main() -> int:
    parser = argparse.ArgumentParser(description="Build the documentation site and check it.")
    parser.add_argument("--zensical", type=Path, required=True, help="the command that builds it")
    parser.add_argument("--quick", action="store_true", help="do not run the programs in it")
    options = parser.parse_args()
    try:
        pages = stage()
        navigation(pages)
        build(options.zensical)
        count = check()
    except SiteError as error:
        print(f"docs: FAILED: {error}", file=sys.stderr)
        return 1
    print(f"docs: {len(pages)} pages, {count} links hold, nothing is loaded from elsewhere: {SITE / 'index.html'}")
    if options.quick:
        return 0
    return subprocess.run([sys.executable, "-m", "pytest", "-q", "tests/docs"], cwd=ROOT).returncode


# ---- staging


def stage() -> list[str]:
    """Write all pages; return their paths in the site."""
    shutil.rmtree(STAGE, ignore_errors=True)
    places = {ROOT / source: target for source, target in ROOT_PAGES.items()}
    for file in sorted((ROOT / "docs").rglob("*")):
        if file.is_file():
            places[file] = file.relative_to(ROOT / "docs").as_posix()
    for file in sorted((ROOT / "examples").glob("*.py")):
        places[file] = f"examples/{file.stem}.md"
    for source, target in places.items():
        path = STAGE / target
        path.parent.mkdir(parents=True, exist_ok=True)
        if source.suffix == ".md":
            path.write_text(page(source, target, places), encoding="utf-8")
        elif source.suffix == ".py":
            path.write_text(example(source), encoding="utf-8")
        else:
            shutil.copy(source, path)
    for name, (title, packages) in REFERENCE.items():
        path = STAGE / "reference" / f"{name}.md"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(reference(title, packages)), encoding="utf-8")
    return sorted(file.relative_to(STAGE).as_posix() for file in STAGE.rglob("*.md"))


_FENCE = re.compile(r"(^ *```.*?^ *```$)", re.DOTALL | re.MULTILINE)


def page(source: Path, target: str, places: Mapping[Path, str]) -> str:
    """Return a page as it stands in the site."""
    text = source.read_text(encoding="utf-8")
    text = re.sub(
        r"<!-- states: begin -->.*?<!-- states: end -->",
        "![The states of a run](pictures/states.svg)",
        text,
        flags=re.DOTALL,
    )
    text = re.sub(r" *<!--.*?-->\n?", "", text, flags=re.DOTALL)
    parts = _FENCE.split(text)
    return "".join(part if number % 2 else _linked(part, source, target, places) for number, part in enumerate(parts))


def _linked(text: str, source: Path, target: str, places: Mapping[Path, str]) -> str:
    def link(found: re.Match[str]) -> str:
        words, address = found[1], found[2]
        if address is None or re.match(r"[a-z]+:|#", address):  # code, another site, this page
            return found[0]
        path, _, anchor = address.partition("#")
        file = (source.parent / path).resolve()
        if not file.exists():
            raise SiteError(f"{source.relative_to(ROOT)} links to {path}, which is not there")
        there = places.get(file)
        if there is None:
            return words.removeprefix("!")[1:-1]
        return f"{words}({_relative(there, target)}{'#' + anchor if anchor else ''})"

    def named(found: re.Match[str]) -> str:
        there = places.get(ROOT / found[1])
        return f"[{found[0]}]({_relative(there, target)})" if there else found[0]

    text = re.sub(r"`[^`\n]*`|(!?\[(?:[^\[\]]|\[[^\]]*\])*\])\(([^)\s]+)\)", link, text)
    return re.sub(r"(?<!\[)`((?:examples|docs)/[\w./-]+\.(?:py|md))`", named, text)


def _relative(there: str, target: str) -> str:
    return PurePosixPath(os.path.relpath(there, PurePosixPath(target).parent)).as_posix()


def example(source: Path) -> str:
    """Return the page of an example: what it shows, and the program."""
    code = source.read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(code)) or source.stem
    first, _, rest = docstring.partition("\n")
    printed = re.sub(r"(?m)^Prints::\n\n((?:    .*\n?|\n)+)", lambda m: f"Prints:\n\n{m[1]}", rest + "\n")
    return f"# {source.stem}\n\n{first}\n{printed}\n`python examples/{source.name}`\n\n```python\n{code}```\n"


def reference(title: str, packages: Mapping[str, str]) -> Iterator[str]:
    """Yield a page of the reference."""
    yield f"# {title}\n\n"
    for package, names in grouped(packages).items():
        yield f"`from {package} import ...`\n\n"
        for name in names:
            yield f"::: {package}.{name}\n\n"


def grouped(packages: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the public names of packages whose modules match a pattern."""
    sys.path.insert(0, str(ROOT))
    from importlib import import_module

    found = {}
    for package, pattern in packages.items():
        module = import_module(package)
        public: Mapping[str, tuple[str, ...]] = getattr(module, "_PUBLIC", {})
        homes = {name: home for home, names in public.items() for name in names}
        names = [name for name in module.__all__ if re.match(pattern, homes.get(name, ""))]
        found[package] = [name for name in names if name != "__version__"]
    return found


# ---- checks


def navigation(pages: Iterable[str]) -> None:
    """Compare the navigation with the pages.

    Raises:
        SiteError: One lacks what the other has.
    """
    named = list(_paths(tomllib.loads(CONFIG.read_text(encoding="utf-8"))["project"]["nav"]))
    there = {each for each in pages if not re.match(r"examples/(?!index)", each)}
    if missing := sorted(there - set(named)):
        raise SiteError(f"not in the navigation of {CONFIG.name}: {', '.join(missing)}; give each a place in `nav`")
    if unknown := sorted(set(named) - there):
        raise SiteError(f"in the navigation of {CONFIG.name} and no page: {', '.join(unknown)}")
    if twice := sorted({each for each in named if named.count(each) > 1}):
        raise SiteError(f"twice in the navigation of {CONFIG.name}: {', '.join(twice)}")


def _paths(entries: object) -> Iterator[str]:
    match entries:
        case str():
            yield entries
        case list():
            for entry in entries:
                yield from _paths(entry)
        case dict():
            for entry in entries.values():
                yield from _paths(entry)


def build(zensical: Path) -> None:
    """Build the site; a warning is an error.

    Raises:
        SiteError: It cannot be built without one.
    """
    shutil.rmtree(SITE, ignore_errors=True)
    command = [zensical.absolute(), "build", "--strict", "--config-file", CONFIG]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"})
    told = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
    if done.returncode or "warning" in told.lower():
        raise SiteError(told.partition("Traceback")[0])


class Page(HTMLParser):
    """Collects what a page has and wants.

    Attributes:
        anchors: Ids within it.
        links: Addresses that readers may follow.
        loaded: Addresses that a browser loads by itself.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: set[str] = set()
        self.loaded: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("id", "name") and value:
                self.anchors.add(value)
            elif name == "href" and tag == "a" and value:
                self.links.add(value)
            elif (name == "src" and value) or (name == "href" and tag == "link" and value):
                self.loaded.add(str(value))


def check() -> int:
    """Check the built site; return the number of links within it.

    Raises:
        SiteError: A link leads nowhere, or a page loads something from elsewhere.
    """
    pages = {file: Page(file.read_text(encoding="utf-8")) for file in sorted(SITE.rglob("*.html"))}
    wrong, count = [], 0
    for file, found in pages.items():
        here = file.relative_to(SITE).as_posix()
        if file.name == "404.html":
            continue
        wrong += [f"{here} loads {each}" for each in found.loaded if urlsplit(each).netloc]
        for address in sorted(found.links | found.loaded):
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            count += 1
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            target = target / "index.html" if target.is_dir() else target
            if not target.exists():
                wrong.append(f"{here}: {address}: no such file")
            elif parts.fragment and target in pages and parts.fragment not in pages[target].anchors:
                wrong.append(f"{here}: {address}: no such anchor")
    for name, (_, packages) in REFERENCE.items():
        there = pages[SITE / "reference" / f"{name}.html"].anchors
        told = (f"{package}.{each}" for package, names in grouped(packages).items() for each in names)
        wrong += [f"reference/{name}.html lacks {each}" for each in told if each not in there]
    for style in SITE.rglob("*.css"):
        outside = re.findall(r"(?:@import|url\()\s*[\"']?(https?://[^\"')]+)", style.read_text(encoding="utf-8"))
        wrong += [f"{style.relative_to(SITE)} loads {each}" for each in outside]
    if wrong:
        raise SiteError("\n" + "\n".join(wrong))
    return count


if __name__ == "__main__":
    sys.exit(main())
