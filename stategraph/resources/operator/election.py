"""Election of the one operator that works, by a Lease of Kubernetes.

Rules
-----
* Whoever writes their name into the Lease first leads; the resource version decides between two (409).
* The holder renews it each few seconds. Others take it over once they have not seen it change for its whole duration,
  by their own clock: clocks of two machines are never compared.
* A leader that has not renewed it for `renew_s` stops before others may take it over, as `renew_s` is shorter.
* A leader that ends gives it back, so that the next one need not wait.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from stategraph.resources.operator.cluster import Cluster, ClusterError

_log = logging.getLogger("stategraph.operator")

NAME: Final = "stategraph-operator"


class LeadershipLostError(Exception):
    """Another operator may lead now: this one has stopped."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Settings of an election, and the name of one who takes part.

    Attributes:
        identity: Its name, which no other operator has: that of its pod.
        namespace: The namespace of the Lease.
        name: The name of the Lease.
        lease_s: Seconds for which others wait for a leader that is silent.
        renew_s: Seconds without a renewal after which a leader stops.
        retry_s: Seconds between two renewals, or two attempts.
    """

    identity: str
    namespace: str = "default"
    name: str = NAME
    lease_s: float = 15.0
    renew_s: float = 10.0
    retry_s: float = 2.0

    def __post_init__(self) -> None:
        if not self.retry_s < self.renew_s < self.lease_s:
            raise ValueError(
                f"retry_s < renew_s < lease_s is expected; found {self.retry_s:g}, {self.renew_s:g}, {self.lease_s:g}"
            )


class Election:
    """One candidate's part in an election.

    Args:
        cluster: The API server.
        candidate: The candidate.
        clock: The time, in seconds; None: that of the event loop.
        now: The time that is written down; None: the system's.
        sleep: Waits for seconds.
    """

    def __init__(
        self,
        cluster: Cluster,
        candidate: Candidate,
        *,
        clock: Callable[[], float] | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._cluster = cluster
        self._candidate = candidate
        self._clock = clock or asyncio.get_running_loop().time
        self._now = now
        self._sleep = sleep
        self._seen: tuple[str, float] | None = None  # the version of the Lease, and when it was first seen
        self._path = f"/apis/coordination.k8s.io/v1/namespaces/{candidate.namespace}/leases"

    async def win(self) -> None:
        """Wait until this candidate leads; errors of the API server are waited out."""
        told = False
        while not await self._tried():
            if not told:
                _log.info("Another operator leads; this one, %s, waits", self._candidate.identity)
                told = True
            await self._sleep(self._candidate.retry_s)
        _log.info("%s leads", self._candidate.identity)

    async def hold(self) -> None:
        """Renew the Lease for as long as it can be.

        Raises:
            LeadershipLostError: Somebody else has it, or it could not be renewed in time.
        """
        held = self._clock()
        while True:
            await self._sleep(self._candidate.retry_s)
            try:
                if not await asyncio.wait_for(self._still(), self._candidate.renew_s):
                    raise LeadershipLostError(f"{self._candidate.identity} does not hold the Lease any more")
                held = self._clock()
            except (ClusterError, TimeoutError) as error:
                _log.warning("The Lease was not renewed: %s", error)
                if self._clock() - held >= self._candidate.renew_s:
                    raise LeadershipLostError(
                        f"{self._candidate.identity} could not renew the Lease for {self._candidate.renew_s:g} s"
                    ) from error

    async def give_back(self) -> None:
        """Let the next one lead at once, if this one still does."""
        try:
            lease = await self._cluster.get(f"{self._path}/{self._candidate.name}")
            if lease is not None and lease["spec"].get("holderIdentity") == self._candidate.identity:
                spec = {**lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
                await self._cluster.replace(f"{self._path}/{self._candidate.name}", {**lease, "spec": spec})
        except ClusterError as error:
            _log.warning("The Lease ends by itself: %s", error)

    async def _still(self) -> bool:
        """Renew the Lease; a conflict with a request of one's own that came late is no loss."""
        return await self.attempt() or await self.attempt()

    async def _tried(self) -> bool:
        try:
            return await self.attempt()
        except ClusterError as error:
            _log.warning("There is no election: %s", error)
            return False

    async def attempt(self) -> bool:
        """Take or renew the Lease, and return whether this candidate holds it.

        Raises:
            ClusterError: The API server refused, or is away.
        """
        path = f"{self._path}/{self._candidate.name}"
        lease = await self._cluster.get(path)
        try:
            if lease is None:
                meta = {"name": self._candidate.name, "namespace": self._candidate.namespace}
                document = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta}
                await self._cluster.create(self._path, {**document, "spec": self._spec({})})
                return True
            if not self._may_take(lease):
                return False
            await self._cluster.replace(path, {**lease, "spec": self._spec(lease["spec"])})
            return True
        except ClusterError as error:
            if error.status == 409:  # somebody was faster
                return False
            raise

    def _may_take(self, lease: dict[str, Any]) -> bool:
        spec, version = lease["spec"], lease["metadata"]["resourceVersion"]
        holder = spec.get("holderIdentity")
        if not holder or holder == self._candidate.identity:
            return True
        if self._seen is None or self._seen[0] != version:
            self._seen = version, self._clock()
        return self._clock() - self._seen[1] >= float(spec.get("leaseDurationSeconds") or self._candidate.lease_s)

    def _spec(self, before: dict[str, Any]) -> dict[str, Any]:
        mine = before.get("holderIdentity") == self._candidate.identity
        now = self._now().isoformat(timespec="microseconds").replace("+00:00", "Z")
        return {
            "holderIdentity": self._candidate.identity,
            "leaseDurationSeconds": max(1, round(self._candidate.lease_s)),
            "acquireTime": before.get("acquireTime", now) if mine else now,
            "renewTime": now,
            "leaseTransitions": int(before.get("leaseTransitions", 0)) + (0 if mine or not before else 1),
        }
