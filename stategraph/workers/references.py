"""Code by its import path: what a worker runs is named by text and imported there, never pickled.

- A target is `package.module:attribute`. A worker imports it only if its module is on the worker's list of allowed
  modules, and so is the module that defines what is found: `my_app:system` is refused where `my_app` merely imported
  `os.system`.
- An object that has no import path of its own, such as a model or a tool that was made by a call, is sent by the call
  that made it: `imported("my_app.models:make", size=3)` makes it here, and each worker makes it once for all of its
  jobs.
"""

from __future__ import annotations

import sys
import types
import weakref
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr

from stategraph import import_paths
from stategraph.errors import ConfigurationError, TransferError

#: Targets of this package itself.
OWN_MODULES = ("stategraph.governance.session", "stategraph.savers.urls", "stategraph.workers")

#: How many objects that were made by calls a worker keeps, the newest ones.
MADE_KEPT = 256

_SCRIPTS = ("__main__", "__mp_main__")


@dataclass(frozen=True, slots=True)
class Reference:
    """Code or an object by its import path.

    Attributes:
        target: `package.module:attribute`.
        arguments: Call the target with these keyword arguments; None: it is the object itself.
    """

    target: str
    arguments: dict[str, Any] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class _Recipes:
    """The calls by which objects were made, by their identity, as long as they live."""

    by_id: dict[int, Reference] = field(default_factory=dict)
    kept: dict[int, object] = field(default_factory=dict)

    def note(self, made: object, recipe: Reference) -> None:
        self.by_id[id(made)] = recipe
        try:
            weakref.finalize(made, self.by_id.pop, id(made), None)
        except TypeError:  # it cannot be watched, so it is kept: its identity must not be reused
            self.kept[id(made)] = made


_recipes = _Recipes()


def imported(target: str, **arguments: object) -> Any:
    """Make an object by calling an importable function, and remember how, so that workers can make it as well.

    Args:
        target: `package.module:function`.
        **arguments: For the function; data that a checkpoint could store.

    Returns:
        What the function returned.

    Raises:
        TransferError: There is no such function.

    Example:
        ```python
        agent = {"agent_id": "a", "model": imported("my_app.models:make_model", temperature=0)}
        ```
    """
    made = find(target)(**arguments)
    _recipes.note(made, Reference(target, arguments))
    return made


def recipe_of(value: object) -> Reference | None:
    """Return how `imported` made an object; None if it did not."""
    return _recipes.by_id.get(id(value))


def names(value: Iterable[str], setting: str) -> tuple[str, ...]:
    """Return a setting that is a list of names.

    Args:
        value: The names.
        setting: What the setting is called.

    Raises:
        ConfigurationError: It is one text, of which each letter would be a name, or no list of texts.
    """
    if isinstance(value, str):
        raise ConfigurationError(f"'{setting}' is {value!r}, a text, where a list of names is expected: [{value!r}]")
    several = tuple(value) if isinstance(value, Iterable) else (value,)
    for each in several:
        if each is value or not isinstance(each, str):
            raise ConfigurationError(
                f"'{setting}' is {value!r:.60}, with a value of type {type(each).__name__}; expected a list of names"
            )
    return several


class Targets:
    """Imports what stored or sent data names, from a list of modules.

    Args:
        allow: Modules and packages, by name; a package stands for all modules in it.

    Raises:
        ConfigurationError: They are one text.
    """

    def __init__(self, allow: Iterable[str] = ()) -> None:
        self._allowed = {*OWN_MODULES, *names(allow, "allow")}
        self._loaded: dict[str, object] = {}
        self._made: dict[Hashable, object] = {}

    @property
    def allowed(self) -> tuple[str, ...]:
        """The names on the list."""
        return tuple(sorted(self._allowed))

    def allow(self, modules: Iterable[str]) -> None:
        """Put further modules on the list."""
        self._allowed.update(modules)

    def permits(self, module: str) -> bool:
        """Return whether a module is on the list, itself or by a package around it."""
        return any(module == each or module.startswith(f"{each}.") for each in self._allowed)

    def load(self, target: str) -> Any:
        """Import a target.

        Args:
            target: `package.module:attribute`.

        Returns:
            The object there.

        Raises:
            TransferError: It is not allowed, cannot be imported, or is not there.
        """
        if target in self._loaded:
            return self._loaded[target]
        module, _ = split(target)
        if not self.permits(module):
            raise TransferError(
                f"The target {target!r} is in the module '{module}', which this worker may not import; it may import "
                f"{', '.join(self.allowed)}. Start it with '{module}' among its allowed modules"
            )
        found = find(target)
        home = getattr(found, "__module__", None)
        named = isinstance(found, type | types.FunctionType | types.BuiltinFunctionType | types.MethodType)
        if named and isinstance(home, str) and not self.permits(home):
            raise TransferError(
                f"The target {target!r} is defined in the module '{home}', which this worker may not import; name it "
                f"by a function of '{module}' itself, or allow '{home}'"
            )
        self._loaded[target] = found
        return found

    def resolve(self, reference: Reference) -> object:
        """Return the object that a reference stands for; one that is made by a call is made once and kept."""
        if reference.arguments is None:
            return self.load(reference.target)
        key = key_of(reference)
        try:
            return self._made[key]
        except KeyError:
            made = self._made[key] = self.make(reference)
        except TypeError:  # a value among the arguments has no hash
            return self.make(reference)
        if len(self._made) > MADE_KEPT:
            del self._made[next(iter(self._made))]
        return made

    def make(self, reference: Reference) -> Any:
        """Make the call of a reference, also if it was made before."""
        return self.load(reference.target)(**self.resolved(reference.arguments or {}))

    def resolved(self, value: object) -> Any:
        """Return mappings and lists with the objects that references in them stand for."""
        return replaced(value, lambda each: self.resolve(each) if isinstance(each, Reference) else each)


