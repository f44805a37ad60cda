"""Writing a description of a case as the Python program that it stands for.

A case is plain data; its meaning is the program that ``source`` writes. Both engines run that text, and it is what a
divergence is printed as, so nothing can be lost between the two.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

Case = dict[str, Any]
PRELUDE = Path(__file__).with_name("prelude.py").read_text(encoding="utf-8")

PAUSE_S = 0.01
"""The pause before a node is tried again: longer than it takes a failed neighbour to end the step."""

# What each channel of a state is declared as, and the first value of a dataclass or pydantic field.
CHANNELS = {
    "log": ("Annotated[list, operator.add]", "list"),
    "total": ("Annotated[int, operator.add]", "int"),
    "last": ("str", "str"),
    "other": ("str", "str"),
    "same": ("Annotated[str, AnyValue]", "str"),
    "brief": ("Annotated[str, EphemeralValue]", "str"),
    "briefs": ("Annotated[str, EphemeralValue(str, guard=False)]", "str"),
    "loose": ("Annotated[str, UntrackedValue]", "str"),
    "looses": ("Annotated[str, UntrackedValue(str, guard=False)]", "str"),
    "topic": ("Annotated[Sequence[str], Topic(str)]", "list"),
    "topics": ("Annotated[Sequence[str], Topic(str, accumulate=True)]", "list"),
    "delta": ("Annotated[list, DeltaChannel(extended, snapshot_frequency=2)]", "list"),
    "deltas": ("Annotated[list, DeltaChannel(extended)]", "list"),
    "merged": ("Annotated[dict, joined]", "dict"),
    "best": ("Annotated[str, picky]", "str"),
    "messages": ("Annotated[list, add_messages]", "list"),
    "final": ("bool", "bool"),
    "steps_left": ("RemainingSteps", "int"),
    "is_last": ("IsLastStep", "bool"),
}


class Writer:
    """Lines of a program, with their indentation."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._depth = 0

    def __call__(self, line: str = "") -> Writer:
        self.lines.append("    " * self._depth + line if line else "")
        return self

    def __enter__(self) -> Writer:
        self._depth += 1
        return self

    def __exit__(self, *exc: object) -> None:
        self._depth -= 1


def source(case: Case) -> str:
    """Write the program of a case, without its prelude.

    The program defines ``saver``, ``graph`` and ``STEPS``.
    """
    out = Writer()
    out(f"saver = {'InMemorySaver()' if case.get('saver') else 'None'}")
    if case.get("cache"):
        out("cache = InMemoryCache()")
    out(f"THREAD = {_config(case)}")
    for spec in case.get("tasks", ()):
        _task(out, spec)
    if case["kind"] == "graph":
        _state(out, "State", case["channels"], case.get("schema", "typeddict"))
    for graph in case.get("graphs", ()):
        _graph(out, case, graph)
    if case["kind"] == "functional":
        _entrypoint(out, case)
    if case["kind"] == "pregel":
        _pregel(out, case)
    _script(out, case)
    return "\n".join(out.lines) + "\n"


def standalone(case: Case, title: str) -> str:
    """Write a program that runs by itself and prints what comes of its steps."""
    ending = '\n\nfor name, found, seen in play(STEPS):\n    print(f"{name}: {found}")\n'
    ending += "    for line in seen:\n        print('   ran', *line)\n"
    return f"# {title}\n{PRELUDE}\n\n{source(case)}{ending}"


def _config(case: Case) -> str:
    config: dict[str, Any] = {"configurable": {"thread_id": "t"}, "recursion_limit": case.get("limit", 12)}
    if case.get("concurrency"):
        config["max_concurrency"] = case["concurrency"]
    return repr(config)


def _state(out: Writer, name: str, channels: list[str], form: str) -> None:
    out()
    if form == "dataclass":
        out("@dataclass")
    base = {"typeddict": "(TypedDict, total=False)", "pydantic": "(BaseModel)", "dataclass": ""}[form]
    out(f"class {name}{base}:")
    with out:
        for channel in channels or ["log"]:
            hint, kind = CHANNELS[channel]
            if form == "typeddict" or channel in ("steps_left", "is_last"):
                out(f"{channel}: {hint}")
            elif form == "dataclass":
                out(f"{channel}: {hint} = field(default_factory={kind})")
            else:
                first = {"list": "[]", "dict": "{}", "int": "0", "bool": "False", "str": '""'}[kind]
                out(f"{channel}: {hint} = {first}")


