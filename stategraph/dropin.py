"""Choice of the engine that serves ``langgraph.*`` in this process.

The rules:

1. ``langgraph`` is a namespace package: its modules are looked up along ``sys.path``, in order. The engine is chosen
   by the place of the *compat tree* on that path and by nothing else; no module is patched or replaced.
2. The flag is ``STATEGRAPH_RUNTIME``, or ``MOSS_AGENT_RUNTIME`` where that one is unset. True puts the compat tree
   first.
3. Unset or false, an installed LangGraph wins. Where none is installed, the compat tree serves from the end of the
   path.
4. Any other value counts as false and is reported with a ``RuntimeWarning``.
5. Two engines never mix: in a process that has already imported LangGraph's own modules nothing is switched, and a
   ``RuntimeWarning`` says so.

The start-up hook ``stategraph.pth`` brings this module in at interpreter start, before any package of the application.
It therefore imports only what every interpreter has loaded by then.
"""

from __future__ import annotations

import os
import site
import sys
import warnings

TYPE_CHECKING = False  # the typing module costs more than everything here; type checkers know the bare name
if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLES = ("STATEGRAPH_RUNTIME", "MOSS_AGENT_RUNTIME")
"""The environment variables of the flag; the first that is not blank decides."""

TRUE_VALUES = ("true", "1", "yes", "on")
"""Spellings that switch the drop-in on; case and surrounding space do not matter."""

FALSE_VALUES = ("false", "0", "no", "off")
"""Spellings that leave it off, as an unset or blank variable does."""

LANGGRAPH_VERSION = "1.2.24"
"""The LangGraph release whose behaviour the compat tree offers."""

METADATA_SUFFIX = "+stategraph"
METADATA_VERSION = LANGGRAPH_VERSION + METADATA_SUFFIX
"""The version of the distribution that says ``langgraph`` and holds no file (scripts/langgraph-metadata)."""

_MARKER = os.path.join("langgraph", "STATEGRAPH.md")


class Flag:
    """The flag as it stands in an environment.

    Attributes:
        variable: The variable that decided, or None when none is set.
        value: Its text as found, or None.
        wanted: True or False for an accepted spelling, None when unset or not understood.
    """

    __slots__ = ("value", "variable", "wanted")

    def __init__(self, variable: str | None, value: str | None, wanted: bool | None) -> None:
        self.variable = variable
        self.value = value
        self.wanted = wanted

    @property
    def error(self) -> str | None:
        """The problem with the variable's value and the values that are accepted; None if there is none."""
        if self.variable is None or self.wanted is not None:
            return None
        return (
            f"{self.variable}={self.value!r} is neither true ({', '.join(TRUE_VALUES)}) nor false "
            f"({', '.join(FALSE_VALUES)}); it is taken as false, so an installed langgraph keeps running."
        )


def read_flag(environ: Mapping[str, str] | None = None) -> Flag:
    """Read the flag.

    Args:
        environ: Where to look; None means ``os.environ``.
    """
    environ = os.environ if environ is None else environ
    for variable in VARIABLES:
        value = environ.get(variable, "")
        word = value.strip().lower()
        if word:
            wanted = True if word in TRUE_VALUES else False if word in FALSE_VALUES else None
            return Flag(variable, value, wanted)
    return Flag(None, None, None)


def compat_path() -> str:
    """Return the directory that holds the compat tree.

    Raises:
        RuntimeError: If the installation has none.
    """
    home = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    for name in ("stategraph_compat", "compat"):  # as the wheel lays it out, as the source tree does
        candidate = os.path.join(home, name)
        if is_compat(candidate):
            return candidate
    raise RuntimeError(
        f"stategraph's langgraph modules are missing: found neither stategraph_compat/ nor compat/ in {home}. "
        "Reinstall stategraph."
    )


def is_compat(entry: str) -> bool:
    """Return whether an entry of ``sys.path`` is a compat tree (of this installation or of another)."""
    return os.path.isfile(os.path.join(entry, _MARKER))


def foreign_modules() -> dict[str, str]:
    """LangGraph's own modules that this process has imported, each with its file.

    Modules of the distributions around it (``langgraph.checkpoint``, ``.store``, ``.prebuilt`` and so on) do not count:
    they work on either engine.
    """
    tree = os.path.join(compat_path(), "langgraph")
    ours = {os.path.splitext(name)[0] for name in os.listdir(tree)} - {"prebuilt"}
    found = {}
    for name, module in list(sys.modules.items()):
        package, _, rest = name.partition(".")
        if package != "langgraph" or rest.partition(".")[0] not in ours:
            continue
        file = getattr(module, "__file__", None)
        if file and not os.path.abspath(file).startswith(tree + os.sep):
            found[name] = file
    return found


def activate() -> bool:
    """Make the compat tree come first on ``sys.path``, regardless of the flag.

    For programs that cannot set a variable before the interpreter starts, such as notebooks. Call it before anything
    imports ``langgraph``.

    Returns:
        True when ``langgraph.*`` comes from here now; False, with a ``RuntimeWarning``, when LangGraph's own modules
        had been imported before and nothing was changed.
    """
    foreign = foreign_modules()
    if foreign:
        name, file = next(iter(foreign.items()))
        warnings.warn(
            f"stategraph cannot take over: {name} was already imported from {file}, so this process keeps LangGraph's "
            f"engine. Set {VARIABLES[0]}=true before the interpreter starts, or import stategraph before langgraph.",
            RuntimeWarning,
            stacklevel=2,
        )
        return False
    compat = compat_path()
    for entry in sys.path:
        if entry == compat:
            return True
        if os.path.isdir(os.path.join(entry or os.curdir, "langgraph")):
            break
    sys.path[:] = [compat, *(entry for entry in sys.path if entry != compat)]
    return True


def apply_flag() -> None:
    """Do what the flag says. Runs once, when ``stategraph`` is first imported with one of the variables set."""
    flag = read_flag()
    if flag.wanted:
        activate()
        return
    if flag.error is not None:
        warnings.warn(flag.error, RuntimeWarning, stacklevel=2)
    _yield_to_installed()


def _yield_to_installed() -> None:
    """Take the compat trees off the path where a LangGraph is installed.

    At the end of the path they would still serve the modules that an older LangGraph lacks, and in a virtual
    environment that sees the system's packages they would come before the system's LangGraph.
    """
    places = dict.fromkeys((*sys.path, *site.getsitepackages()))
    if any(os.path.isdir(os.path.join(p or os.curdir, "langgraph", "pregel")) and not is_compat(p) for p in places):
        sys.path[:] = [p for p in sys.path if not is_compat(p)]
