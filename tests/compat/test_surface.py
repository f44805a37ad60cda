"""The public names of LangGraph 1.2.24, and the private ones that packages import, are all there and fit.

`surface.json` holds the facts: module, name, and for what can be called the parameters it takes, as
`positional optional= * keyword_only= **rest`. What is missing stands in `surface_missing.txt`, one finding a line, and
that list may only shrink. `namespaces.json` holds every name that can be imported from a public module, also those that
the module merely imports; of these none is missing. Both were read from the release with `surface_of.py`.
"""

import importlib
import inspect
import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from enum import EnumType
from pathlib import Path

import pytest

HERE = Path(__file__).parent
COMPAT = HERE.parents[1] / "compat"

PRIVATE = {
    "_internal._config": "ensure_config merge_configs patch_config patch_configurable",
    "_internal._constants": """
        CACHE_NS_WRITES CONF ERROR INPUT INTERRUPT NO_WRITES NS_END NS_SEP NULL_TASK_ID OVERWRITE PULL PUSH
        RESUME RETURN TASKS CONFIG_KEY_CACHE CONFIG_KEY_CALL CONFIG_KEY_CHECKPOINTER
        CONFIG_KEY_CHECKPOINT_ID CONFIG_KEY_CHECKPOINT_MAP CONFIG_KEY_CHECKPOINT_NS CONFIG_KEY_DURABILITY
        CONFIG_KEY_NODE_ERROR CONFIG_KEY_NODE_FINISHED CONFIG_KEY_READ CONFIG_KEY_READ_STATE CONFIG_KEY_REPLAY_STATE
        CONFIG_KEY_RESUME_MAP CONFIG_KEY_RESUMING CONFIG_KEY_RUNNER_SUBMIT CONFIG_KEY_RUNTIME
        CONFIG_KEY_SCRATCHPAD CONFIG_KEY_SEND CONFIG_KEY_STREAM CONFIG_KEY_STREAM_MESSAGES_V2
        CONFIG_KEY_STRICT_RESUME CONFIG_KEY_TASK_ID CONFIG_KEY_THREAD_ID CONFIG_KEY_TIMED_ATTEMPT_OBSERVER
    """,
    "_internal._pydantic": "create_model is_supported_by_pydantic",
    "_internal._runnable": "RunnableCallable RunnableLike RunnableSeq",
    "_internal._scratchpad": "PregelScratchpad",
    "_internal._typing": "DeprecatedKwargs MISSING",
    "graph.message": "_messages_delta_reducer",
    "pregel._algo": "PregelTaskWrites _proc_input _scratchpad local_read",
    "pregel._call": "identifier",
    "pregel._checkpoint": "copy_checkpoint empty_checkpoint",
    "pregel._read": "PregelNode",
    "pregel._tools": "_tool_call_writer",
    "pregel.algo": "PregelTaskWrites _proc_input _scratchpad local_read",
    "pregel.read": "PregelNode",
    "stream._mux": "StreamMux TransformerFactory",
    "stream._types": "ProtocolEvent StreamTransformer",
    "stream.transformers": "_TasksLifecycleBase",
    "utils.config": "ensure_config get_config get_store patch_configurable",
    "utils.runnable": "RunnableCallable RunnableLike",
}

ABSENT = object()

pytestmark = pytest.mark.usefixtures("ours_on_the_path")


def load(module: str) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # some of the modules are deprecated themselves
        try:
            return importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name is None or not module.startswith(error.name):
                raise
            return ABSENT


def look_up(holder: object, name: str) -> object:
    try:
        return getattr(holder, name, ABSENT)
    except ImportError:  # what a shim raises for a name that it can only explain
        return ABSENT


def misfits(module: str, names: dict[str, dict[str, object]]) -> Iterator[str]:
    """Everything about `module` that does not fit, each with an address that is stable across Python versions."""
    ours = load(module)
    if ours is ABSENT:
        yield module
        return
    for name, facts in names.items():
        value = look_up(ours, name)
        if value is ABSENT:
            yield f"{module}:{name}"
        elif "call" in facts and not fits(facts["call"], value):
            yield f"{module}:{name}()"
        elif "members" in facts:
            yield from class_misfits(f"{module}:{name}", facts, value)