# -- functions ---------------------------------------------------------------------------------------------------


def _def(spec: dict[str, Any]) -> str:
    return "async def" if spec.get("async") else "def"


def _value(value: Any, who: str) -> str:
    """Write the expression of a value of an update."""
    match value:
        case {"tag": where}:
            return f"tag({where!r}, state)"
        case {"tags": where}:
            return f"[tag({where!r}, state), *notes]"
        case {"grown": where}:
            return f"[*read(state, 'log', ()), {where!r}]"
        case {"overwrite": inner}:
            return f"Overwrite({_value(inner, who)})"
        case {"message": text, "id": given}:
            return f"[AIMessage({text!r}, id={given!r})]"
        case {"remove": given}:
            return f"[RemoveMessage(id={given!r})]"
        case {"raw": text}:
            return str(text)
        case list():
            return "[" + ", ".join(_value(item, who) for item in value) + "]"
        case dict():
            return "{" + ", ".join(f"{key!r}: {_value(item, who)}" for key, item in value.items()) + "}"
        case _:
            return repr(value)


def _update(update: dict[str, Any], who: str) -> str:
    return _value(update, who)


def _target(target: Any, who: str) -> str:
    match target:
        case {"send": node, **rest}:
            return f"Send({node!r}, {_value(rest.get('payload', {}), who)})"
        case "END":
            return "END"
        case _:
            return repr(target)


def _targets(targets: list[Any], who: str) -> str:
    if len(targets) == 1:
        return _target(targets[0], who)
    return "[" + ", ".join(_target(target, who) for target in targets) + "]"


def _does(out: Writer, spec: dict[str, Any], who: str) -> None:
    """Write the statements of a body. ``notes`` collects what they came to."""
    out("notes = []")
    asynchronous = spec.get("async")
    for number, statement in enumerate(spec.get("does", ())):
        match statement:
            case {"do": "ask", "text": text, **rest}:
                question = f"{{'q': {text!r}, 'n': count(state)}}" if rest.get("rich") else repr(text)
                out(f"notes.append(interrupt({question}))")
            case {"do": "tell", "text": text}:
                out(f"get_stream_writer()({{{who!r}: {text!r}}})")
            case {"do": "fail", "times": times, "error": error}:
                out(f"fails({f'{who}.{number}'!r}, {times}, {error})")
            case {"do": "call", "graph": graph, **rest}:
                arguments = f"{{'log': [tag({who!r}, state)]}}" + (", config" if rest.get("config") else "")
                if rest.get("thread"):
                    arguments = f"{{'log': ['other']}}, {{'configurable': {{'thread_id': {rest['thread']!r}}}}}"
                call = f"await {graph}.ainvoke({arguments})" if asynchronous else f"{graph}.invoke({arguments})"
                out(f"notes.append(count({call}))")
            case {"do": "tasks", "calls": calls, **rest}:
                _calls(out, calls, bool(asynchronous), together=bool(rest.get("together")))
            case {"do": "catch", "body": body}:
                out("try:")
                with out:
                    out("pass")
                    _does_inner(out, {"async": asynchronous, "does": body}, f"{who}c{number}")
                out("except (ValueError, Boom) as error:")
                with out:
                    out("notes.append(str(error))")


def _does_inner(out: Writer, spec: dict[str, Any], who: str) -> None:
    inner = Writer()
    _does(inner, spec, who)
    for line in inner.lines[1:]:  # without the line that makes `notes` anew
        out(line)


def _calls(out: Writer, calls: list[Any], asynchronous: bool, *, together: bool) -> None:
    made = [f"{name}({argument!r})" for name, argument in calls]
    if together and asynchronous:
        out(f"notes.extend(await asyncio.gather({', '.join(made)}))")
    elif together:
        out(f"notes.extend(future.result() for future in [{', '.join(made)}])")
    else:
        for call in made:
            out(f"notes.append(await {call})" if asynchronous else f"notes.append({call}.result())")


def _gives(out: Writer, gives: dict[str, Any], who: str) -> None:
    update = _update(gives.get("update", {}), who)
    goto = gives.get("goto") or []
    to = ""
    if goto:
        to = f", goto={_targets(goto, who)}"
        if gives.get("until"):
            to += f" if count(state) < {gives['until']} else ()"
    match gives.get("form", "dict"):
        case "none":
            out("return None")
        case "dict":
            out(f"return {update}")
        case "command":
            out(f"return Command(update={update}{to})")
        case "parent":
            out(f"return Command(graph=Command.PARENT, update={update}{to})")
        case "list":
            out(f"return [{update}, Command(update={_update(gives.get('second', {}), who)}{to})]")
        case "odd":
            out(f"return {gives.get('odd', 3)!r}")


