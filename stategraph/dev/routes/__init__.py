"""The HTTP API of the development server: a module for each kind of thing, each with its `routes`.

It must never know how runs execute: it asks `Conversations` and the runtime's threads.
"""
