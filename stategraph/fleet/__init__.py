"""The agents of a fleet: which there are, where each is reached, and requests to them that survive a failure.

- A `Directory` knows endpoints from its sources: a list (`StaticSource`), a table (`DatabaseSource`) or a bucket of
  NATS (`NatsSource`). `CardCache` keeps the agents' cards, and `HealthChecks` ask for them now and then.
- A `Router` picks an endpoint for a request, by a strategy and by what the agent can do, and goes to another one if
  that fails before it has answered. `A2aTransport` sends requests by A2A.
- `FleetAgents` are asked by name and as far as they are trusted, as policies of governed actions decide.
- `messages` converts messages of other frameworks.

This package knows no graph and no run: an agent is an address that answers. `a2a-sdk` is imported when a request is
sent.
"""

from stategraph.lazy_names import loader as _loader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stategraph.fleet.a2a import A2aTransport as A2aTransport
    from stategraph.fleet.a2a import message as message
    from stategraph.fleet.asking import FleetAgents as FleetAgents
    from stategraph.fleet.asking import TaskNotDoneError as TaskNotDoneError
    from stategraph.fleet.cards import CardCache as CardCache
    from stategraph.fleet.directory import Directory as Directory
    from stategraph.fleet.endpoint import AgentEndpoint as AgentEndpoint
    from stategraph.fleet.errors import AgentRefusedError as AgentRefusedError
    from stategraph.fleet.errors import EndpointError as EndpointError
    from stategraph.fleet.errors import FleetError as FleetError
    from stategraph.fleet.errors import NoEndpointError as NoEndpointError
    from stategraph.fleet.errors import RequestLostError as RequestLostError
    from stategraph.fleet.health import HealthChecks as HealthChecks
    from stategraph.fleet.metrics import RouterMetrics as RouterMetrics
    from stategraph.fleet.retries import RetryBudget as RetryBudget
    from stategraph.fleet.router import Router as Router
    from stategraph.fleet.sources.database import DatabaseSource as DatabaseSource
    from stategraph.fleet.sources.nats import NatsSource as NatsSource
    from stategraph.fleet.sources.static import StaticSource as StaticSource
    from stategraph.fleet.standing import BreakerSettings as BreakerSettings
    from stategraph.fleet.trust import CardKey as CardKey
    from stategraph.fleet.trust import TrustPolicy as TrustPolicy
    from stategraph.fleet.trust import UntrustedAgentError as UntrustedAgentError

_PUBLIC = {
    "a2a": ("A2aTransport", "message"),
    "asking": ("FleetAgents", "TaskNotDoneError"),
    "cards": ("CardCache",),
    "directory": ("Directory",),
    "endpoint": ("AgentEndpoint",),
    "errors": ("AgentRefusedError", "EndpointError", "FleetError", "NoEndpointError", "RequestLostError"),
    "health": ("HealthChecks",),
    "metrics": ("RouterMetrics",),
    "retries": ("RetryBudget",),
    "router": ("Router",),
    "sources.database": ("DatabaseSource",),
    "sources.nats": ("NatsSource",),
    "sources.static": ("StaticSource",),
    "standing": ("BreakerSettings",),
    "trust": ("CardKey", "TrustPolicy", "UntrustedAgentError"),
}
__all__, __getattr__ = _loader(globals(), _PUBLIC)
