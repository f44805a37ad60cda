"""The development server: a chat page for an agent or a graph, and the HTTP API behind it.

    target.py         what is served, as values; loading.py makes one of what a program names
    hosting.py        the runtime of a target
    demo.py           the embedded demo, on a scripted model
    conversations.py  runs on threads: begun, answered, stopped
    history.py        a thread as the page shows it
    attachments.py    files of messages, and files in states
    following.py      event streams that go on where a reader stopped
    changes.py        wakes event streams
    addresses.py      ids of threads in paths
    protection.py     hosts, origins, headers, sizes
    replies.py        JSON in and out, errors as sentences
    inspector/        threads step by step, branches, comparisons
    routes/           the API, a module for each kind of thing
    application.py    all of it as one ASGI application
    serving.py        the application on a port; listening.py, sockets and addresses
    static/           the page; `vendor/` holds the libraries that it uses

It must never know how the command line spells its options, and it serves one person on one machine: users, keys and
replicas are not its business. Needs the extra `dev` (Starlette and uvicorn).
"""

from stategraph.dev.serving import serve

__all__ = ("serve",)
