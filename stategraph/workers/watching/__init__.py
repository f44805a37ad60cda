"""Figures and probes of processes that execute runs or serve them: what Prometheus and Kubernetes ask for.

It needs no package beside Python's own. It knows the registry and its workers, and must never know a server: figures
are text, and the listener of the probes is a thread, so that it answers also while the event loop does not.
"""
