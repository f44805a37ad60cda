"""The console: resources listed, described and followed in the page, and run where the server was started for it.

    access.py     the token that requests have to have
    console.py    resources as the page shows them, and changes of them
    runs.py       runs that the page has begun, with the way they took through the drawing
    routes.py     the API

Read-only unless `writes` is set. It must never show a value of a Secret.
"""
