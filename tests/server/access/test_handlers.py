"""Handlers of `langgraph_sdk.Auth`, unmodified."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

pytest.importorskip("langgraph_sdk")

from langgraph_sdk import Auth

from stategraph.errors import ConfigurationError
from stategraph.server.access.handlers import Handlers
from stategraph.server.access.port import AuthenticationError
from stategraph.server.service.values import Caller, RefusedError, ServiceError, allow_all
from tests.server.access.asking import bearer, request


def caller_of(auth: Auth, given: Any = None, **options: Any) -> Caller:
    found = asyncio.run(Handlers(auth, **options).authenticate(given or bearer("ada")))
    assert found is not None
    return found


def decided(caller: Caller, resource: str, action: str, value: dict[str, Any] | None = None) -> Any:
    return asyncio.run(caller.authorize(resource, action, {} if value is None else value))  # type: ignore[arg-type]


def known(auth: Auth) -> Auth:
    @auth.authenticate
    async def authenticate(authorization: str | None) -> Auth.types.MinimalUserDict:
        if not authorization:
            raise Auth.exceptions.HTTPException(status_code=401, detail="Who is it?", headers={"X-Why": "none"})
        return {"identity": authorization.removeprefix("Bearer "), "permissions": ["p"], "org": "acme"}  # type: ignore[typeddict-unknown-key]

    return auth


def test_the_handler_says_who_it_is_and_what_else_there_is_of_the_user() -> None:
    caller = caller_of(known(Auth()))
    assert (caller.identity, caller.permissions) == ("ada", ("p",))
    assert caller.user == {
        "identity": "ada",
        "display_name": "ada",
        "is_authenticated": True,
        "permissions": ["p"],
        "org": "acme",
    }
    assert caller.authorize is allow_all  # the door has each see its own
    with pytest.raises(AuthenticationError, match="Who is it") as error:
        caller_of(known(Auth()), request())
    assert (error.value.status, error.value.headers) == (401, {"X-Why": "none"})


@pytest.mark.parametrize("body", [b"{", b"[" * 100_000])
def test_a_body_that_is_no_json_is_an_empty_one_for_the_handler(body: bytes) -> None:
    auth, seen = Auth(), []

    @auth.authenticate
    async def authenticate(body: Any) -> str:
        seen.append(body)
        return "ada"

    assert (caller_of(auth, request(body=body)).identity, seen) == ("ada", [{}])


def test_every_parameter_that_may_be_asked_for_is_given() -> None:
    auth, seen = Auth(), {}

    @auth.authenticate
    def authenticate(
        request: Any,
        body: dict,
        path: str,
        method: str,
        path_params: Any,
        query_params: dict,
        headers: dict,
        authorization: str,
    ) -> str:  # type: ignore[type-arg]
        seen.update(locals())
        return "ada"

    assert caller_of(auth).identity == "ada"
    assert (seen["body"], seen["path"], seen["method"], seen["query_params"]) == (
        {"k": 1},
        "/threads",
        "GET",
        {"a": "1"},
    )
    assert seen["headers"] == {b"authorization": b"Bearer ada"}
    assert seen["authorization"] == seen["request"].headers["authorization"] == "Bearer ada"


def test_a_user_may_be_an_object() -> None:
    class Person:
        identity = "ada"
        permissions = ("p",)
        org = "acme"

    auth = Auth()
    auth.authenticate(lambda: Person())  # type: ignore[arg-type,return-value]

    @auth.on
    async def handler(ctx: Auth.types.AuthContext, value: Any) -> Any:
        return {"org": ctx.user.org, "owner": ctx.user["identity"]}  # type: ignore[attr-defined]

    assert decided(caller_of(auth), "threads", "read") == {"org": "acme", "owner": "ada"}


def test_the_most_specific_handler_decides() -> None:
    auth = known(Auth())
    calls: list[str] = []

    @auth.on
    async def all_of_it(ctx: Auth.types.AuthContext, value: Any) -> Any:
        calls.append("all")

    @auth.on.threads
    async def threads(ctx: Auth.types.AuthContext, value: Any) -> Any:
        calls.append(f"threads {ctx.action}")
        return {"owner": ctx.user.identity}

    @auth.on.threads.create
    async def created(ctx: Auth.types.AuthContext, value: Any) -> Any:
        value.setdefault("metadata", {})["owner"] = ctx.user.identity
        calls.append("create")

    @auth.on(actions="delete")
    async def deleted(ctx: Auth.types.AuthContext, value: Any) -> Any:
        return False

    caller, value = caller_of(auth), {}
    assert decided(caller, "threads", "create", value) is None
    assert value == {"metadata": {"owner": "ada"}}
    assert decided(caller, "threads", "create_run") == {"owner": "ada"}
    assert decided(caller, "store", "put") is None
    with pytest.raises(RefusedError):
        decided(caller, "crons", "delete")
    assert decided(caller, "threads", "delete") == {"owner": "ada"}
    assert calls == ["create", "threads create_run", "all", "threads delete"]


@pytest.mark.parametrize(
    ("result", "status"),
    [(False, 403), (AssertionError("no"), 403), (Auth.exceptions.HTTPException(status_code=418, detail="tea"), 418)],
)
def test_a_handler_refuses(result: Any, status: int) -> None:
    auth = known(Auth())

    @auth.on
    async def handler(ctx: Auth.types.AuthContext, value: Any) -> Any:
        if isinstance(result, Exception):
            raise result
        return result

    with pytest.raises(ServiceError) as error:
        decided(caller_of(auth), "threads", "read")
    assert error.value.status == status


def test_a_handler_that_returns_something_else() -> None:
    auth = known(Auth())

    @auth.on
    async def handler(ctx: Auth.types.AuthContext, value: Any) -> Any:
        return "owner"

    with pytest.raises(ConfigurationError, match="of type str"):
        decided(caller_of(auth), "threads", "read")


def test_studio_is_let_in_only_where_that_is_allowed() -> None:
    auth = known(Auth())

    @auth.on
    async def handler(ctx: Auth.types.AuthContext, value: Any) -> Any:
        return isinstance(ctx.user, Auth.types.StudioUser)

    studio = request({"X-Auth-Scheme": "langsmith"})
    assert decided(caller_of(auth, studio, studio=True), "threads", "read") is None
    with pytest.raises(AuthenticationError):
        caller_of(auth, studio)
    with pytest.raises(RefusedError):
        decided(caller_of(auth, studio=True), "threads", "read")


def test_a_program_without_an_authentication_handler_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no handler"):
        Handlers(Auth())
    auth = Auth()
    auth.authenticate(lambda unknown: "ada")  # type: ignore[arg-type,return-value]
    with pytest.raises(ConfigurationError, match="'unknown'"):
        Handlers(auth)


def test_a_user_is_a_mapping() -> None:
    assert isinstance(caller_of(known(Auth())).user, Mapping)