def _function(out: Writer, name: str, spec: dict[str, Any], hint: str | None, more: str = "") -> None:
    parameters = f"state: {hint}" if hint else "state"
    if spec.get("config") or any(step.get("config") for step in spec.get("does", ())):
        parameters += ", config: RunnableConfig"
    out()
    out(f"{_def(spec)} {name}({parameters}{more}):")
    with out:
        out(f"ran({name!r}, state{', place(config)' if spec.get('config') else ''})")
        _does(out, spec, name)
        _gives(out, spec.get("gives", {}), name)


def _router(out: Writer, name: str, router: dict[str, Any]) -> None:
    out()
    out(f"{_def(router)} {name}(state: State):")
    with out:
        out("notes = []")
        out(f"ran({name!r}, state)")
        if router.get("fails"):
            out(f"fails({name!r}, {router['fails']}, Boom)")
        if "else" in router:
            out(f"if count(state) >= {router.get('when', 4)}:")
            with out:
                out(f"return {_targets(router['else'], name)}")
        out(f"return {_targets(router['then'], name)}")


# -- graphs ------------------------------------------------------------------------------------------------------


def _graph(out: Writer, case: Case, graph: dict[str, Any]) -> None:
    name = graph["name"]
    options = ""
    for which in ("input", "output"):
        if graph.get(which):
            schema = f"{which.title()}_{name}"
            _state(out, schema, graph[which], "typeddict")
            options += f", {which}_schema={schema}"
    for node in graph["nodes"]:
        if "graph" not in node:
            _node_functions(out, name, node)
    out()
    out(f"builder_{name} = StateGraph(State{options})")
    if defaults := graph.get("defaults"):
        out(f"builder_{name}.set_node_defaults({_policies(defaults, None)})")
    for node in graph["nodes"]:
        target = node["graph"] if "graph" in node else f"{name}_{node['name']}"
        policies = _policies(node, f"{name}_{node['name']}")
        out(f"builder_{name}.add_node({node['name']!r}, {target}{policies and ', ' + policies})")
    for edge in graph["edges"]:
        start = repr(edge["from"]) if edge["from"] != "START" else "START"
        out(f"builder_{name}.add_edge({start}, {_target(edge['to'], name)})")
    for number, router in enumerate(graph.get("routers", ())):
        function = f"route_{name}_{number}"
        _router(out, function, router)
        start = "START" if router["from"] == "START" else repr(router["from"])
        paths = f", {router['map']!r}" if router.get("map") else ""
        out(f"builder_{name}.add_conditional_edges({start}, {function}{paths})")
    out(f"{name} = builder_{name}.compile({_compile(case, graph)})")


def _node_functions(out: Writer, graph: str, node: dict[str, Any]) -> None:
    name = f"{graph}_{node['name']}"
    hint = "State"
    if node.get("sees"):
        hint = f"Sees_{name}"
        _state(out, hint, node["sees"], "typeddict")
    _function(out, name, node, hint)
    if handler := node.get("handler"):
        spec = {**handler, "async": node.get("async")}
        out()
        out(f"{_def(spec)} {name}_handler(state: State, error: NodeError):")
        with out:
            out(f"ran('{name}_handler', state, error.node, error.error)")
            _does(out, spec, f"{name}_handler")
            _gives(out, spec.get("gives", {}), f"{name}_handler")


def _policies(spec: dict[str, Any], name: str | None) -> str:
    found = []
    if spec.get("defer"):
        found.append("defer=True")
    if spec.get("retry"):
        on = f", retry_on={spec['retry_on']}" if spec.get("retry_on") else ""
        found.append(
            f"retry_policy=RetryPolicy(max_attempts={spec['retry']}, initial_interval={PAUSE_S}, jitter=False{on})"
        )
    if spec.get("cached"):
        found.append("cache_policy=CachePolicy()")
    if spec.get("handler") and name:
        found.append(f"error_handler={name}_handler")
    if spec.get("metadata"):
        found.append(f"metadata={spec['metadata']!r}")
    return ", ".join(found)