def class_misfits(address: str, facts: dict[str, object], ours: object) -> Iterator[str]:
    # How an enum is called is for Python to say, and differs by its version.
    if facts["init"] is not None and not isinstance(ours, EnumType) and not fits(facts["init"], ours):
        yield f"{address}()"
    declared = {field for cls in getattr(ours, "__mro__", ()) for field in attributes(cls)}
    for field in facts["fields"]:
        if field not in declared and not hasattr(ours, field):
            yield f"{address}.{field}"
    for member, parameters in facts["members"].items():
        value = getattr(ours, member, ABSENT)
        if value is ABSENT and member not in declared:
            yield f"{address}.{member}"
        elif parameters is not None and not fits(parameters.removeprefix("cls "), value):
            yield f"{address}.{member}()"


def attributes(cls: type) -> Iterator[str]:
    """What instances have according to the class: declared in its body, or set in its constructor."""
    yield from inspect.get_annotations(cls)
    constructor = vars(cls).get("__init__")
    if inspect.isfunction(constructor):
        yield from constructor.__code__.co_names


def fits(theirs: str, ours: object) -> bool:
    """Whether every call that `theirs` allows is allowed by `ours` too."""
    try:
        parameters = list(inspect.signature(ours).parameters.values())
    except (TypeError, ValueError):
        return False
    wanted = theirs.split()
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    by_name = {p.name: p for p in parameters}
    kinds = {p.kind for p in parameters}
    place, keyword_only = 0, False
    for word in wanted:
        name, optional = word.rstrip("="), word.endswith("=")
        if word.startswith("**"):
            good = inspect.Parameter.VAR_KEYWORD in kinds
        elif word.startswith("*"):
            keyword_only = True
            good = word == "*" or inspect.Parameter.VAR_POSITIONAL in kinds
        else:
            own = by_name.get(name)
            good = own is not None and (not optional or own.default is not own.empty)
            if not keyword_only:
                good = good and place < len(positional) and positional[place].name == name
                place += 1
            elif own is None:
                good = inspect.Parameter.VAR_KEYWORD in kinds
        if not good:
            return False
    known = {word.strip("*=") for word in wanted}
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return all(p.name in known or p.default is not p.empty or p.kind in variable for p in parameters)


def missing_now() -> set[str]:
    surface = json.loads((HERE / "surface.json").read_text())
    found = {finding for module, names in surface.items() for finding in misfits(module, names)}
    for module, names in PRIVATE.items():
        found |= set(misfits(f"langgraph.{module}", {name: {} for name in names.split()}))
    return found


def test_what_is_missing_is_what_is_listed_as_missing():
    lines = (HERE / "surface_missing.txt").read_text().splitlines()
    listed = {line.split()[0] for line in lines if line and not line.startswith("#")}
    missing = missing_now()
    assert sorted(missing - listed) == [], "missing, and not in surface_missing.txt"
    assert sorted(listed - missing) == [], "present now: take it out of surface_missing.txt"


def test_every_name_that_a_public_module_has_can_be_imported_from_it():
    """Also those that it only imports: programs say `from langgraph.graph.state import RunnableConfig`."""
    namespaces = json.loads((HERE / "namespaces.json").read_text())
    missing = [f"{module}:{name}" for module, wanted in namespaces.items() for name in wanted if not has(module, name)]
    assert missing == []


def has(module: str, name: str) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return look_up(load(module), name) is not ABSENT


def test_a_module_serves_no_name_that_langgraphs_does_not_have():
    """Programs find out by a name what a release can do."""
    for module, name in (("langgraph.errors", "Send"), ("langgraph.types", "NeverWas"), ("langgraph.channels", "main")):
        with pytest.raises(AttributeError, match=f"module '{module}' has no attribute '{name}'"):
            getattr(load(module), name)


def test_a_name_that_is_only_imported_is_the_thing_itself_and_is_kept():
    from langchain_core.runnables import RunnableConfig

    state = load("langgraph.graph.state")
    assert state.RunnableConfig is vars(state)["RunnableConfig"] is RunnableConfig
    assert load("langgraph.channels").binop is load("langgraph.channels.binop")
    assert load("langgraph.types").OutputT is not load("langgraph.typing").OutputT


def test_names_that_are_only_imported_are_loaded_when_they_are_asked_for():
    code = "import langgraph.config as config; print('var_child_runnable_config' in vars(config))"
    code = f"import sys; sys.path.insert(0, {str(COMPAT)!r}); {code}; config.var_child_runnable_config; {code}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=COMPAT.parent)
    assert done.stdout.split() == ["False", "True"], done.stderr


