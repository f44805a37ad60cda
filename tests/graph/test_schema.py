"""What schemas mean: keys, channels, defaults, JSON schemas, and building state objects."""

# ruff: noqa: UP007, UP045  (the old spellings of unions are read as well)

import dataclasses
import gc
import operator
import sys
import typing
import warnings
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, ForwardRef, Literal, NotRequired, Optional, Required, TypeVar, Union

import pytest
from pydantic import BaseModel, Field, ValidationError
from typing_extensions import TypedDict

from stategraph.core.channels import BaseChannel, BinaryOperatorAggregate, EphemeralValue, LastValue, Topic
from stategraph.core.channels.delta import DeltaChannel
from stategraph.engine.compile import json_schema
from stategraph.engine.compile.managed import IsLastStep, IsLastStepManager, RemainingSteps, RemainingStepsManager
from stategraph.engine.config import runtime
from stategraph.graph import schema


def _second(left: Any, right: Any) -> Any:
    return right


def _batch(state: Any, writes: Any) -> Any:
    return state


class Parent(TypedDict):
    plain: int
    summed: Annotated[list[int], operator.add]


class Child(Parent, total=False):
    topic: Annotated[list[str], Topic(str)]
    kind: Annotated[int, "words", EphemeralValue, "more words"]
    left_out: NotRequired[Annotated[list[int], operator.add]]
    wanted: Required[int | None]
    inside: Annotated[NotRequired[dict[str, int]], _second]
    last_step: IsLastStep
    remaining: NotRequired[RemainingSteps]
    delta: Annotated[dict[str, int], DeltaChannel(_batch, snapshot_frequency=7)]
    wrapped_delta: Annotated[NotRequired[dict[str, int]], DeltaChannel(_batch)]


@dataclass
class Record:
    a: int
    b: str | None
    c: list[int] = field(default_factory=lambda: [1])
    d: Annotated[int, operator.add] = 4
    e: str = field(default=...)  # type: ignore[assignment]


class Model(BaseModel):
    a: int
    b: Annotated[list[int], operator.add] = Field(default_factory=list)
    c: str | None = None


# --- keys ---


def test_every_annotation_of_a_class_and_its_bases_is_a_key() -> None:
    keys = schema.state_keys(Child)
    assert list(keys.channels) == [
        "plain",
        "summed",
        "topic",
        "kind",
        "left_out",
        "wanted",
        "inside",
        "delta",
        "wrapped_delta",
    ]
    assert keys.managed == {"last_step": IsLastStepManager, "remaining": RemainingStepsManager}


def test_annotations_choose_the_channel() -> None:
    channels = schema.state_keys(Child).channels
    assert {name: type(channel) for name, channel in channels.items()} == {
        "plain": LastValue,
        "summed": BinaryOperatorAggregate,
        "topic": Topic,
        "kind": EphemeralValue,
        "left_out": BinaryOperatorAggregate,
        "wanted": LastValue,
        "inside": BinaryOperatorAggregate,
        "delta": DeltaChannel,
        "wrapped_delta": DeltaChannel,
    }
    assert all(channel.key == name for name, channel in channels.items())
    assert channels["kind"].typ is int
    assert channels["wanted"].typ == int | None


def test_a_delta_channel_takes_the_type_it_stores_from_the_annotation() -> None:
    channels = schema.state_keys(Child).channels
    assert channels["delta"].typ is dict
    assert channels["wrapped_delta"].typ is dict
    assert channels["delta"].snapshot_frequency == 7  # type: ignore[attr-defined]


@pytest.mark.parametrize("cls", [Record, Model])
def test_dataclasses_and_models_are_schemas(cls: type[Any]) -> None:
    channels = schema.state_keys(cls).channels
    assert type(channels["a"]) is LastValue
    assert sum(type(channel) is BinaryOperatorAggregate for channel in channels.values()) == 1


