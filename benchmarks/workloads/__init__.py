"""The work that is measured: each module maps workload names to factories.

Imported by the worker only, after the engine under test is on the path. A workload is built once per process, checked
once (the check doubles as the warm-up), and then sampled many times.
"""
