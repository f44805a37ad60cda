"""Checks of `stategraph doctor`: which engine serves `langgraph` here, and what would go wrong.

Facts are gathered first (`gather`), then judged (`judge`) without looking at the machine again, then rendered. A
finding names what was found and a way out. Levels: an *error* means that what the flag asks for is not what runs, or
that an import fails; a *warning*, that it works but may surprise; a *note* is for information.
"""

import importlib
import importlib.util
import os
import site
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Final, Literal

import stategraph
from stategraph import dropin

Level = Literal["error", "warning", "note"]
Engine = Literal["stategraph", "langgraph", "none"]

_EXIT_CODES: Final[Mapping[Level, int]] = {"error": 2, "warning": 1, "note": 0}

HOOK: Final = "stategraph.pth"
"""File name of the start-up hook."""

REQUIRED: Final = (
    "langchain-core",
    "langgraph-checkpoint",
    "pydantic",
    "anyio",
    "tiktoken",
    "xxhash",
    "typing-extensions",
)
"""Distributions without which the engine does not run."""

OPTIONAL: Final = (
    "langgraph-checkpoint-sqlite",
    "langgraph-checkpoint-postgres",
    "langgraph-checkpoint-redis",
    "langgraph-prebuilt",
    "langgraph-sdk",
    "langchain",
    "mcp",
)
"""Distributions around LangGraph whose versions matter when something is wrong."""

STRICT_STORES: Final = "LANGGRAPH_STRICT_MSGPACK"
"""Variable of langgraph-checkpoint that limits what its serialiser rebuilds."""

