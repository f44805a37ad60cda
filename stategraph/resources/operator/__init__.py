"""The operator: resources of a Kubernetes cluster, reconciled by the same controllers as everywhere.

- `mirror` follows the cluster with kopf, hands what is declared there to a `Runtime`, and writes its status back
  (`statuses`), with events that say why (`events`). `members` makes objects of what a System owns.
- `workloads` says which objects an agent or a worker asks for; `pods` keeps them in the cluster.
- `cluster` speaks with the API server, as `connecting` says who with; `election` lets one of several operators lead.
- `access` says what the operator may do, for RBAC.

It must never know what a kind becomes. `kopf` and `aiohttp` (the extra `kubernetes`) are imported when it runs.
"""
