"""A small API server of Kubernetes for tests: discovery, objects of any kind, watches, patches, finalizers.

It keeps resource versions, generations and deletion timestamps as the real one does (kubernetes.io, "API concepts"),
and knows nothing of schemas.
"""

from __future__ import annotations

import asyncio
import copy
import json
import socket
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import jsonpatch
import uvicorn
import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

#: Kinds that are there from the beginning: group, version, plural, kind, namespaced.
BUILT_IN = (
    ("", "v1", "namespaces", "Namespace", False),
    ("", "v1", "events", "Event", True),
    ("apps", "v1", "deployments", "Deployment", True),
    ("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", True),
    ("keda.sh", "v1alpha1", "scaledobjects", "ScaledObject", True),
    ("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", False),
)

Key = tuple[str, str, str, str]


class ApiServer:
    """Objects by group, plural, namespace and name."""

    def __init__(self, definitions: Iterable[Mapping[str, Any]] = ()) -> None:
        self.kinds = {(group, plural): (version, kind, spaced) for group, version, plural, kind, spaced in BUILT_IN}
        for each in definitions:
            spec = each["spec"]
            version = spec["versions"][0]["name"]
            names = spec["names"]
            self.kinds[spec["group"], names["plural"]] = version, names["kind"], spec["scope"] == "Namespaced"
        self.objects: dict[Key, dict[str, Any]] = {}
        self.version = 0
        self.requests: list[tuple[str, str]] = []
        self._log: list[tuple[int, str, Key, dict[str, Any]]] = []
        self._changed = asyncio.Condition()

    # Objects.

    async def put(self, key: Key, document: dict[str, Any], before: dict[str, Any] | None) -> dict[str, Any]:
        """Store an object, or forget it if nothing holds up its deletion."""
        meta = document["metadata"]
        if before is None:
            meta |= {"uid": uuid.uuid4().hex, "generation": 1, "creationTimestamp": _now()}
        elif {k: v for k, v in document.items() if k not in ("metadata", "status")} != {
            k: v for k, v in before.items() if k not in ("metadata", "status")
        }:
            meta["generation"] = before["metadata"]["generation"] + 1
        if before is not None and _without_version(document) == _without_version(before):
            return before
        self.version += 1
        meta["resourceVersion"] = str(self.version)
        gone = bool(meta.get("deletionTimestamp")) and not meta.get("finalizers")
        if gone:
            self.objects.pop(key, None)
        else:
            self.objects[key] = document
        await self._tell("DELETED" if gone else "ADDED" if before is None else "MODIFIED", key, document)
        return document

    async def delete(self, key: Key) -> dict[str, Any]:
        """Ask for the deletion of an object."""
        found = copy.deepcopy(self.objects[key])
        found["metadata"].setdefault("deletionTimestamp", _now())
        return await self.put(key, found, self.objects[key])

    async def _tell(self, kind: str, key: Key, document: dict[str, Any]) -> None:
        async with self._changed:
            self._log.append((self.version, kind, key, copy.deepcopy(document)))
            self._changed.notify_all()

    # Requests.

    def application(self) -> Starlette:
        """Return the application."""
        methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
        return Starlette(
            routes=[
                Route("/version", lambda _: JSONResponse({"major": "1", "minor": "37"})),
                Route("/api", lambda _: JSONResponse({"kind": "APIVersions", "versions": ["v1"]})),
                Route("/apis", lambda _: JSONResponse(self._groups())),
                Route("/{path:path}", self._serve, methods=methods),
            ]
        )

    def _groups(self) -> dict[str, Any]:
        groups: defaultdict[str, set[str]] = defaultdict(set)
        for (group, _), (version, _, _) in self.kinds.items():
            if group:
                groups[group].add(version)
        found = []
        for group, versions in groups.items():
            listed = [{"groupVersion": f"{group}/{each}", "version": each} for each in sorted(versions)]
            found.append({"name": group, "versions": listed, "preferredVersion": listed[0]})
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": found}

    async def _serve(self, request: Request) -> Response:
        self.requests.append((request.method, request.url.path))
        parts = request.path_params["path"].split("/")
        group, version, rest = ("", parts[1], parts[2:]) if parts[0] == "api" else (parts[1], parts[2], parts[3:])
        if not rest:
            return JSONResponse(self._resources(group, version))
        namespace = ""
        if rest[0] == "namespaces" and len(rest) > 2:
            namespace, rest = rest[1], rest[2:]
        plural, name, part = (*rest, "", "")[:3]
        if (group, plural) not in self.kinds:
            return _failure(404, f"there is no {plural} in {group}")
        if not name:
            return await self._collection(request, group, plural, namespace)
        return await self._object(request, (group, plural, namespace, name), part)

    def _resources(self, group: str, version: str) -> dict[str, Any]:
        found = []
        for (its, plural), (known, kind, spaced) in self.kinds.items():
            if (its, known) == (group, version):
                verbs = ["create", "delete", "get", "list", "patch", "update", "watch"]
                common = {"kind": kind, "namespaced": spaced, "verbs": verbs, "singularName": kind.lower()}
                found += [{"name": plural, **common}, {"name": f"{plural}/status", **common}]
        name = f"{group}/{version}" if group else version
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": name, "resources": found}

    async def _collection(self, request: Request, group: str, plural: str, namespace: str) -> Response:
        version, kind, _ = self.kinds[group, plural]
        if request.method == "POST":
            document = await _body(request)
            meta = document.setdefault("metadata", {})
            if namespace:
                meta["namespace"] = namespace
            key = (group, plural, namespace, meta["name"])
            if key in self.objects:
                return _failure(409, f"{key[3]} is there already")
            document.setdefault("apiVersion", f"{group}/{version}" if group else version)
            document.setdefault("kind", kind)
            return JSONResponse(await self.put(key, document, None), status_code=201)
        mine = (group, plural)
        if request.query_params.get("watch") in ("true", "1"):
            since = int(request.query_params.get("resourceVersion") or self.version)
            return StreamingResponse(self._watch(mine, namespace, since), media_type="application/json")
        items = [each for key, each in sorted(self.objects.items()) if key[:2] == mine and namespace in ("", key[2])]
        meta = {"resourceVersion": str(self.version)}
        name = f"{group}/{version}" if group else version
        return JSONResponse({"kind": f"{kind}List", "apiVersion": name, "metadata": meta, "items": items})

    async def _watch(self, mine: tuple[str, str], namespace: str, since: int) -> AsyncIterator[str]:
        position = next((i for i, each in enumerate(self._log) if each[0] > since), len(self._log))
        while True:
            while position < len(self._log):
                _, kind, key, document = self._log[position]
                position += 1
                if key[:2] == mine and namespace in ("", key[2]):
                    yield json.dumps({"type": kind, "object": document}) + "\n"
            async with self._changed:
                if position == len(self._log):
                    await self._changed.wait()

    async def _object(self, request: Request, key: Key, part: str) -> Response:
        before = self.objects.get(key)
        applies = request.headers.get("content-type", "").startswith("application/apply-patch")
        if before is None and not (request.method == "PATCH" and applies):
            return _failure(404, f"{key[1]} {key[3]} not found")
        if request.method == "GET":
            return JSONResponse(before)
        if request.method == "DELETE":
            return JSONResponse(await self.delete(key))
        body = await _body(request)
        if before is None:
            return JSONResponse(await self.put(key, body, None), status_code=201)
        after = self._patched(request, copy.deepcopy(before), body)
        if part == "status":
            after = {**copy.deepcopy(before), "status": after.get("status", {})}
        elif "status" in before:
            after["status"] = before["status"]
        return JSONResponse(await self.put(key, after, before))

    @staticmethod
    def _patched(request: Request, before: dict[str, Any], body: Any) -> dict[str, Any]:
        if request.method == "PUT":
            return dict(body)
        if request.headers["content-type"].startswith("application/json-patch"):
            return dict(jsonpatch.apply_patch(before, body))
        return _merged(before, body)


async def _body(request: Request) -> Any:
    data = await request.body()
    return yaml.safe_load(data) if data else {}


def _merged(before: Any, patch: Any) -> Any:
    """Return a merge patch applied (RFC 7386)."""
    if not isinstance(patch, Mapping):
        return patch
    found = dict(before) if isinstance(before, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            found.pop(name, None)
        else:
            found[name] = _merged(found.get(name), value)
    return found


def _without_version(document: Mapping[str, Any]) -> dict[str, Any]:
    meta = {key: value for key, value in document["metadata"].items() if key != "resourceVersion"}
    return {**document, "metadata": meta}


def _failure(status: int, message: str) -> JSONResponse:
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status, "message": message}
    return JSONResponse(body, status_code=status)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@asynccontextmanager
async def serving(server: ApiServer) -> AsyncIterator[str]:
    """Serve, and yield the address."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        server.application(), log_level="error", lifespan="off", timeout_graceful_shutdown=1, ws="none"
    )
    running = uvicorn.Server(config)
    running.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    task = asyncio.create_task(running.serve([listening]))
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        running.should_exit = True
        running.force_exit = True
        await task
        listening.close()