def test_a_part_of_langgraphs_engine_without_a_counterpart_can_be_named_and_says_so_when_used():
    plan = load("langgraph.pregel.main").prepare_next_tasks
    assert not isinstance(3, plan)
    sentence = "'prepare_next_tasks' is a part of LangGraph's own engine and has no counterpart in stategraph"
    with pytest.raises(NotImplementedError, match=sentence):
        plan(None, [])
    with pytest.raises(NotImplementedError, match=sentence):
        type("Mine", (plan,), {})
    with pytest.raises(AttributeError, match=sentence):
        _ = plan.tick
    with pytest.raises(AttributeError, match=sentence):
        _ = plan.__wrapped__


def test_a_graph_can_be_drawn_from_its_parts():
    def node(state):
        return {}

    state, pregel = load("langgraph.graph.state"), load("langgraph.pregel._draw")
    graph = state.StateGraph(dict).add_node("one", node).add_node("two", node).add_edge("__start__", "one")
    compiled = graph.add_conditional_edges("one", lambda _: "two", ["two"]).compile(interrupt_before=["two"])
    drawn = pregel.draw_graph(
        {},
        nodes=compiled.nodes,
        specs=compiled.channels,
        input_channels=compiled.input_channels,
        interrupt_after_nodes=compiled.interrupt_after_nodes,
        interrupt_before_nodes=compiled.interrupt_before_nodes,
        trigger_to_nodes=compiled.trigger_to_nodes,
        checkpointer=compiled.checkpointer,
        subgraphs={},
    )
    assert drawn.to_json() == compiled.get_graph().to_json()
    assert {edge.target for edge in drawn.edges if edge.conditional} == {"two"}
    assert pregel.draw_graph is load("langgraph.pregel.main").draw_graph


def test_every_module_of_langgraph_has_ours_in_its_place():
    """Else an installed LangGraph would fill the gap, and two engines would meet in one program."""
    names = {module.split(".")[1] for module in json.loads((HERE / "surface.json").read_text())}
    served = {file.stem for file in (COMPAT / "langgraph").iterdir() if file.suffix == ".py" or file.is_dir()}
    assert names | {"_internal"} <= served


def test_the_namespace_stays_open_for_other_distributions():
    assert not (COMPAT / "langgraph" / "__init__.py").exists()
    served = {file.stem for file in (COMPAT / "langgraph").iterdir()}
    assert served & {"cache", "checkpoint", "store"} == set()


@pytest.mark.parametrize("file", sorted((COMPAT / "langgraph").rglob("*.py")), ids=lambda file: file.stem)
def test_a_compat_module_is_thin(file):
    """Re-exports and at most a shim: what needs more belongs into `stategraph`."""
    source = file.read_text()
    code = [line for line in source.splitlines() if line.strip() and not line.lstrip().startswith(("#", '"', "from "))]
    assert "class " not in source
    assert len(code) < 90


@pytest.mark.parametrize("name", ["Send", "Interrupt"])
def test_a_type_that_left_the_constants_is_served_with_a_warning(name):
    constants, types = load("langgraph.constants"), load("langgraph.types")
    with pytest.warns(DeprecationWarning, match=f"Importing {name} from langgraph.constants is deprecated"):
        assert getattr(constants, name) is getattr(types, name)


def test_a_constant_that_became_private_is_served_with_a_warning():
    with pytest.warns(DeprecationWarning, match="This constant is now private"):
        assert load("langgraph.constants").PREVIOUS == "__previous__"


def test_a_constant_that_never_was_is_an_attribute_error():
    with pytest.raises(AttributeError, match="NEVER_WAS"):
        _ = load("langgraph.constants").NEVER_WAS


def test_the_older_home_of_the_types_warns():
    code = "import warnings; warnings.simplefilter('error'); import langgraph.pregel.types"
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(COMPAT)!r}); {code}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=COMPAT.parent)
    assert "Importing from langgraph.pregel.types is deprecated" in done.stderr


def test_without_the_client_library_the_message_names_the_extra():
    code = f"import sys; sys.path.insert(0, {str(COMPAT)!r}); sys.modules['langgraph_sdk'] = None"
    command = [sys.executable, "-c", f"{code}; import langgraph.pregel.remote"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=COMPAT.parent)
    assert "pip install 'stategraph[remote]'" in done.stderr


def test_the_prebuilt_agents_are_there_without_the_distribution_of_that_name():
    code = "import sys, langgraph.prebuilt as p; print(p.__file__, any('langgraph.prebuilt' in n for n in sys.modules))"
    code = f"import sys; sys.path.insert(0, {str(COMPAT)!r}); {code}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=COMPAT.parent)
    assert done.stdout.startswith(str(COMPAT / "langgraph" / "prebuilt")), done.stderr


def test_the_version_is_the_one_it_behaves_like():
    assert load("langgraph.version").__version__ == "1.2.24"
