"""Public names of a package that are loaded when they are first used: a program pays for the parts that it uses."""

TYPE_CHECKING = False  # importing typing would be most of this module's cost; type checkers know the bare name
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def loader(
    namespace: "dict[str, object]", public: "Mapping[str, tuple[str, ...]]"
) -> "tuple[tuple[str, ...], Callable[[str], object]]":
    """Return a package's `__all__` and `__getattr__`.

    Args:
        namespace: The globals of the package's `__init__`, where a name is kept once it is loaded.
        public: The public names, by the module within the package that has them.
    """
    package = namespace["__name__"]
    homes = {name: f"{package}.{module}" for module, names in public.items() for name in names}

    def load(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module '{package}' has no attribute {name!r}")
        from importlib import import_module

        namespace[name] = value = getattr(import_module(homes[name]), name)
        return value

    return tuple(sorted(homes)), load
