"""An API server of Kubernetes that takes whatever it is given: what a client of Helm sends is what the chart renders.

It has discovery of the kinds that charts here use, and keeps objects as they come. It checks nothing.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

#: Group and version, plural, kind, whether objects have a namespace.
KINDS = (
    ("v1", "namespaces", "Namespace", False),
    ("v1", "secrets", "Secret", True),
    ("v1", "configmaps", "ConfigMap", True),
    ("v1", "services", "Service", True),
    ("v1", "serviceaccounts", "ServiceAccount", True),
    ("v1", "pods", "Pod", True),
    ("apps/v1", "deployments", "Deployment", True),
    ("batch/v1", "jobs", "Job", True),
    ("autoscaling/v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", True),
    ("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget", True),
    ("networking.k8s.io/v1", "ingresses", "Ingress", True),
    ("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy", True),
    ("rbac.authorization.k8s.io/v1", "roles", "Role", True),
    ("rbac.authorization.k8s.io/v1", "rolebindings", "RoleBinding", True),
    ("rbac.authorization.k8s.io/v1", "clusterroles", "ClusterRole", False),
    ("rbac.authorization.k8s.io/v1", "clusterrolebindings", "ClusterRoleBinding", False),
    ("coordination.k8s.io/v1", "leases", "Lease", True),
    ("apiextensions.k8s.io/v1", "customresourcedefinitions", "CustomResourceDefinition", False),
    ("admissionregistration.k8s.io/v1", "validatingwebhookconfigurations", "ValidatingWebhookConfiguration", False),
    ("keda.sh/v1alpha1", "scaledobjects", "ScaledObject", True),
    ("monitoring.coreos.com/v1", "podmonitors", "PodMonitor", True),
)

RECORD = {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "release"}}


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if (found := _discovery(path)) is not None:
            self._answer(200, found)
        elif path in self.server.objects:
            self._answer(200, self.server.objects[path])
        elif any(path.endswith(f"/{plural}") for _, plural, _, _ in KINDS):
            items = [each for name, each in self.server.objects.items() if name.rpartition("/")[0] == path]
            self._answer(200, {"kind": "List", "apiVersion": "v1", "metadata": {}, "items": items})
        else:
            self._answer(
                404, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
            )

    def do_POST(self) -> None:
        if (given := self._body()) is None:
            self._answer(201, RECORD)
            return
        path = f"{urlsplit(self.path).path}/{given['metadata']['name']}"
        self.server.objects[path] = given
        self._answer(201, given)

    def do_PUT(self) -> None:
        if (given := self._body()) is None:
            self._answer(200, RECORD)
            return
        self.server.objects[urlsplit(self.path).path] = given
        self._answer(200, given)

    def log_message(self, *_: object) -> None: ...

    def _body(self) -> Any:
        """Return the object of a request; None: it is Helm's own record of the release, which is no JSON."""
        body = self.rfile.read(int(self.headers["content-length"]))
        return None if "protobuf" in self.headers["content-type"] else json.loads(body)

    def _answer(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _discovery(path: str) -> dict[str, Any] | None:
    """Return what discovery says at a path; None: it is no path of discovery."""
    groups = sorted({group for group, *_ in KINDS if "/" in group})
    if path == "/version":
        return {"major": "1", "minor": "34", "gitVersion": "v1.34.0"}
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        return {
            "kind": "APIGroupList",
            "apiVersion": "v1",
            "groups": [
                {
                    "name": each.partition("/")[0],
                    "versions": [{"groupVersion": each, "version": each.partition("/")[2]}],
                    "preferredVersion": {"groupVersion": each, "version": each.partition("/")[2]},
                }
                for each in groups
            ],
        }
    group = path.removeprefix("/apis/") if path.startswith("/apis/") else path.removeprefix("/api/")
    resources = [
        {"name": plural, "singularName": "", "namespaced": spaced, "kind": kind, "verbs": ["create", "get", "list"]}
        for of_group, plural, kind, spaced in KINDS
        if of_group == group
    ]
    if not resources or group == path:
        return None
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group, "resources": resources}


@contextmanager
def serving() -> Iterator[_Server]:
    """Serve for a block, on a free port of this machine."""
    server = _Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
