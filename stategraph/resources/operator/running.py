"""Runs an operator: election, the first listing, kopf, and what goes on beside it.

Rules
-----
* What is wrong with the configuration (credentials, certificates, rights) ends it at the start, with a way out; what
  goes wrong later is logged and tried again.
* Nothing is reconciled before this operator leads. One that does not lead any more stops at once, with an error.
* Kinds that come or go, those that a CustomResourceDefinition defines among them, have it follow the cluster anew.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import uuid
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from stategraph.errors import ConfigurationError, MissingPackageError
from stategraph.resources import controllers
from stategraph.resources.crds import definition
from stategraph.resources.kind_table import API_VERSION, GROUP, KINDS, Kind
from stategraph.resources.model import ResourceKey
from stategraph.resources.operator import connecting, objects
from stategraph.resources.operator.cluster import Cluster, ClusterError, Pace
from stategraph.resources.operator.connecting import Login
from stategraph.resources.operator.election import Candidate, Election
from stategraph.resources.operator.events import Events
from stategraph.resources.operator.health import answering
from stategraph.resources.operator.mirror import Mirror, version_of
from stategraph.resources.operator.pods import Pods
from stategraph.resources.operator.workloads import PodSettings

if TYPE_CHECKING:
    import kopf

    from stategraph.resources.runtime import Runtime

FINALIZER: Final = "stategraph.dev/operator"

_GONE_S: Final = 1.0
_ENDING_S: Final = 10.0
_EXIT_S: Final = 0.5
_AGAIN_S: Final = 0.1
_LOOK_S: Final = 10.0
_BACKOFF_S: Final = 1.0
_LONGEST_BACKOFF_S: Final = 30.0

#: A watch is opened anew after so many seconds: a connection that died silently is noticed then.
_WATCH_S: Final = 240

_log = logging.getLogger("stategraph.operator")


@dataclass(frozen=True, slots=True)
class OperatorSettings:
    """Settings of an operator.

    Attributes:
        namespaces: The namespaces that it follows; empty: all.
        kinds: The kinds that it follows; those that are defined in the cluster come to them.
        login: Returns address and credentials of the API server; None: those of the pod, or of the kubeconfig.
        liveness: Address of its liveness check, such as `http://0.0.0.0:8080/healthz`; None: none.
        pods: What pods of agents and workers run.
        candidate: What it is elected by; None: it is alone, and leads.
        defines: Whether it makes definitions of custom kinds in the cluster; if not, somebody else has to.
        patience_s: Seconds for which an API server that is away at the start is waited for.
        pace: The limit of its writes; None: 20 a second, 40 at once.
    """

    namespaces: Sequence[str] = ()
    kinds: Sequence[Kind] = tuple(KINDS)
    login: Login | None = None
    liveness: str | None = None
    pods: PodSettings = field(default_factory=PodSettings)
    candidate: Candidate | None = None
    defines: bool = False
    patience_s: float = 60.0
    pace: Pace | None = None


class Operator:
    """Reconciles the resources of a cluster.

    Args:
        runtime: A runtime on a store in memory, which is nobody else's.
        settings: The settings.

    Attributes:
        runtime: The runtime.

    Raises:
        MissingPackageError: `kopf` is not installed.
    """

    def __init__(self, runtime: Runtime, settings: OperatorSettings | None = None) -> None:
        try:
            import kopf  # 0.9 s, and only operators need it
        except ImportError as error:
            raise MissingPackageError("stategraph[kubernetes]", "The operator") from error
        controllers.built_in()  # their imports take seconds, in which a leader could not renew its lease
        self._kopf = kopf
        self._settings = settings or OperatorSettings()
        self._login = self._settings.login or connecting.found()
        self._hears = self._leads = False
        self._ready: asyncio.Event | None = None
        self.runtime = runtime

    async def run(self, stop: asyncio.Event | None = None, ready: asyncio.Event | None = None) -> None:
        """Follow the cluster until told to stop.

        Args:
            stop: Ends it when it is set; None: a signal does.
            ready: Set when it leads and follows.

        Raises:
            ConfigurationError: The API server cannot be reached, or refuses the operator.
            LeadershipLostError: Another operator may lead now.
        """
        self._hears = stop is None
        stop = stop or asyncio.Event()
        self._ready = ready
        self._hear(stop)
        async with (
            answering(self._settings.liveness, lambda: "leads" if self._leads else "waits"),
            Cluster(self._login, self._settings.pace) as cluster,
        ):
            await self._check(cluster)
            candidate = self._settings.candidate
            if candidate is None:
                await self._lead(cluster, stop, None)
                return
            election = Election(cluster, candidate)
            if not await _or_stopped(election.win(), stop):
                return
            try:
                await self._lead(cluster, stop, election)
            finally:
                await election.give_back()

    async def _check(self, cluster: Cluster) -> None:
        """Ask the API server whether it takes this operator.

        Raises:
            ConfigurationError: It does not, or is not to be reached for the time of `patience_s`.
        """
        clock = asyncio.get_running_loop().time
        begun, pause = clock(), _AGAIN_S
        while True:
            try:
                await cluster.get(f"/apis/{GROUP}/v1")
                return
            except ClusterError as error:
                if error.status in (401, 403) or _is_of_certificates(error):
                    raise _refusal(cluster.server, error) from error
                if clock() - begun + pause > self._settings.patience_s:
                    raise ConfigurationError(
                        f"The API server {cluster.server} is not to be reached: {error}. Check the address (--server, "
                        "or the kubeconfig), and that it is up"
                    ) from error
                _log.warning("The API server is away: %s", error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_BACKOFF_S)

    async def _lead(self, cluster: Cluster, stop: asyncio.Event, election: Election | None) -> None:
        self._leads = True
        events = Events(cluster)
        mirror = Mirror(self.runtime, cluster, events)
        followed = await self._first(mirror, cluster)
        pods = Pods(self._settings.pods, mirror, self.runtime, cluster, events)
        begun_at = await self.runtime.store.version()
        async with self.runtime:
            work: list[Coroutine[Any, Any, None]] = [mirror.follow(begun_at), pods.keep()]
            if election is not None:
                work.append(election.hold())
            tasks = [asyncio.create_task(each) for each in work]
            try:
                await self._follow(mirror, cluster, events, _Course(stop, tasks, followed))
            finally:
                await _ended(tasks)
                await mirror.close()

    async def _first(self, mirror: Mirror, cluster: Cluster) -> frozenset[str]:
        """List what is there before anything is reconciled, and return the kinds that the API server has."""
        there = set()
        for kind in self._settings.kinds:
            for namespace in (self._settings.namespaces if kind.namespaced else ()) or ("",):
                try:
                    if await mirror.list(kind, namespace):
                        there.add(kind.key)
                except ClusterError as error:
                    if error.status in (401, 403):
                        raise _refusal(cluster.server, error) from error
                    _log.warning("%s were not listed: %s", kind.plural, error)
                    there.add(kind.key)
        missing = sorted(each.plural for each in self._settings.kinds if each.key not in there)
        if missing:
            _log.warning(
                "The API server has no %s: 'stategraph crds | kubectl apply --server-side -f -'", ", ".join(missing)
            )
        return frozenset(there)

    async def _follow(self, mirror: Mirror, cluster: Cluster, events: Events, course: _Course) -> None:
        """Run kopf, anew when kinds have changed or it has failed, until it is to stop."""
        pause = _BACKOFF_S
        clock = asyncio.get_running_loop().time
        while not course.stop.is_set():
            begun = clock()
            kinds = [*(each for each in self._settings.kinds if each.key in course.there), *self._custom(course)]
            flag = asyncio.Event()
            watching = asyncio.create_task(self._changes(mirror, cluster, events, course, flag))
            try:
                await self._run_kopf(kinds, mirror, flag)
                if not flag.is_set():  # a signal, which kopf hears
                    course.stop.set()
                pause = _BACKOFF_S
            except Exception as error:  # whatever ends its watches: it lists anew
                _log.warning("The cluster is followed anew: %s: %s", type(error).__name__, error)
                pause = _BACKOFF_S if clock() - begun > _LONGEST_BACKOFF_S else min(pause * 2, _LONGEST_BACKOFF_S)
                await _or_stopped(asyncio.sleep(pause), course.stop)
            finally:
                self._hear(course.stop)
                await _ended([watching])
            course.check()

    async def _run_kopf(self, kinds: Sequence[Kind], mirror: Mirror, flag: asyncio.Event) -> None:
        """Run kopf until a flag is set, a signal comes, or something of it fails, whose error is raised.

        Its own `operator` would cancel every task that was begun meanwhile, those of plug-ins and workers among them.
        """
        tasks = await self._kopf.spawn_tasks(
            registry=self._registry(kinds, mirror),
            settings=self._kopf_settings(),
            standalone=True,
            clusterwide=not self._settings.namespaces,
            namespaces=tuple(self._settings.namespaces),
            stop_flag=flag,
            ready_flag=self._ready,
        )
        told = False
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            told = flag.is_set()
        finally:
            flag.set()  # whoever waits for it ends
            begun = self._begun_by_kopf()  # before it closes their connections, whose errors nobody would ask for
            for each in tasks:
                each.cancel()
            await asyncio.wait(tasks, timeout=_ENDING_S)
            await _ended(list(tasks))
            begun |= self._begun_by_kopf()
            await _ended(list(begun))
            for each in begun - set(tasks):
                _ = None if each.cancelled() else each.exception()
            if not told:
                flag.clear()
        errors = [error for each in tasks if not each.cancelled() and (error := each.exception()) is not None]
        if errors:  # of all tasks, so that asyncio tells of none by itself
            raise errors[0]

    def _begun_by_kopf(self) -> set[asyncio.Task[Any]]:
        """Return tasks of kopf that go on, those among them that it awaits no more, as of a scan that was cut short."""
        folder = str(Path(str(self._kopf.__file__)).parent)
        coroutines = {each: getattr(each.get_coro(), "cr_code", None) for each in asyncio.all_tasks()}
        return {each for each, code in coroutines.items() if code and code.co_filename.startswith(folder)}

    def _hear(self, stop: asyncio.Event) -> None:
        """Have signals stop the operator, where nobody else does; kopf hears them while it runs."""
        if self._hears and threading.current_thread() is threading.main_thread():
            for each in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(each, stop.set)

    async def _changes(
        self, mirror: Mirror, cluster: Cluster, events: Events, course: _Course, flag: asyncio.Event
    ) -> None:
        """Set a flag when kopf has to stop: for good, or as kinds have come or gone."""
        stopping = asyncio.create_task(course.stop.wait())
        try:
            while True:
                moved = asyncio.create_task(mirror.kinds_changed.wait())
                waited = [stopping, moved, *course.tasks]
                await asyncio.wait(waited, timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
                moved.cancel()
                if course.stop.is_set() or any(each.done() for each in course.tasks):
                    break
                mirror.kinds_changed.clear()
                try:
                    if await self._kinds_changed(mirror, cluster, events, course):
                        break
                except ClusterError as error:
                    _log.warning("The kinds of the API server are not known: %s", error)
        finally:
            stopping.cancel()
            flag.set()

    async def _kinds_changed(self, mirror: Mirror, cluster: Cluster, events: Events, course: _Course) -> bool:
        """Return whether there are other kinds to follow than before."""
        changed = False
        for kind in self._settings.kinds:
            if kind.key not in course.there and await _is_served(cluster, kind, "v1"):
                course.there |= {kind.key}
                changed = True
        custom = {}
        for kind in self.runtime.kinds:
            if kind.group == GROUP or KINDS.get(kind.name) is not None:
                continue
            key = ResourceKey("customresourcedefinition", "", f"{kind.plural}.{kind.group}")
            known, resource = mirror.known.get(key), await self.runtime.get(key)
            if known is None or resource is None:
                continue
            version = version_of(resource.spec)
            if await self._is_defined(cluster, kind, version, objects.owner_of(known.subject)):
                custom[kind.name] = kind
            elif kind.name not in course.told:
                course.told.add(kind.name)
                message = (
                    f"the API server has no {kind.plural}.{kind.group}: apply its CustomResourceDefinition of "
                    "apiextensions.k8s.io, or start the operator with --define-kinds"
                )
                await events.tell(known.subject, "Warning", "KindNotServed", message)
        if custom != course.custom:
            course.custom = custom
            changed = True
        return changed

    async def _is_defined(self, cluster: Cluster, kind: Kind, version: str, owner: Mapping[str, Any]) -> bool:
        if await _is_served(cluster, kind, version):
            return True
        if not self._settings.defines:
            return False
        document = definition(kind, version)
        document["metadata"]["ownerReferences"] = [dict(owner)]
        name = document["metadata"]["name"]
        await cluster.apply(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}", document)
        for _ in range(50):  # it is served a moment later
            if await _is_served(cluster, kind, version):
                return True
            await asyncio.sleep(_AGAIN_S)
        return False

    @staticmethod
    def _custom(course: _Course) -> list[Kind]:
        return list(course.custom.values())

    def _kopf_settings(self) -> kopf.OperatorSettings:
        settings = self._kopf.OperatorSettings()
        settings.posting.enabled = False
        settings.scanning.disabled = True
        settings.watching.server_timeout = _WATCH_S
        settings.watching.client_timeout = _WATCH_S + 30
        settings.queueing.exit_timeout = _EXIT_S
        settings.persistence.finalizer = FINALIZER
        settings.persistence.progress_storage = self._kopf.AnnotationsProgressStorage(prefix=GROUP)
        settings.persistence.diffbase_storage = self._kopf.AnnotationsDiffBaseStorage(prefix=GROUP)
        return settings

    def _registry(self, kinds: Sequence[Kind], mirror: Mirror) -> kopf.OperatorRegistry:
        registry = self._kopf.OperatorRegistry()

        async def login(**_: Any) -> kopf.ConnectionInfo:
            return await asyncio.to_thread(self._login)

        self._kopf.on.login(registry=registry)(login)
        for kind in kinds:
            self._watch(kind, registry, mirror)
        return registry

    def _watch(self, kind: Kind, registry: kopf.OperatorRegistry, mirror: Mirror) -> None:
        async def seen(type: str | None, body: Mapping[str, Any], **_: Any) -> None:
            if type == "DELETED":
                await mirror.gone(kind, body)
            elif not body["metadata"].get("deletionTimestamp"):
                await mirror.take(kind, body)

        async def deleted(body: Mapping[str, Any], **_: Any) -> None:
            try:
                cleaned = await mirror.delete(kind, body)
            except ClusterError as error:
                raise self._kopf.TemporaryError(str(error), delay=_GONE_S) from error
            if not cleaned:
                raise self._kopf.TemporaryError("its controller has not cleaned up yet", delay=_GONE_S)

        version = API_VERSION.partition("/")[2] if kind.group == GROUP else None
        self._kopf.on.event(registry=registry, group=kind.group, version=version, plural=kind.plural)(seen)
        self._kopf.on.delete(registry=registry, group=kind.group, version=version, plural=kind.plural)(deleted)


@dataclass(slots=True)
class _Course:
    """State of one term of leading.

    Attributes:
        stop: Ends it.
        tasks: What goes on beside kopf; if one of them ends, all do.
        there: The built-in kinds that the API server has.
        custom: The custom kinds that are followed.
        told: Custom kinds of which it was told that the API server has them not.
    """

    stop: asyncio.Event
    tasks: Sequence[asyncio.Task[None]]
    there: frozenset[str]
    custom: dict[str, Kind] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)

    def check(self) -> None:
        """Raise the error of a task that has ended."""
        for each in self.tasks:
            if each.done():
                each.result()


def identity(host: str) -> str:
    """Return a name that no other operator has: that of the pod, and a random part."""
    return f"{host}_{uuid.uuid4()}"


async def _is_served(cluster: Cluster, kind: Kind, version: str) -> bool:
    found = await cluster.get(f"/apis/{kind.group}/{version}")
    return found is not None and any(each["name"] == kind.plural for each in found.get("resources", ()))


async def _or_stopped(work: Coroutine[Any, Any, object], stop: asyncio.Event) -> bool:
    """Await something unless it is to stop before; returns whether it came to its end."""
    tasks = [asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if tasks[0].done():
            tasks[0].result()
        return tasks[0].done()
    finally:
        await _ended(tasks)


async def _ended(tasks: Sequence[asyncio.Future[Any]]) -> None:
    """Cancel tasks and wait for their end."""
    while not all(each.done() for each in tasks):  # a wait of Python 3.11 may forget a cancellation with a wake-up
        for each in tasks:
            each.cancel()
        await asyncio.wait(tasks, timeout=_AGAIN_S)


def _is_of_certificates(error: ClusterError) -> bool:
    import aiohttp

    return isinstance(error.__cause__, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError)


def _refusal(server: str, error: ClusterError) -> ConfigurationError:
    """Return the error of an API server that does not take this operator."""
    if error.status == 401:
        way = "the token or certificate is wrong or has expired: renew it, or name another with --token-file"
    elif error.status == 403:
        way = "the operator lacks a right: apply what 'stategraph operator --access' prints"
    else:
        way = "its certificate cannot be verified: renew it, or name its authority with --certificate-authority"
    return ConfigurationError(f"The API server {server} does not take this operator: {error}; {way}")
