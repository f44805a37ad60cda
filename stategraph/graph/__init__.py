"""Authoring: graphs, functional entrypoints, what schemas mean, message reducers.

This package turns what an author writes into a program for the engine. It must never know how a program is run: no
loop, thread, checkpoint or stream is handled here.
"""
