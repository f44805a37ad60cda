"""The UI message stream of Vercel's AI SDK: `useChat` and `DefaultChatTransport({ api: "/vercel/{assistant_id}" })`.

    routes.py     the endpoints
    request.py    messages of the user interface to a run of the service
    encoder.py    facts about a run to chunks of the stream
    messages.py   a thread to messages of the user interface

Protocol: https://ai-sdk.dev/docs/ai-sdk-ui/stream-protocol
"""

from stategraph.server.vercel.routes import routes

__all__ = ("routes",)
