"""The configuration of a plug-in: read from a file, and checked by what the plug-in says of it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from stategraph.errors import ConfigurationError, MissingPackageError
from stategraph.resources.plugins.api import Json, Plugin
from stategraph.resources.plugins.errors import PluginStartError

#: The most bytes of a file.
MOST_BYTES: Final = 1024 * 1024


def read(path: Path) -> dict[str, Json]:
    """Read a configuration from a file in JSON, YAML or TOML, by its suffix.

    Raises:
        ConfigurationError: It cannot be read; the message names the place, and no value.
        MissingPackageError: It is YAML, and PyYAML is not installed.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"The configuration '{path}' cannot be read: {error.strerror}") from error
    if len(data) > MOST_BYTES:
        raise ConfigurationError(f"The configuration '{path}' has more than {MOST_BYTES:,} bytes")
    try:
        found = _parsed(path, data.decode())
    except UnicodeDecodeError:
        raise ConfigurationError(f"The configuration '{path}' is not UTF-8") from None
    if not isinstance(found, dict):
        raise ConfigurationError(f"The configuration '{path}' is a {type(found).__name__}; expected a mapping")
    return found


def _parsed(path: Path, text: str) -> Json:
    match path.suffix.lower():
        case ".json":
            try:
                return json.loads(text)
            except ValueError as error:
                raise ConfigurationError(f"'{path}' is no JSON: {error}") from None
        case ".toml":
            try:
                return tomllib.loads(text)
            except tomllib.TOMLDecodeError as error:
                raise ConfigurationError(f"'{path}' is no TOML: {error}") from None
        case ".yaml" | ".yml":
            return _yaml(path, text)
    raise ConfigurationError(
        f"The configuration '{path}' ends with '{path.suffix}'; expected .json, .yaml, .yml or .toml"
    )


def _yaml(path: Path, text: str) -> Json:
    try:
        import yaml  # an extra
    except ImportError as error:
        raise MissingPackageError("stategraph[resources]", "A configuration in YAML") from error
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        if any(isinstance(each, yaml.AliasToken) for each in yaml.scan(text, loader)):
            raise ConfigurationError(f"'{path}' has aliases (*name), which configurations may not have")
        return yaml.load(text, loader) or {}
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise ConfigurationError(
            f"{where}: no YAML: {getattr(error, 'problem', None) or 'it cannot be read'}"
        ) from None


def checked(name: str, cls: type[Plugin], config: Mapping[str, Json]) -> Json:
    """Return a plug-in's configuration, checked; messages name fields and never values.

    Raises:
        PluginStartError: It is wrong.
    """
    if cls.Config is not None:
        import pydantic  # 0.1 s, for plug-ins that use it

        try:
            return cls.Config.model_validate(dict(config))
        except pydantic.ValidationError as error:
            found = [(".".join(map(str, each["loc"])) or "config", each["msg"]) for each in error.errors()]
            told = "; ".join(f"config.{where}: {what}" for where, what in found)
            raise PluginStartError(f"The configuration of plugin '{name}' is wrong: {told}") from None
    if cls.config_schema is not None:
        import jsonschema  # type: ignore[import-untyped]  # 0.1 s, the same

        validator = jsonschema.validators.validator_for(cls.config_schema)(cls.config_schema)
        wrong = [
            f"config.{'.'.join(map(str, each.absolute_path))}: does not fulfil {each.validator!r}"
            for each in validator.iter_errors(dict(config))
        ]
        if wrong:
            raise PluginStartError(f"The configuration of plugin '{name}' is wrong: {'; '.join(wrong)}")
    return dict(config)