PROBES: Final = ("langgraph.graph", "langgraph.func", "langgraph.pregel", "langgraph.checkpoint.base")
"""Modules that must import, whichever engine serves them."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is, or may become, wrong.

    Attributes:
        level: How bad it is.
        code: A stable name for scripts.
        text: What was found, and what it means.
        way_out: What to do about it; empty when nothing needs doing.
    """

    level: Level
    code: str
    text: str
    way_out: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts about this machine and its installation.

    Attributes:
        variables: The flag's variables that are set, as they are.
        compat: Directory of the compat tree, or None when the installation has none.
        origin: File that `langgraph.graph` resolves to, or None.
        packages: Files `langgraph/__init__.py` on the path. One is enough to hide every other part of the namespace.
        foreign: LangGraph's own modules already imported, each with its file.
        hook: The start-up hook's file, or None where it is not installed.
        versions: Distribution to version, or to None where it is not installed.
        unserved: Modules of the installed LangGraph that the compat tree lacks.
        unmet: Requirements of stategraph that the installed versions do not meet.
        broken: Module to the message of the error that importing it raised.
        strict_stores: Whether serialisers rebuild only classes that they have been told of.
        prebuilt: File that `langgraph.prebuilt` resolves to, or None.
    """

    variables: Mapping[str, str]
    compat: str | None
    origin: str | None
    packages: tuple[str, ...]
    foreign: Mapping[str, str]
    hook: str | None
    versions: Mapping[str, str | None]
    unserved: tuple[str, ...]
    unmet: tuple[str, ...]
    broken: Mapping[str, str]
    strict_stores: bool = True
    prebuilt: str | None = None

    @property
    def flag(self) -> dropin.Flag:
        """The flag as these variables set it."""
        return dropin.read_flag(self.variables)

    @property
    def langgraph(self) -> str | None:
        """The version of the LangGraph that is installed; None also where only our metadata stand for it."""
        version = self.versions["langgraph"]
        return None if version is None or version.endswith(dropin.METADATA_SUFFIX) else version

    @property
    def engine(self) -> Engine:
        """The engine that serves `langgraph.graph` to the next program that starts like this one."""
        if self.origin is None:
            return "none"
        return "stategraph" if self.serves(self.origin) else "langgraph"

    def serves(self, file: str) -> bool:
        """Return whether a file is one of the compat tree."""
        return self.compat is not None and file.startswith(self.compat + os.sep)


@dataclass(frozen=True, slots=True)
class Report:
    """Facts and what follows from them, worst first."""

    facts: Facts
    findings: tuple[Finding, ...]

    @property
    def exit_code(self) -> int:
        """0 for notes at most, 1 for warnings, 2 for errors."""
        return max((_EXIT_CODES[finding.level] for finding in self.findings), default=0)


def examine() -> Report:
    """Gather the facts of this process and judge them. Imports the modules named in `PROBES`."""
    facts = gather()
    worst_first = sorted(judge(facts), key=lambda finding: -_EXIT_CODES[finding.level])
    return Report(facts, tuple(worst_first))


def gather(environ: Mapping[str, str] | None = None, path: Sequence[str] | None = None) -> Facts:
    """Look at this process and its environment.

    Args:
        environ: The environment; None means `os.environ`.
        path: Where modules are looked for; None means `sys.path`.
    """
    environ = os.environ if environ is None else environ
    entries = [entry or os.curdir for entry in (sys.path if path is None else path)]
    compat, foreign = _compat()
    return Facts(
        variables={name: environ[name] for name in dropin.VARIABLES if name in environ},
        compat=compat,
        origin=_origin("langgraph.graph"),
        packages=tuple(_files("langgraph/__init__.py", entries)),
        foreign=foreign,
        hook=_hook(entries),
        versions={name: _version(name) for name in ("langgraph", *REQUIRED, *OPTIONAL)},
        unserved=() if compat is None else tuple(_unserved(compat)),
        unmet=tuple(_unmet_requirements()),
        broken=_broken(PROBES),
        prebuilt=_origin("langgraph.prebuilt"),
        strict_stores=environ.get(STRICT_STORES, "").lower() in ("1", "true", "yes"),
    )


def judge(facts: Facts) -> Iterator[Finding]:
    """Yield a finding for each fact that is a problem or worth knowing."""
    yield from _judge_flag(facts)
    yield from _judge_path(facts)
    yield from _judge_versions(facts)
    yield from _judge_prebuilt(facts)
    if not facts.strict_stores:
        yield Finding(
            "note",
            "open-stores",
            f"{STRICT_STORES} is not set: write access to a checkpoint store is enough to run code where it is read, "
            "unless the saver was given a StrictSerializer.",
            f"Set {STRICT_STORES}=true, or pass serde=StrictSerializer() to savers (docs/stores.md).",
        )
    for module, error in facts.broken.items():
        yield Finding(
            "error",
            "import-fails",
            f"import {module} fails: {error}",
            "Reinstall the package that carries the module, or report this with the output of `doctor --json`.",
        )


def _judge_flag(facts: Facts) -> Iterator[Finding]:
    flag = facts.flag
    if flag.error is not None:
        yield Finding("error", "flag-value", flag.error, f"Set {flag.variable}=true or unset it.")
    wishes = {name: dropin.read_flag({name: value}).wanted for name, value in facts.variables.items() if value.strip()}
    if len(set(wishes.values())) > 1:
        yield Finding(
            "warning",
            "flag-conflict",
            f"{' and '.join(f'{name}={facts.variables[name]}' for name in wishes)} disagree; {flag.variable} decides.",
            f"Unset {dropin.VARIABLES[1]}.",
        )
    if facts.hook is None and facts.variables:
        yield Finding(
            "warning" if flag.wanted else "note",
            "hook-missing",
            f"The start-up hook {HOOK} is not installed, so the flag acts only once something imports stategraph.",
            "Install stategraph into this environment with pip, or import stategraph before langgraph.",
        )


def _judge_path(facts: Facts) -> Iterator[Finding]:
    wanted, installed = facts.flag.wanted, facts.langgraph
    if facts.compat is None:
        yield Finding("error", "compat-missing", "The compat tree is not installed.", "Reinstall stategraph.")
    if facts.foreign:
        name, file = next(iter(facts.foreign.items()))
        yield Finding(
            "error" if wanted else "note",
            "imported-early",
            f"{len(facts.foreign)} LangGraph modules were imported before the flag could act, first {name} ({file}).",
            "Find what imports langgraph at interpreter start (a .pth file, sitecustomize), and remove it.",
        )
    for file in facts.packages:
        yield Finding(
            "error",
            "not-a-namespace",
            f"{file} makes langgraph an ordinary package, which hides every other directory that carries its modules.",
            "Remove that file, or take its directory off the path.",
        )
    if wanted and facts.engine == "langgraph" and not facts.foreign:
        yield Finding(
            "error",
            "shadowed",
            f"{facts.flag.variable} is true, but langgraph.graph comes from {facts.origin}, earlier on sys.path.",
            "Start the program from another directory, or take that directory out of PYTHONPATH.",
        )
    if facts.engine == "none":
        yield Finding("error", "no-engine", "Nothing on sys.path has langgraph.graph.", "Install stategraph with pip.")
    if not wanted and facts.engine == "stategraph" and installed is not None:
        yield Finding(
            "warning",
            "before-installed",
            f"LangGraph {installed} is installed, but stategraph's modules come before it and no flag asks for them.",
            f"Take {facts.compat} out of PYTHONPATH, or set {dropin.VARIABLES[0]}=true if this is what you want.",
        )
    if not wanted and facts.engine == "langgraph" and installed is not None:
        yield Finding(
            "note",
            "inactive",
            f"Both are installed and no flag is set: graphs made with langgraph.graph run on LangGraph {installed}, "
            "those made with stategraph.StateGraph on stategraph, which understands Command, Send, interrupt and the "
            "other plain values of langgraph.types.",
            f"Set {dropin.VARIABLES[0]}=true before the interpreter starts to run LangGraph programs on stategraph.",
        )


def _judge_prebuilt(facts: Facts) -> Iterator[Finding]:
    if facts.engine == "stategraph" and facts.prebuilt is not None and not facts.serves(facts.prebuilt):
        yield Finding(
            "note",
            "other-prebuilt",
            f"langgraph.prebuilt comes from langgraph-prebuilt ({facts.prebuilt}), which works on stategraph and is "
            "several times slower than its own.",
            f"Set {dropin.VARIABLES[0]}=true before the interpreter starts, or pip uninstall langgraph-prebuilt.",
        )


def _judge_versions(facts: Facts) -> Iterator[Finding]:
    line = dropin.LANGGRAPH_VERSION.rpartition(".")[0]
    installed = facts.langgraph
    if installed is not None and not installed.startswith(line + "."):
        yield Finding(
            "warning" if facts.flag.wanted else "note",
            "other-langgraph",
            f"LangGraph {installed} is installed; stategraph behaves like {dropin.LANGGRAPH_VERSION}, so a program "
            f"written for {installed} may see differences.",
            f"Try the program on LangGraph {line}.x first.",
        )
    if facts.flag.wanted and facts.unserved:
        yield Finding(
            "warning",
            "mixed",
            f"The installed LangGraph has modules that stategraph lacks: {', '.join(facts.unserved)}. A program that "
            "imports one of them gets LangGraph's, on another engine than the rest.",
            "Do without these modules, or uninstall langgraph to make such an import fail.",
        )
    for name in REQUIRED:
        if facts.versions[name] is None:
            yield Finding("error", "package-missing", f"{name} is not installed.", f"pip install {name}")
    for requirement in facts.unmet:
        yield Finding("error", "package-version", requirement, "pip install --upgrade stategraph")
    stated = facts.versions["langgraph"]
    if facts.engine == "stategraph" and stated is None:
        yield Finding(
            "note",
            "no-metadata",
            "The distribution langgraph is not installed, so importlib.metadata.version('langgraph') raises, and pip "
            "installs LangGraph with packages that require it. langgraph.version.__version__ is there.",
            "Where a program needs the distribution: `make metadata`, and install the wheel; see docs/drop-in.md.",
        )
    elif facts.langgraph is None and stated not in (None, dropin.METADATA_VERSION):
        yield Finding(
            "warning",
            "other-metadata",
            f"The installed metadata say langgraph {stated}; this stategraph behaves like {dropin.LANGGRAPH_VERSION}.",
            "Build them again with `make metadata` and install the wheel.",
        )


def as_text(report: Report) -> str:
    """Return the report for people."""
    facts, flag = report.facts, report.facts.flag
    installed = facts.langgraph is not None
    ours = "stategraph (the installed LangGraph is not used)" if installed else "stategraph"
    theirs = "LangGraph (installed)" if installed else "unknown: modules called langgraph that no package brought"
    engines = {"stategraph": ours, "langgraph": theirs, "none": "none"}
    rows = [
        ("engine", engines[facts.engine]),
        ("flag", f"{flag.variable}={flag.value}" if flag.variable else "not set"),
        ("langgraph.graph", facts.origin or "not found"),
        ("compat tree", facts.compat or "not found"),
        ("start-up hook", facts.hook or "not installed"),
        ("", ""),
        ("python", f"{sys.version.split()[0]} ({sys.executable})"),
        ("stategraph", f"{stategraph.__version__}, behaves like LangGraph {dropin.LANGGRAPH_VERSION}"),
        *((name, version or "not installed") for name, version in facts.versions.items()),
        ("", ""),
    ]
    width = max(len(name) for name, _ in rows) + 2
    lines = [f"{name:<{width}}{value}".rstrip() for name, value in rows]
    for finding in report.findings:
        lines.append(f"{finding.level}: {finding.text} [{finding.code}]")
        if finding.way_out:
            lines.append(f"    {finding.way_out}")
    if report.exit_code == 0:
        lines.append("No problems found.")
    return "\n".join(lines)


def as_json(report: Report) -> dict[str, object]:
    """Return the report for scripts: plain values only, the same facts as the text."""
    facts, flag = report.facts, report.facts.flag
    return {
        "engine": facts.engine,
        "flag": {"variable": flag.variable, "value": flag.value, "wanted": flag.wanted},
        "langgraph_graph": facts.origin,
        "compat": facts.compat,
        "hook": facts.hook,
        "versions": {
            "python": sys.version.split()[0],
            "stategraph": stategraph.__version__,
            "behaves_like_langgraph": dropin.LANGGRAPH_VERSION,
            **facts.versions,
        },
        "findings": [asdict(finding) for finding in report.findings],
        "exit_code": report.exit_code,
    }


def _compat() -> tuple[str | None, Mapping[str, str]]:
    """Return the directory of the compat tree and LangGraph's modules imported before it could act, if it is there."""
    try:
        return dropin.compat_path(), dropin.foreign_modules()
    except RuntimeError:
        return None, {}


