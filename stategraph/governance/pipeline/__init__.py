"""The pipeline that every action passes: resolve, validate, authorize, approve, reserve, claim, review, tell.

- `stages` has the table that orders them, and those that decide; `claims` executes; `approvals` asks people.
- All of it is written once, as procedures whose steps a sync or an async caller takes (`stategraph.prebuilt.steps`).
- An action that is refused before its claim has not begun: the model is told why, by `telling`.

It must never know by which way an action came, or how a capability is executed.
"""
