"""A small API server of Kubernetes for tests: discovery, objects of any kind, watches, patches, finalizers.

It keeps resource versions, generations and deletion timestamps, refuses stale updates (409), forgets old changes (410),
lets tokens in (401) for what rules grant (403), sets defaults and cuts off what schemas do not name, applies with
field managers, and collects what lost its owners, as the real one does (kubernetes.io, "API concepts").
"""

from __future__ import annotations

import asyncio
import copy
import json
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import jsonpatch
import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.resources.kubernetes import structural, tables
from tests.resources.kubernetes.access import Use, granted, uses
from tests.resources.kubernetes.listening import serving

__all__ = ["ApiServer", "Key", "serving"]

#: Kinds that are there from the beginning: group, version, plural, kind, namespaced.
BUILT_IN = (
    ("", "v1", "namespaces", "Namespace", False),
    ("", "v1", "events", "Event", True),
    ("", "v1", "configmaps", "ConfigMap", True),
    ("", "v1", "services", "Service", True),
    ("apps", "v1", "deployments", "Deployment", True),
    ("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", True),
    ("coordination.k8s.io", "v1", "leases", "Lease", True),
    ("keda.sh", "v1alpha1", "scaledobjects", "ScaledObject", True),
    ("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", False),
)

#: The largest body of a request, as that of etcd is by default.
LARGEST = 1_572_864

_DEFINITIONS = ("apiextensions.k8s.io", "customresourcedefinitions")

Key = tuple[str, str, str, str]