def _hook(entries: Sequence[str]) -> str | None:
    # The source tree has the hook next to the compat tree, where no interpreter reads it.
    places = [entry for entry in dict.fromkeys((*entries, *site.getsitepackages())) if not dropin.is_compat(entry)]
    return next(_files(HOOK, places), None)


def _files(name: str, directories: Iterable[str]) -> Iterator[str]:
    """Yield the files of a name in some directories."""
    for directory in directories:
        file = Path(directory, name)
        if file.is_file():
            yield str(file)


def _origin(module: str) -> str | None:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    return None if spec is None else spec.origin


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _unserved(compat: str) -> Iterator[str]:
    served = {file.stem for file in Path(compat, "langgraph").iterdir()}
    try:
        files = metadata.files("langgraph") or ()
    except metadata.PackageNotFoundError:
        return
    modules = {Path(file.parts[1]).stem for file in files if file.parts[0] == "langgraph" and file.suffix == ".py"}
    yield from sorted(f"langgraph.{module}" for module in modules - served)


def _unmet_requirements() -> Iterator[str]:
    try:
        from packaging.requirements import Requirement  # comes with langchain-core, which may be what is missing

        declared = metadata.requires("stategraph") or ()
    except (ImportError, metadata.PackageNotFoundError):  # a source tree that is not installed declares nothing
        return
    for requirement in map(Requirement, declared):
        version = _version(requirement.name)
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if applies and version is not None and not requirement.specifier.contains(version, prereleases=True):
            yield f"stategraph needs {requirement.name}{requirement.specifier}; {version} is installed."


def _broken(modules: Sequence[str]) -> dict[str, str]:
    broken = {}
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception as error:
            broken[module] = f"{type(error).__name__}: {error}"
    return broken
