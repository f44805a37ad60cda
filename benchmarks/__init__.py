"""Benchmarks: the same work on LangGraph and on our engine, side by side.

``run.py`` drives one warm worker process per engine and never imports an engine itself; ``worker.py`` is the child;
``workloads/`` is the work; ``catalogue.py`` says what is measured and which ratio is wanted. Nothing here fails because
a figure is bad: machines are noisy, ratios are read by people. Errors and differing results do fail.
"""
