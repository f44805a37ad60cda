"""Approval: a person, or several, let one action happen once, as it was shown to them.

- `machine` is the life of a request as a table, `voting` says who may decide one, `preview` what they are shown.
- `port` has the values and what a store of requests does; `store` keeps them in SQLite or PostgreSQL.

An approval is for one action: its capability, its arguments, who asked and the policy are part of it. Whoever carries
the action out compares all of them again and uses the approval up; nothing here remembers a decision for later.
"""
