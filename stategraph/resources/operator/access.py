"""Rights of the operator in a cluster, as rules of RBAC: made of its settings, so that nothing is granted besides.

Leases of an election are in the operator's own namespace, and so is their rule, in a Role. Kinds of one's own are in
groups of one's own, which are named; whoever lets the operator define them lets it write definitions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from stategraph.resources.kind_table import GROUP, KINDS, Kind

#: What kopf follows, holds by finalizers and annotates.
_FOLLOWED: Final = ("list", "watch", "patch")

#: What is applied by server-side apply, and found and deleted when it is wanted no more.
_MADE: Final = ("create", "delete", "list", "patch")


def rules(
    *,
    kinds: Iterable[Kind] = KINDS,
    custom: Mapping[str, Sequence[str]] | None = None,
    pods: bool = True,
    keda: bool = False,
    defines: bool = False,
) -> list[dict[str, Any]]:
    """Return the rules of a ClusterRole; of a Role in each namespace, for an operator that follows these alone.

    Args:
        kinds: The kinds that it follows.
        custom: Plurals of kinds of one's own, by their groups.
        pods: Whether it makes pods of agents and workers.
        keda: Whether KEDA scales these.
        defines: Whether it makes definitions of kinds of one's own.
    """
    own = [each for each in kinds if each.group == GROUP]
    plurals = sorted(each.plural for each in own)
    found = _followed({GROUP: plurals, **dict(sorted((custom or {}).items()))})
    if any(each.name == "System" for each in own):
        members = sorted(each.plural for each in own if each.namespaced)
        found.append(_rule(GROUP, members, ("create", "delete", "get")))
    found.append(_rule("", ["events"], ("create", "get", "patch")))
    if pods:
        found += _of_pods(keda=keda)
    if defines:
        found.append(_rule("apiextensions.k8s.io", ["customresourcedefinitions"], ("create", "patch")))
    return found


def _followed(groups: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """Return the rules of what is followed, and given statuses."""
    found = []
    for group, plurals in groups.items():
        found.append(_rule(group, sorted(plurals), _FOLLOWED))
        found.append(_rule(group, [f"{each}/status" for each in sorted(plurals)], ("patch",)))
    return found


def _of_pods(*, keda: bool) -> list[dict[str, Any]]:
    """Return the rules of what is made of agents and workers."""
    made = [
        _rule("", ["configmaps", "services"], _MADE),
        _rule("apps", ["deployments"], _MADE),
        _rule("autoscaling", ["horizontalpodautoscalers"], _MADE),
    ]
    return [*made, _rule("keda.sh", ["scaledobjects"], _MADE)] if keda else made


def election_rules() -> list[dict[str, Any]]:
    """Return the rules of the Role in the operator's own namespace."""
    return [_rule("coordination.k8s.io", ["leases"], ("create", "get", "update"))]


def documents(name: str, namespace: str, **granted: Any) -> list[dict[str, Any]]:
    """Return ServiceAccount, roles and bindings of an operator.

    Args:
        name: The name of all of them.
        namespace: The namespace of the operator.
        granted: As for `rules`.
    """
    api = "rbac.authorization.k8s.io"
    subject = {"kind": "ServiceAccount", "name": name, "namespace": namespace}
    here = {"name": name, "namespace": namespace}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": here},
        {"apiVersion": f"{api}/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules(**granted)},
        {
            "apiVersion": f"{api}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": api, "kind": "ClusterRole", "name": name},
            "subjects": [subject],
        },
        {"apiVersion": f"{api}/v1", "kind": "Role", "metadata": here, "rules": election_rules()},
        {
            "apiVersion": f"{api}/v1",
            "kind": "RoleBinding",
            "metadata": here,
            "roleRef": {"apiGroup": api, "kind": "Role", "name": name},
            "subjects": [subject],
        },
    ]


def _rule(group: str, resources: Sequence[str], verbs: Sequence[str]) -> dict[str, Any]:
    return {"apiGroups": [group], "resources": list(resources), "verbs": list(verbs)}
