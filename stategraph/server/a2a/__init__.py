"""A2A 1.0: agents for other agents, over JSON-RPC, REST and gRPC, through the package `a2a-sdk`.

    settings.py   what the cards say, addresses, the key that signs
    routes.py     the routes, and the gRPC server; the package `a2a-sdk` is imported with the first request (1.8 s)
    cards.py      a card for each assistant, made of its graph
    handler.py    the operations of the protocol, as tasks of the service
    messages.py   messages of the protocol to inputs of graphs, and back
    events.py     facts of a run to events of the protocol
    listing.py    pages of tasks
    pushes.py     where a client wants to be told of a task, and telling it there

A task is a chain of runs, a context is a thread; nothing is stored twice, so every replica knows every task. It knows
the service, facts and who asks, and no other protocol.
"""

from stategraph.server.a2a.routes import grpc_server, routes
from stategraph.server.a2a.settings import A2aSettings, SigningKey

__all__ = ("A2aSettings", "SigningKey", "grpc_server", "routes")