class ApiServer:
    """Objects by group, plural, namespace and name.

    Attributes:
        tokens: Who comes with which token; None: everybody is let in.
        rules: What is granted; None: everything.
        used: What was asked for, as RBAC has it.
        refuse: Returns the answer of a request that is to fail; None of one that is served.
        gone: How a watch from a version that is forgotten ends: by an event, or by the status 410 of the request.
    """

    def __init__(
        self,
        definitions: Iterable[Mapping[str, Any]] = (),
        *,
        tokens: Mapping[str, str] | None = None,
        rules: Iterable[Mapping[str, Any]] | None = None,
    ) -> None:
        self.kinds = {(group, plural): (version, kind, spaced) for group, version, plural, kind, spaced in BUILT_IN}
        self.schemas: dict[tuple[str, str], Mapping[str, Any]] = {}
        self.columns: dict[tuple[str, str], Sequence[Mapping[str, Any]]] = {}
        self.objects: dict[Key, dict[str, Any]] = {}
        self.version = 0
        self.requests: list[tuple[str, str]] = []
        self.tokens = tokens
        self.rules = None if rules is None else set(granted(rules))
        self.used: set[Use] = set()
        self.refused: list[Use] = []
        self.refuse: Callable[[Request], Response | None] = lambda _: None
        self.gone = "event"
        self._log: list[tuple[int, str, Key, dict[str, Any]]] = []
        self._forgotten = 0
        self._changed = asyncio.Condition()
        for each in definitions:
            self.define(each)

    def define(self, definition: Mapping[str, Any]) -> None:
        """Let there be a kind."""
        spec = definition["spec"]
        version = next(each for each in spec["versions"] if each["storage"])
        names = spec["names"]
        place = spec["group"], names["plural"]
        self.kinds[place] = version["name"], names["kind"], spec["scope"] == "Namespaced"
        self.columns[place] = version.get("additionalPrinterColumns", ())
        self.schemas[place] = version["schema"]["openAPIV3Schema"]

    # Objects.

    async def put(self, key: Key, document: dict[str, Any], before: dict[str, Any] | None) -> dict[str, Any]:
        """Store an object, or forget it if nothing holds up its deletion."""
        schema = self.schemas.get(key[:2])
        if schema is not None:
            document = structural.admitted(document, schema)
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
        if key[:2] == _DEFINITIONS and not gone:
            self.define(document)
        if gone or (before is None and meta.get("ownerReferences")):
            await self._collect()
        return document

    async def delete(self, key: Key) -> dict[str, Any]:
        """Ask for the deletion of an object."""
        found = copy.deepcopy(self.objects[key])
        found["metadata"].setdefault("deletionTimestamp", _now())
        return await self.put(key, found, self.objects[key])

    async def _collect(self) -> None:
        """Delete what has owners, none of which is there."""
        there = {each["metadata"]["uid"] for each in self.objects.values()}
        for key, each in list(self.objects.items()):
            owners = each["metadata"].get("ownerReferences") or ()
            if owners and not any(owner["uid"] in there for owner in owners) and key in self.objects:
                await self.delete(key)

    async def _tell(self, kind: str, key: Key, document: dict[str, Any]) -> None:
        async with self._changed:
            self._log.append((self.version, kind, key, copy.deepcopy(document)))
            self._changed.notify_all()

    def forget(self) -> None:
        """Forget all changes: watches from before have to list anew."""
        self._forgotten = self.version
        self._log.clear()

    # Requests.

    def application(self) -> Starlette:
        """Return the application."""
        methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
        return Starlette(routes=[Route("/{path:path}", self._answer, methods=methods)])

    async def _answer(self, request: Request) -> Response:
        self.requests.append((request.method, request.url.path))
        refused = self.refuse(request)
        if refused is not None:
            return refused
        if self.tokens is not None:
            scheme, _, token = request.headers.get("authorization", "").partition(" ")
            if scheme != "Bearer" or token not in self.tokens:
                return failure(401, "Unauthorized")
        match request.url.path:
            case "/version":
                return JSONResponse({"major": "1", "minor": "37"})
            case "/api":
                return JSONResponse({"kind": "APIVersions", "versions": ["v1"]})
            case "/apis":
                return JSONResponse(self._groups())
        return await self._serve(request)

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
        parts = request.path_params["path"].split("/")
        group, version, rest = ("", parts[1], parts[2:]) if parts[0] == "api" else (parts[1], parts[2], parts[3:])
        if not rest:
            return JSONResponse(self._resources(group, version))
        namespace = ""
        if rest[0] == "namespaces" and len(rest) > 2:
            namespace, rest = rest[1], rest[2:]
        plural, name, part = (*rest, "", "")[:3]
        if self.kinds.get((group, plural), ("",))[0] != version:
            return failure(404, f"there is no {plural} in {group}/{version}")
        key = group, plural, namespace, name
        watch = request.query_params.get("watch") in ("true", "1")
        applies = request.headers.get("content-type", "").startswith("application/apply-patch")
        needed = uses(
            *(request.method, group, plural, name, part), watch=watch, creates=applies and key not in self.objects
        )
        self.used.update(needed)
        for each in needed:
            if self.rules is not None and each not in self.rules:
                self.refused.append(each)
                return failure(403, f"{each.verb} of {each.resource} in the group {each.group!r} is forbidden")
        if len(await request.body()) > LARGEST:
            return failure(413, "etcdserver: request is too large")
        if not name:
            return await self._collection(request, group, plural, namespace)
        return await self._object(request, key, part)

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
        api_version = f"{group}/{version}" if group else version
        if request.method == "POST":
            document = await _body(request)
            document = {"apiVersion": api_version, "kind": kind, **document}
            if namespace:
                document["metadata"]["namespace"] = namespace
            return await self._created((group, plural, namespace, document["metadata"]["name"]), document)
        mine = (group, plural)
        if request.query_params.get("watch") in ("true", "1"):
            since = int(request.query_params.get("resourceVersion") or self.version)
            if since < self._forgotten and self.gone == "status":
                return failure(410, "too old resource version")
            return StreamingResponse(self._watch(mine, namespace, since), media_type="application/json")
        items = [each for key, each in sorted(self.objects.items()) if key[:2] == mine and namespace in ("", key[2])]
        if "as=Table" in request.headers.get("accept", ""):
            return JSONResponse(tables.table(self.columns.get(mine, ()), items))
        meta = {"resourceVersion": str(self.version)}
        return JSONResponse({"kind": f"{kind}List", "apiVersion": api_version, "metadata": meta, "items": items})

    async def _created(self, key: Key, document: dict[str, Any]) -> Response:
        if key in self.objects:
            return failure(409, f"{key[1]} {key[3]!r} already exists")
        wrong = self._problems(key, document)
        if wrong:
            return failure(422, wrong)
        return JSONResponse(await self.put(key, document, None), status_code=201)

    def _problems(self, key: Key, document: Mapping[str, Any]) -> str:
        schema = self.schemas.get(key[:2])
        return "" if schema is None else "; ".join(structural.problems(structural.admitted(document, schema), schema))

    async def _watch(self, mine: tuple[str, str], namespace: str, since: int) -> AsyncIterator[str]:
        while True:
            if since < self._forgotten:
                gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
                yield json.dumps({"type": "ERROR", "object": gone}) + "\n"
                return
            for version, kind, key, document in list(self._log):
                if version <= since:
                    continue
                since = version
                if key[:2] == mine and namespace in ("", key[2]):
                    yield json.dumps({"type": kind, "object": document}) + "\n"
            async with self._changed:
                if not self._log or self._log[-1][0] <= since:
                    await self._changed.wait()

    async def _object(self, request: Request, key: Key, part: str) -> Response:
        before = self.objects.get(key)
        applies = request.headers.get("content-type", "").startswith("application/apply-patch")
        if before is None and not (request.method == "PATCH" and applies):
            return failure(404, f"{key[1]} {key[3]!r} not found")
        if request.method == "GET":
            return JSONResponse(before)
        if request.method == "DELETE":
            return JSONResponse(await self.delete(key))
        body = await _body(request)
        if before is None:
            manager = request.query_params["fieldManager"]
            return await self._created(key, _applied({"metadata": {}}, body, manager))
        given = body.get("metadata", {}).get("resourceVersion") if isinstance(body, Mapping) else None
        if given is not None and given != before["metadata"]["resourceVersion"]:
            return failure(409, f"{key[1]} {key[3]!r}: the object has been modified")
        try:
            after = self._patched(request, copy.deepcopy(before), body)
        except jsonpatch.JsonPatchException as error:  # its test failed: the object has changed
            return failure(422, f"the server rejected our request due to an error in our request: {error}")
        if part == "status":
            after = {**copy.deepcopy(before), "status": after.get("status", {})}
        elif "status" in before:
            after["status"] = before["status"]
        wrong = self._problems(key, after)
        return failure(422, wrong) if wrong else JSONResponse(await self.put(key, after, before))

    @staticmethod
    def _patched(request: Request, before: dict[str, Any], body: Any) -> dict[str, Any]:
        if request.method == "PUT":
            kept = {key: before["metadata"][key] for key in ("uid", "generation", "creationTimestamp")}
            return {**body, "metadata": {**body["metadata"], **kept}}
        if request.headers["content-type"].startswith("application/json-patch"):
            return dict(jsonpatch.apply_patch(before, body))
        if request.headers["content-type"].startswith("application/apply-patch"):
            return _applied(before, body, request.query_params["fieldManager"])
        return dict(_merged(before, body))