def key_of(value: object) -> Hashable:
    """Return a key for a value that equal values of equal types have; without a hash if the value has none."""
    match value:
        case Reference():
            return value.target, key_of(value.arguments)
        case Mapping():
            return "mapping", tuple((key, key_of(each)) for key, each in value.items())
        case list() | tuple():
            return type(value), tuple(key_of(each) for each in value)
        case SecretStr():
            return "secret", value.get_secret_value()
    return type(value), value


def split(target: str) -> tuple[str, str]:
    """Return module and attribute of a target.

    Raises:
        TransferError: It has another form.
    """
    return import_paths.parts(target, "The target", TransferError)


def find(target: str) -> Any:
    """Import a target of any module: for programs that name it themselves.

    Raises:
        TransferError: It cannot be imported, or is not there.
    """
    hint = "The module has to be on the import path (sys.path) of the worker too"
    found = import_paths.imported(target, "The target", TransferError, hint=hint)
    module, attribute = split(target)
    part: Any = sys.modules[module]
    for name in attribute.split("."):
        part = getattr(part, name)
        if isinstance(part, types.ModuleType):
            raise TransferError(f"The target {target!r} leads through the module '{part.__name__}'; name that module")
    return found


def reference_to(value: object, what: str) -> Reference:
    """Return how workers find code or an object.

    Args:
        value: A function, a class, a tool, or an object that `imported` made or that a module holds under a name.
        what: What it is, for the message.

    Raises:
        TransferError: It has no import path.
    """
    known = _recipes.by_id.get(id(value))
    if known is not None:
        return known
    for target in _paths(value):
        return Reference(target)
    raise TransferError(f"{what} cannot be sent to a worker: {_why_not(value)}")


def _paths(value: object) -> Iterator[str]:
    """Import paths under which a value is really found."""
    for holder in _definitions(value):
        module, name = getattr(holder, "__module__", None), getattr(holder, "__qualname__", None)
        if module in _SCRIPTS or not isinstance(module, str) or not isinstance(name, str) or "<" in name:
            continue
        if _attribute(sys.modules.get(module), name) is value:
            yield f"{module}:{name}"
    for module in _modules(value):
        for name, each in list(vars(sys.modules[module]).items()):
            if each is value:
                yield f"{module}:{name}"


def _definitions(value: object) -> Iterator[object]:
    """Yield a value, and the functions that it wraps, as a tool does."""
    yield value
    for name in ("func", "coroutine", "__wrapped__"):
        inner = getattr(value, name, None)
        if callable(inner):
            yield inner


def _modules(value: object) -> list[str]:
    """Return loaded modules that may hold a value under a name."""
    found = [getattr(each, "__module__", None) for each in (*_definitions(value), type(value))]
    return [
        each for each in dict.fromkeys(found) if isinstance(each, str) and each in sys.modules and each not in _SCRIPTS
    ]


def _attribute(module: object, path: str) -> object:
    found = module
    for part in path.split("."):
        found = getattr(found, part, None)
    return found


def _why_not(value: object) -> str:
    names = [getattr(each, "__qualname__", "") for each in _definitions(value)]
    name = next((each for each in names if isinstance(each, str) and each), type(value).__name__)
    homes = [getattr(each, "__module__", None) for each in _definitions(value)]
    if "<lambda>" in name:
        return "it is a lambda, and workers import code by its name; write it as a function of a module"
    if "<locals>" in name:
        outer = name.partition(".<locals>")[0]
        return (
            f"{name.rpartition('.')[2]!r} is defined inside the function {outer!r}, and workers import code by its "
            "name; move it to the top of a module, and pass what it closes over as data"
        )
    if any(home in _SCRIPTS for home in homes):
        return f"{name!r} is defined in the script that was started; move it to a module that workers can import"
    return (
        f"a value of type {type(value).__name__} has no import path; give it a name in a module, or make it with "
        "stategraph.workers.imported('package.module:function', ...)"
    )


def modules_of(value: object) -> Iterator[str]:
    """Yield the modules of all references in a value, for a pool that trusts what this process sends."""
    if isinstance(value, Reference):
        yield split(value.target)[0]
        yield from modules_of(value.arguments)
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from modules_of(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from modules_of(each)


def replaced(value: Any, replace: Callable[[Any], Any]) -> object:
    """Return mappings, lists and tuples with what `replace` makes of the values in them.

    Args:
        value: The value.
        replace: Called with each value that is no container; returns what takes its place.
    """
    if isinstance(value, Mapping):
        return {key: replaced(each, replace) for key, each in value.items()}
    if type(value) in (list, tuple):
        return type(value)(replaced(each, replace) for each in value)
    return replace(value)