def _compile(case: Case, graph: dict[str, Any]) -> str:
    main = graph["name"] == "graph"
    saver = "saver" if main else {"inherit": "None", "own": "True", "none": "False"}[graph.get("persist", "inherit")]
    found = [f"checkpointer={saver}"]
    for option, argument in (("before", "interrupt_before"), ("after", "interrupt_after")):
        if graph.get(option):
            found.append(f"{argument}={graph[option]!r}")
    if case.get("cache"):
        found.append("cache=cache")
    return ", ".join(found)


def _task(out: Writer, spec: dict[str, Any]) -> None:
    out()
    policies = _policies(spec, None)
    out(f"@task({policies})" if policies else "@task")
    out(f"{_def(spec)} {spec['name']}(state):")
    with out:
        out(f"ran({spec['name']!r}, state)")
        _does(out, spec, spec["name"])
        out(f"return [{spec['name']!r}, state, *notes]")


def _entrypoint(out: Writer, case: Case) -> None:
    flow = case["flow"]
    out()
    cache = ", cache=cache" if case.get("cache") else ""
    out(f"@entrypoint(checkpointer=saver{cache})")
    out(f"{_def(flow)} graph(state, *, previous=None):")
    with out:
        out("ran('graph', state, previous)")
        _does(out, flow, "graph")
        match flow.get("final"):
            case "saved":
                out("return entrypoint.final(value={'log': notes}, save=[previous, len(notes)])")
            case "notes":
                out("return notes")
            case _:
                out("return {'log': notes, 'before': previous and len(str(previous))}")


# -- channels and nodes without a state --------------------------------------------------------------------------

RAW = {
    "in": "EphemeralValue(list)",
    "one": "LastValue(list)",
    "two": "LastValue(list)",
    "sum": "BinaryOperatorAggregate(list, operator.add)",
    "topic": "Topic(list)",
    "topics": "Topic(list, accumulate=True)",
    "any": "AnyValue(list)",
    "loose": "UntrackedValue(list)",
    "brief": "EphemeralValue(list, guard=False)",
    "delta": "DeltaChannel(extended, list, snapshot_frequency=3)",
    "barrier": "NamedBarrierValue(str, {'a', 'b'})",
}


def _pregel(out: Writer, case: Case) -> None:
    for node in case["nodes"]:
        name = f"raw_{node['name']}"
        out()
        out(f"{_def(node)} {name}(state):")
        with out:
            out(f"ran({name!r}, state)")
            _does(out, node, name)
            if node.get("quiet_after"):
                out(f"if len(str(state)) > {node['quiet_after']}:")
                with out:
                    out("return None")
            out(f"return [{node['name']!r}, len(str(state)), *notes]")
    out()
    out("graph = Pregel(")
    with out:
        out("nodes={")
        with out:
            for node in case["nodes"]:
                built = f"NodeBuilder().subscribe_{'only' if node.get('only') else 'to'}("
                built += f"{', '.join(map(repr, node['on']))})"
                if node.get("reads"):
                    built += f".read_from({', '.join(map(repr, node['reads']))})"
                built += f".do(raw_{node['name']})"
                for channel in node["writes"]:
                    if channel == "barrier":
                        built += f".write_to(barrier=lambda _: {node['name']!r})"
                    else:
                        built += f".write_to({channel!r})"
                out(f"{node['name']!r}: {built},")
        out("},")
        out("channels={" + ", ".join(f"{name!r}: {RAW[name]}" for name in case["channels"]) + "},")
        out(f"input_channels={case['input']!r}, output_channels={case['output']!r},")
        out("checkpointer=saver,")
        for option, argument in (("before", "interrupt_before_nodes"), ("after", "interrupt_after_nodes")):
            if case.get(option):
                out(f"{argument}={case[option]!r},")
    out(")")


# -- scripts -----------------------------------------------------------------------------------------------------


def _script(out: Writer, case: Case) -> None:
    names = []
    for number, step in enumerate(case["script"]):
        name = f"step_{number}_{step['op']}"
        names.append(name)
        asynchronous = step.get("async", case.get("async"))
        out()
        out(f"{'async def' if asynchronous else 'def'} {name}():")
        with out:
            _step(out, case, step, asynchronous)
    out()
    out(f"STEPS = [{', '.join(names)}]")