@pytest.mark.parametrize(
    ("type_", "channel"),
    [
        (dict, LastValue),
        (Annotated[list, operator.add], BinaryOperatorAggregate),
        (Annotated[int, EphemeralValue], EphemeralValue),
        (Optional[int], LastValue),
    ],
)
def test_any_other_type_is_one_unnamed_key(type_: Any, channel: type[Any]) -> None:
    keys = schema.state_keys(type_)
    assert list(keys.channels) == [schema.ROOT]
    assert type(keys.channels[schema.ROOT]) is channel
    assert keys.managed == {}


def test_a_managed_value_cannot_be_the_whole_state() -> None:
    with pytest.raises(ValueError, match="make it a key of a class"):
        schema.state_keys(RemainingSteps)


def test_each_reader_of_a_schema_gets_channels_of_its_own() -> None:
    one, other = schema.state_keys(Child).channels, schema.state_keys(Child).channels
    assert one["summed"] is not other["summed"]
    one["summed"].update([[1]])
    assert not other["summed"].get()


def test_a_class_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fresh(TypedDict):
        a: int

    schema.state_keys(Fresh)
    monkeypatch.setattr(schema, "get_type_hints", lambda *_, **__: pytest.fail("read again"))
    assert list(schema.state_keys(Fresh).channels) == ["a"]
    assert schema.declares_keys(Fresh)


def test_reading_a_class_does_not_keep_it_alive() -> None:
    class Fresh(TypedDict):
        a: int

    schema.state_keys(Fresh)
    alive = weakref.ref(Fresh)
    del Fresh
    gc.collect()
    assert alive() is None


def test_a_name_that_cannot_be_found_is_an_error_every_time() -> None:
    class Broken(TypedDict):
        a: "NoSuchType"  # type: ignore[name-defined]  # noqa: F821

    for _ in range(2):
        with pytest.raises(NameError, match="NoSuchType"):
            schema.state_keys(Broken)


@pytest.mark.parametrize("reducer", [lambda a: a, lambda a, b, c: a, lambda *a: a])
def test_a_reducer_takes_two_arguments(reducer: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="Invalid reducer signature"):
        schema.state_keys(Annotated[int, reducer])


def test_a_reducer_may_have_options() -> None:
    def reducer(left: int, right: int, *, scale: int = 1) -> int:
        return left + right * scale

    channel = schema.reducer_channel(Annotated[int, reducer])
    assert isinstance(channel, BinaryOperatorAggregate)
    assert channel.operator is reducer


def test_metadata_that_is_neither_channel_nor_function_means_nothing() -> None:
    assert schema.declared_channel(Annotated[int, "words"]) is None
    assert schema.declared_channel(int) is None
    assert schema.reducer_channel(Annotated[int, "words"]) is None
    assert type(schema.channel_of("a", Annotated[int, "words"])) is LastValue


def test_a_channel_instance_in_an_annotation_is_used_as_it_is() -> None:
    channel: BaseChannel[Any, Any, Any] = EphemeralValue(int)
    assert schema.declared_channel(Annotated[int, "words", channel, "more"]) is channel


def test_only_classes_with_annotations_declare_keys() -> None:
    assert schema.declares_keys(Parent)
    assert schema.declares_keys(Model)
    assert not schema.declares_keys(dict)
    assert not schema.declares_keys(Annotated[int, operator.add])


@pytest.mark.parametrize("value", [{"a": "b"}, [1], Parent(plain=1, summed=[])])
def test_a_value_in_place_of_a_schema_is_warned_about(value: Any) -> None:
    with pytest.warns(UserWarning, match="Invalid state_schema"):
        schema.warn_if_no_schema(value)