async def _body(request: Request) -> Any:
    data = await request.body()
    return yaml.load(data, Loader=yaml.CSafeLoader) if data else {}


def _applied(before: dict[str, Any], document: Mapping[str, Any], manager: str) -> dict[str, Any]:
    """Return an object to which a manager applied: fields that it set before and sets no more go."""
    owned = {each["manager"]: each["fields"] for each in before["metadata"].get("managedFields", ())}
    now = sorted(_leaves({key: each for key, each in document.items() if key not in ("apiVersion", "kind")}))
    others = {tuple(path) for who, paths in owned.items() if who != manager for path in paths}
    after = copy.deepcopy(before)
    for path in map(tuple, owned.get(manager, ())):
        if path not in now and path not in others:
            _cut(after, path)
    after = dict(_merged(after, document))
    owned[manager] = [list(each) for each in now]
    after["metadata"]["managedFields"] = [{"manager": who, "fields": paths} for who, paths in owned.items()]
    return after


def _leaves(value: Any, way: tuple[str, ...] = ()) -> Iterable[tuple[str, ...]]:
    if not isinstance(value, Mapping) or not value:
        yield way
        return
    for name, each in value.items():
        yield from _leaves(each, (*way, name))


def _cut(value: dict[str, Any], path: tuple[str, ...]) -> None:
    for name in path[:-1]:
        found = value.get(name)
        if not isinstance(found, dict):
            return
        value = found
    value.pop(path[-1], None)


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


def failure(status: int, message: str, **headers: str) -> JSONResponse:
    """Return the answer of a request that fails."""
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status, "message": message}
    return JSONResponse(body, status_code=status, headers=headers)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