def _step(out: Writer, case: Case, step: dict[str, Any], asynchronous: bool) -> None:
    a, wait = ("a", "await ") if asynchronous else ("", "")
    each = "async for" if asynchronous else "for"
    config = "THREAD"
    if step.get("at") is not None:
        out(f"past = [snapshot {each} snapshot in graph.{a}get_state_history(THREAD)]")
        config = f"{{**THREAD, 'configurable': past[{step['at']} % len(past)].config['configurable']}}"
    elif step.get("thread"):
        config = f"{{**THREAD, 'configurable': {{'thread_id': {step['thread']!r}}}}}"
    if step.get("inside"):
        out(f"state = {wait}graph.{a}get_state(THREAD, subgraphs=True)")
        out("inner = [task.state.config for task in state.tasks if getattr(task.state, 'config', None)]")
        config = f"inner[{step['inside'] - 1} % len(inner)]"
    match step["op"]:
        case "run" | "answer":
            given = _update(step["input"], "input") if step.get("input") is not None else "None"
            if step["op"] == "answer":
                given = _answer(out, step, f"{wait}graph.{a}get_state({config}, subgraphs=True)")
            _run(out, step, f"{given}, {config}", asynchronous)
        case "state":
            out(f"return {wait}graph.{a}get_state({config}, subgraphs={bool(step.get('subgraphs'))})")
        case "history":
            limit = f", limit={step['limit']}" if step.get("limit") else ""
            limit += f", filter={step['filter']!r}" if step.get("filter") else ""
            out(f"return [freeze(snapshot) {each} snapshot in graph.{a}get_state_history({config}{limit})]")
        case "update":
            node = f", as_node={step['as']!r}" if step.get("as") else ""
            values = _update(step["values"], "update") if step["values"] is not None else "None"
            out("notes, state = [], {}")
            out(f"return {wait}graph.{a}update_state({config}, {values}{node})")
        case "bulk":
            out("from langgraph.types import StateUpdate")
            out("notes, state = [], {}")
            steps = [
                "[" + ", ".join(f"StateUpdate({_update(u['values'], 'bulk')}, {u.get('as')!r})" for u in updates) + "]"
                for updates in step["steps"]
            ]
            out(f"return {wait}graph.{a}bulk_update_state({config}, [{', '.join(steps)}])")
        case "clear":
            out("cache.clear()" if case.get("cache") else "return None")


def _answer(out: Writer, step: dict[str, Any], state: str) -> str:
    """Write the command that answers what waits; returns its expression."""
    extra = ""
    if step.get("values"):
        extra += f", update={_update(step['values'], 'answer')}"
    if step.get("goto"):
        extra += f", goto={_targets(step['goto'], 'answer')}"
    out("notes, state = [], {}")
    by = step.get("by", "value")
    if by == "value":
        return f"Command(resume={step.get('text', 'yes')!r}{extra})"
    out(f"waiting = ({state}).interrupts")
    chosen = {"ids": "waiting", "first": "waiting[:1]", "last": "waiting[-1:]"}.get(by, "waiting")
    resume = f"{{asked.id: f'{step.get('text', 'yes')} {{asked.value}}' for asked in {chosen}}}"
    if by == "unknown":
        resume = "{'0' * 32: 'no'}"
    return f"Command(resume={resume}{extra})"


def _run(out: Writer, step: dict[str, Any], arguments: str, asynchronous: bool) -> None:
    a, wait = ("a", "await ") if asynchronous else ("", "")
    each = "async for" if asynchronous else "for"
    if "state" in arguments and step["op"] == "run":
        out("notes, state = [], {}")
    for key, argument in (
        ("durability", "durability"),
        ("modes", "stream_mode"),
        ("version", "version"),
        ("before", "interrupt_before"),
        ("after", "interrupt_after"),
        ("keys", "output_keys"),
    ):
        if step.get(key) is not None:
            arguments += f", {argument}={step[key]!r}"
    if step.get("subgraphs"):
        arguments += ", subgraphs=True"
    if step.get("how", "invoke") == "invoke":
        out(f"return {wait}graph.{a}invoke({arguments})")
    elif step.get("stop"):
        out("parts = []")
        out(f"{'async ' if asynchronous else ''}with {a}closing(graph.{a}stream({arguments})) as stream:")
        with out:
            out(f"{each} part in stream:")
            with out:
                out("parts.append(freeze(part))")
                out(f"if len(parts) == {step['stop']}:")
                with out:
                    out("break")
        out("return parts")
    else:
        out(f"return [freeze(part) {each} part in graph.{a}stream({arguments})]")
