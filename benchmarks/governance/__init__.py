"""Costs of governed actions; `python -m benchmarks.governance` measures them and sets them against their budgets.

Each part has a module with `rows()`, and its name in `PARTS` of `__main__`.
"""
