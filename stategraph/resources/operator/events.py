"""Events on objects of the cluster: each time that `Ready` becomes something else, or for another reason.

One event is written for each reason and message of an object; when it comes again it is counted, as `kubectl` shows it.
An object that has many is heard rarely: a burst, then one in some minutes, as clients of Kubernetes do it.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from stategraph.resources.operator.cluster import MANAGER, Cluster, ClusterError
from stategraph.resources.operator.statuses import shortened

_log = logging.getLogger("stategraph.operator")

LONGEST_MESSAGE: Final = 1024
BURST: Final = 25.0
PER_S: Final = 1 / 300
_REMEMBERED: Final = 4096


@dataclass(frozen=True, slots=True)
class Subject:
    """The object that an event is about.

    Attributes:
        api_version: Its group and version.
        kind: Its kind.
        namespace: Its namespace; empty if it has none.
        name: Its name.
        uid: Its uid.
    """

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str


@dataclass(slots=True)
class Events:
    """Writes events.

    Attributes:
        cluster: The API server.
        identity: Who writes them.
        clock: The time, in seconds.
        now: The time that is written down.
    """

    cluster: Cluster
    identity: str = MANAGER
    clock: Callable[[], float] = field(default=lambda: asyncio.get_running_loop().time())
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))
    _counts: dict[str, int] = field(default_factory=dict, init=False)
    _levels: dict[str, tuple[float, float]] = field(default_factory=dict, init=False)

    async def tell(self, subject: Subject, kind: str, reason: str, message: str) -> bool:
        """Write an event, and return whether it was written; one too many is left out, and so is one that fails.

        Args:
            subject: What it is about.
            kind: `Normal` or `Warning`.
            reason: Why, as one word.
            message: Why, for people.
        """
        if not self._may(subject.uid):
            return False
        told = shortened(message, LONGEST_MESSAGE)
        digest = hashlib.sha256(f"{subject.uid}/{kind}/{reason}/{told}".encode()).hexdigest()[:16]
        name = f"{subject.name[:230]}.{digest}"
        namespace = subject.namespace or "default"
        path = f"/api/v1/namespaces/{namespace}/events"
        count = self._counts.get(digest, 0) + 1
        moment = self.now().strftime("%Y-%m-%dT%H:%M:%SZ")
        try:
            if count == 1:
                count = await self._first(path, name, _event(subject, name, namespace, kind, reason, told, moment))
            if count > 1:
                await self.cluster.patch(f"{path}/{name}", {"count": count, "lastTimestamp": moment})
        except ClusterError as error:
            self._counts.pop(digest, None)  # it has gone after an hour, as events do; the next one is the first again
            _log.debug("An event was not written: %s", error)
            return False
        while len(self._counts) >= _REMEMBERED:
            del self._counts[next(iter(self._counts))]
        self._counts[digest] = count
        return True

    async def _first(self, path: str, name: str, event: Mapping[str, Any]) -> int:
        """Create an event, and return the count that it has to get: 1, it has it; more, it was there already."""
        try:
            await self.cluster.create(path, event)
        except ClusterError as error:
            if error.status != 409:
                raise
            found = await self.cluster.get(f"{path}/{name}")
            return int((found or {}).get("count", 1)) + 1
        return 1

    def _may(self, uid: str) -> bool:
        now = self.clock()
        level, at = self._levels.get(uid, (BURST, now))
        level = min(BURST, level + (now - at) * PER_S)
        if level < 1.0:
            return False
        while len(self._levels) >= _REMEMBERED:
            del self._levels[next(iter(self._levels))]
        self._levels[uid] = level - 1.0, now
        return True


def _event(
    subject: Subject, name: str, namespace: str, kind: str, reason: str, message: str, moment: str
) -> dict[str, Any]:
    about = {"apiVersion": subject.api_version, "kind": subject.kind, "name": subject.name, "uid": subject.uid}
    if subject.namespace:
        about["namespace"] = subject.namespace
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "involvedObject": about,
        "type": kind,
        "reason": reason,
        "message": message,
        "count": 1,
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "source": {"component": MANAGER},
        "reportingComponent": MANAGER,
        "reportingInstance": "",
    }