@pytest.mark.parametrize("type_", [Annotated[dict, operator.or_], dict, Parent, Model, list[int]])
def test_a_type_is_not_warned_about(type_: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        schema.warn_if_no_schema(type_)


# --- state objects ---


def test_models_are_built_and_validated() -> None:
    build = schema.coercer(["a", "b", "c"], Model)
    assert build is not None
    assert build({"a": "1"}) == Model(a=1)
    with pytest.raises(ValidationError):
        build({"a": "x"})


def test_dataclasses_are_built() -> None:
    build = schema.coercer(["a", "b"], Record)
    assert build is not None
    assert build({"a": 1, "b": None, "e": "e"}) == Record(1, None, e="e")


@pytest.mark.parametrize(("keys", "cls"), [(["a"], Parent), ([schema.ROOT], Model), (["a"], dict)])
def test_dicts_and_bare_values_are_passed_on(keys: list[str], cls: Any) -> None:
    assert schema.coercer(keys, cls) is None


# --- defaults ---


class Leavable(TypedDict):
    required_none: Required[str | None]
    required: Required[str]
    not_required: NotRequired[str]
    annotated_not: Annotated[NotRequired[int], "x"]
    not_annotated: NotRequired[Annotated[int, "x"]]
    annotated_required: Annotated[Required[int], "x"]
    none: str | None
    plain: str


class Partial(Leavable, total=False):
    late: int
    late_required: Required[str]


_MISSING_OK = {"not_required", "annotated_not", "not_annotated", "none", "late"}


@pytest.mark.parametrize("name", [*Partial.__annotations__])
def test_typed_dict_keys_may_be_left_out_if_the_class_says_so(name: str) -> None:
    hint = typing.get_type_hints(Partial, include_extras=True)[name]
    assert schema.field_default(name, hint, Partial) is (None if name in _MISSING_OK else ...)


def test_dataclass_defaults_are_defaults() -> None:
    hints = typing.get_type_hints(Record, include_extras=True)
    defaults = {name: schema.field_default(name, hint, Record) for name, hint in hints.items()}
    assert defaults == {"a": ..., "b": None, "c": [1], "d": 4, "e": ...}


_T = TypeVar("_T")
_Bound = TypeVar("_Bound", bound=int | None)


@pytest.mark.parametrize(
    "type_",
    [
        None,
        Optional[list],
        Union[int, str, None],
        int | None,
        Optional[ForwardRef("X")],
        Annotated[int | None, 1],
        _Bound,
    ],
)
def test_types_that_allow_none(type_: Any) -> None:
    assert schema.is_optional_type(type_)


@pytest.mark.parametrize(
    "type_", [type(None), int, Literal[1], list[int | None], Union[int, str], Any, _T, Callable[[int], str | None]]
)
def test_types_that_do_not_allow_none(type_: Any) -> None:
    assert not schema.is_optional_type(type_)


def test_a_union_member_that_allows_none_is_enough() -> None:
    assert schema.is_optional_type(Union[_Bound, str])


def test_described_fields_carry_defaults_and_descriptions() -> None:
    class Described(BaseModel):
        a: int
        b: int = 42
        c: str = Field(default="x", description="words")
        d: list[int] = Field(default_factory=list)
        e: Annotated[str, Field(description="more words")]

    assert list(schema.described_fields(Described)) == [
        ("a", int, None, None),
        ("b", int, 42, None),
        ("c", str, "x", "words"),
        ("d", list[int], None, None),
        ("e", str, None, "more words"),
    ]
    assert list(schema.described_fields(dataclasses.make_dataclass("D", [("a", int), ("b", int, 3)]))) == [
        ("a", int, None, None),
        ("b", int, 3, None),
    ]


# --- JSON schemas ---


def _json(cls: Any, title: str = "Title") -> dict[str, Any]:
    keys = schema.state_keys(cls)
    return schema.state_json_schema(cls, keys=[*keys.channels, *keys.managed], channels=keys.channels, title=title)


def test_typed_dicts_and_models_describe_themselves() -> None:
    assert _json(Parent)["required"] == ["plain", "summed"]
    assert _json(Parent)["title"] == "Parent"
    assert _json(Model)["required"] == ["a"]


def test_dataclasses_are_described_by_their_keys() -> None:
    described = _json(Record)
    assert described["title"] == "Title"
    assert described["required"] == ["a", "e"]
    assert described["properties"]["c"]["default"] == [1]


def test_a_single_value_is_described_by_its_type() -> None:
    described = _json(Annotated[list[int], operator.add])
    assert described["title"] == "Title"
    assert described["type"] == "array"


def test_names_that_pydantic_keeps_for_itself_are_fine_as_keys() -> None:
    model = json_schema.model_of("M", {"copy": (int, ...), "_private": (str, None), "model_x": (int, 1)})
    described = model.model_json_schema()
    assert set(described["properties"]) == {"copy", "_private", "model_x"}
    assert described["required"] == ["copy"]


def test_the_same_description_gives_the_same_model_and_another_one_does_not() -> None:
    assert json_schema.model_of("M", {"a": (int, 1)}) is json_schema.model_of("M", {"a": (int, 1)})
    assert json_schema.model_of("M", {"a": (Any, 1)}) is not json_schema.model_of("M", {"a": (Any, True)})
    assert json_schema.model_of("M", {"a": (list[int], [1])})().model_dump() == {"a": [1]}


def test_a_single_value_that_is_a_model_keeps_the_title_it_was_given() -> None:
    described = json_schema.root_model_of("Title", Model).model_json_schema()
    assert described["title"] == "Title"


def test_a_description_of_both_kinds_is_refused() -> None:
    with pytest.raises(NotImplementedError, match="takes no other fields"):
        json_schema.create_model("M", root=int, field_definitions={"a": (int, 1)})
    with pytest.raises(NotImplementedError, match="'copy' has a name that pydantic keeps for itself"):
        json_schema.create_model("M", field_definitions={"copy": int})


def test_making_a_model_leaves_the_warning_filters_of_the_process_alone() -> None:
    """They belong to all threads: one that is put back later takes away what another thread has set since."""

    class Setting:
        @classmethod
        def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
            warnings.simplefilter("ignore", ImportWarning)
            return handler(int)

    with warnings.catch_warnings():
        for make in (
            lambda: json_schema.model_of("M", {"model_x": (Setting, ...)}),
            lambda: json_schema.root_model_of("M", Setting),
        ):
            warnings.simplefilter("error", ImportWarning)
            make()
            assert warnings.filters[0][:3:2] == ("ignore", ImportWarning)


class _Plain:
    pass


class _OldTypedDict(typing.TypedDict):
    a: int


def test_which_types_describe_themselves() -> None:
    assert json_schema.describes_itself(Model)
    assert json_schema.describes_itself(Record)
    assert json_schema.describes_itself(Parent)
    assert not json_schema.describes_itself(_Plain)
    assert not json_schema.describes_itself(int)
    assert json_schema.describes_itself(_OldTypedDict) == (sys.version_info >= (3, 12))


@pytest.mark.parametrize("cls", [Parent, Model, Record])
def test_contexts_are_described(cls: Any) -> None:
    described = json_schema.context_json_schema(cls)
    assert described is not None
    assert described["title"] == cls.__name__


def test_a_context_may_be_missing_but_not_anything() -> None:
    assert json_schema.context_json_schema(None) is None
    with pytest.raises(ValueError, match="Must be a BaseModel, TypedDict or dataclass"):
        json_schema.context_json_schema(int)


def test_contexts_are_built_from_dicts() -> None:
    assert runtime.coerce_context(Model, {"a": 1}) == Model(a=1)
    assert runtime.coerce_context(Record, {"a": 1, "b": None, "e": "e"}) == Record(1, None, e="e")
    assert runtime.coerce_context(Parent, {"plain": 1}) == {"plain": 1}
    assert runtime.coerce_context(None, {"any": 1}) == {"any": 1}
    assert runtime.coerce_context(Model, None) is None
