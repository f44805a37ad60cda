"""A server over stdio, written without the official package, that behaves as its first argument says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

MOOD, STATE = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""


def say(**message: Any) -> None:
    write(json.dumps({"jsonrpc": "2.0", **message}))


def write(line: str) -> None:
    sys.stdout.buffer.write(line.encode("utf-8", "surrogatepass") + b"\n")
    sys.stdout.buffer.flush()


def tool(name: Any, description: str = "d", **schema: Any) -> dict[str, Any]:
    return {"name": name, "description": description, "inputSchema": {"type": "object", **schema}}


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"properties": {"inner": schema}, "type": "object"}
    return schema


FINE = tool("fine")
TOOLS: dict[str, Any] = {
    "twice": [FINE, tool("fine", "the second one")],
    "nameless": [FINE, tool(""), tool(" "), {"inputSchema": {"type": "object"}}, tool(7), 5, None],
    "schemas": [
        FINE,
        {"name": "array", "inputSchema": {"type": "array"}},
        {"name": "none"},
        {"name": "text", "inputSchema": "text"},
        tool("lost", properties={"a": {"$ref": "#/$defs/gone"}}),
        tool("far", properties={"a": {"$ref": "https://elsewhere/schema"}}),
        tool("odd", properties=[1]),
        tool("names", required=[1]),
        tool("kept", properties={"a": {"$ref": "#/$defs/here"}}, **{"$defs": {"here": {"type": "integer"}}}),
        {"name": "deep", "inputSchema": nested(40)},
    ],
    "no list": "none",
}


def listing(request: dict[str, Any]) -> dict[str, Any]:
    cursor = int((request.get("params") or {}).get("cursor") or 0)
    match MOOD:
        case "endless":
            return {"tools": [tool(f"t{cursor}")], "nextCursor": str(cursor + 1)}
        case "slow":
            time.sleep(0.05)
            return {"tools": [tool(f"t{cursor}")], "nextCursor": str(cursor + 1)}
        case "heavy":
            return {"tools": [tool(f"t{cursor}", "d" * 10_000)], "nextCursor": str(cursor + 1)}
        case "leaks in its list":
            return {"tools": [FINE, {"name": os.environ["KEY"]}]}
    return {"tools": TOOLS.get(MOOD, [FINE])}


def answer(number: int, token: Any) -> None:
    text = {"content": [{"type": "text", "text": "done"}]}
    match MOOD:
        case "half":
            write(f'{{"jsonrpc": "2.0", "id": {number}, "result": ')
        case "null":
            write("null")
        case "null result":
            say(id=number, result=None)
        case "another id":
            say(id=number + 1000, result=text)
        case "no text":
            sys.stdout.buffer.write(b'{"jsonrpc": "2.0", "id": %d, "result": "\xff\xfe"}\n' % number)
            sys.stdout.buffer.flush()
        case "half a character":
            result = '{"content": [{"type": "text", "text": "\\ud800"}]}'
            write(f'{{"jsonrpc": "2.0", "id": {number}, "result": {result}}}')
        case "levels":
            write(f'{{"jsonrpc": "2.0", "id": {number}, "result": {{"content": [], "x": {"[" * 9000 + "]" * 9000}}}}}')
        case "long error":
            say(id=number, error={"code": -1, "message": "e" * 1_000_000})
        case "long failure":
            say(id=number, result={"isError": True, "content": [{"type": "text", "text": "f" * 1_000_000}]})
        case "silent failure":
            say(id=number, result={"isError": True, "content": []})
        case "leaks":
            say(
                id=number,
                error={"code": -1, "message": f"the key {os.environ['KEY']} is wrong", "data": os.environ["KEY"]},
            )
        case "leaks as a tool":
            say(id=number, result={"isError": True, "content": [{"type": "text", "text": f"no: {os.environ['KEY']}"}]})
        case "leaks in its log":
            say(method="notifications/message", params={"level": "warning", "data": {"k": [os.environ["KEY"]]}})
            say(id=number, result=text)
        case "leaks all":
            say(id=number, error={"code": -1, "message": " ".join((*sys.argv, os.environ["KEY"]))})
        case "leaks and dies":
            write(f"Traceback: {sys.argv} {os.environ['KEY']}")
            os._exit(1)
        case "leaks as no message":
            write(f'{{"id": {number}, "{os.environ["KEY"]}": ')
        case "leaks at the cut":
            say(id=number, error={"code": -1, "message": "e" * 1_990 + os.environ["KEY"]})
        case "leaks as a tool at the cut":
            text = "f" * 19_990 + os.environ["KEY"]
            say(id=number, result={"isError": True, "content": [{"type": "text", "text": text}]})
        case "leaks as a wrong result":
            say(id=number, result={"content": os.environ["KEY"] + "e" * 200})
        case "leaks in its progress":
            told = {"progressToken": token, "progress": 1, "message": os.environ["KEY"]}
            say(method="notifications/progress", params=told)
            say(method="notifications/message", params={"level": "warning", "logger": os.environ["KEY"], "data": "d"})
            say(id=number, result=text)
        case "asks":
            say(id=90, method="ping")
            say(id=90, result={})
            say(id=number, result=text)
        case _:
            say(id=number, result=text)


def main() -> None:
    if MOOD == "leaves a child":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        say(method="notifications/message", params={"level": "info", "data": str(child.pid)})
    if MOOD == "leaves a stubborn child":
        code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
        stubborn = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        assert stubborn.stdout is not None
        stubborn.stdout.readline()
        with open(STATE, "w") as file:
            file.write(str(stubborn.pid))
    if MOOD == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if MOOD == "chatters":
        for _ in range(1000):
            write("starting ...")
    if MOOD == "complains":
        print("complaint " * 50_000, file=sys.stderr, flush=True)
    if MOOD == "leaves a daemon":
        daemon = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
        with open(STATE, "w") as file:
            file.write(str(daemon.pid))
    if MOOD == "one line":
        while True:
            sys.stdout.buffer.write(b"x" * 65536)
    for line in sys.stdin:
        request = json.loads(line)
        number = request.get("id")
        match request.get("method"):
            case "initialize" if MOOD == "leaks at the start":
                say(id=number, error={"code": -1, "message": f"{sys.argv} {os.environ['KEY']}"})
            case "initialize":
                info = {"name": "rude", "version": "1"}
                say(
                    id=number,
                    result={
                        "protocolVersion": "2025-06-18",
                        "capabilities": {"tools": {}, "logging": {}},
                        "serverInfo": info,
                    },
                )
            case "tools/list":
                say(id=number, result=listing(request))
            case "tools/call":
                answer(number, ((request.get("params") or {}).get("_meta") or {}).get("progressToken"))
            case method if method is not None and number is not None:
                say(id=number, error={"code": -32601, "message": "no such method"})


if __name__ == "__main__":
    main()
