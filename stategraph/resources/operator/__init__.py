"""The operator: resources of a Kubernetes cluster, reconciled by the same controllers as everywhere.

- `mirror` follows the cluster with kopf, hands what is declared there to a `Runtime`, and writes its status back.
- `workloads` says which Deployments and scalers an agent or a worker asks for; `cluster` writes them.

It must never know what a kind becomes. `kopf` and `aiohttp` (the extra `kubernetes`) are imported when it runs.
"""
