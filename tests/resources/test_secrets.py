"""Values of secrets: where they are read, what is told when they are not there, and what is hidden."""

from __future__ import annotations

import base64
import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stategraph.resources import InvalidResource, NotReady, ResourceError, load_text, schema
from stategraph.resources.kinds.secret import SecretSpec, SecretValue
from stategraph.resources.loop.secrets import hidden, read, sources


def value(**fields: Any) -> SecretValue:
    return SecretValue.model_validate(fields)


def test_a_variable_is_read_and_one_that_is_empty_is_not_there() -> None:
    assert read(value(env="A"), {"A": "x"}, (), "default") == "x"
    for environment in ({}, {"A": ""}):
        with pytest.raises(NotReady, match="the variable A is not set"):
            read(value(env="A"), environment, (), "default")


def test_a_file_is_read_in_a_folder_of_secrets_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (inside / "token").write_text("sesame\n")
    (inside / "large").write_bytes(b"x" * (1024 * 1024 + 1))
    (inside / "bytes").write_bytes(b"\xff")
    (outside / "token").write_text("secret")
    (inside / "link").symlink_to(outside / "token")
    monkeypatch.chdir(inside)
    assert read(value(file="token"), {}, (), "default") == "sesame"
    assert read(value(file=f"{outside}/token"), {}, (str(outside),), "default") == "secret"
    for name in (f"{outside}/token", "../outside/token", "link", "/etc/passwd"):
        with pytest.raises(InvalidResource, match="is outside of the folders of secrets"):
            read(value(file=name), {}, (), "default")
    for name, told in (("none", "No such file"), ("large", "larger than 1,048,576"), ("bytes", "is not UTF-8")):
        with pytest.raises(NotReady, match=told):
            read(value(file=name), {}, (), "default")


def test_an_entry_of_the_keyring_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = value(keyring={"service": "shop", "username": "ann"})
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(NotReady, match="the package keyring is not installed"):
        read(entry, {}, (), "default")
    known = {("shop", "ann"): "sesame"}
    module = SimpleNamespace(get_password=lambda service, username: known.get((service, username)))
    monkeypatch.setitem(sys.modules, "keyring", module)
    assert read(entry, {}, (), "default") == "sesame"
    known.clear()
    with pytest.raises(NotReady, match="the keyring has no password of 'ann' for 'shop'"):
        read(entry, {}, (), "default")


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An API server that knows one secret of the namespace `kitchen`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_there = self.path == "/api/v1/namespaces/kitchen/secrets/shop"
            data = {"token": base64.b64encode(b"sesame").decode()}
            body = {"kind": "Secret", "metadata": {"name": "shop"}, "data": data} if is_there else {"kind": "Status"}
            self.send_response(200 if is_there else 404)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "x",
            "clusters": [{"name": "x", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
            "users": [{"name": "x", "user": {}}],
            "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        }
        file = tmp_path / "kubeconfig"
        file.write_text(json.dumps(config))
        monkeypatch.setenv("KUBECONFIG", str(file))
        for module in ("kubernetes.config", "kubernetes.config.kube_config"):  # they read the variable when imported
            monkeypatch.setattr(f"{module}.KUBE_CONFIG_DEFAULT_LOCATION", str(file))
        yield
        server.shutdown()
        thread.join()


@pytest.mark.usefixtures("cluster")
def test_a_key_of_a_kubernetes_secret_is_read() -> None:
    assert read(value(k8s={"name": "shop", "key": "token"}), {}, (), "kitchen") == "sesame"
    with pytest.raises(NotReady, match="the Kubernetes secret 'kitchen/shop' has no key 'other'"):
        read(value(k8s={"name": "shop", "key": "other"}), {}, (), "kitchen")
    with pytest.raises(NotReady, match="'default/shop' cannot be read: Not Found"):
        read(value(k8s={"name": "shop", "key": "token"}), {}, (), "default")


def test_without_the_package_of_kubernetes_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kubernetes.client", None)
    with pytest.raises(NotReady, match=r"stategraph\[kubernetes\]"):
        read(value(k8s={"name": "shop", "key": "token"}), {}, (), "default")


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("{valueFrom: {}}", "spec.valueFrom: a value comes from one of env, file, k8s, keyring; found none of them"),
        ("{valueFrom: {env: A, file: b}}", "found env and file"),
        ("{}", "a secret needs valueFrom, or values"),
        ("{valueFrom: {evn: A}}", "unknown field 'evn'; expected one of env, file, k8s, keyring; did you mean 'env'?"),
        ("{value: hunter2}", "unknown field 'value'"),
        ("{values: {a: {k8s: {name: x}}}}", "spec.values.a.k8s.key: the field 'key' is required"),
    ],
)
def test_a_secret_that_is_none_is_told(spec: str, told: str) -> None:
    text = f"apiVersion: stategraph.dev/v1\nkind: Secret\nmetadata: {{name: s}}\nspec: {spec}\n"
    problems = [str(each) for each in schema.check(load_text(text)[0])]
    assert any(told in each for each in problems), problems
    assert all(each.startswith("<text>:4:") for each in problems)


def test_one_value_has_the_name_value() -> None:
    spec = SecretSpec.model_validate({"valueFrom": {"env": "A"}, "values": {"b": {"env": "B"}}})
    assert {name: each.env for name, each in sources(spec).items()} == {"value": "A", "b": "B"}


def test_secrets_are_hidden_in_every_text_of_json() -> None:
    found = hidden({"a": ["x sesame y", {"sesame": 1}], "b": 3, "c": "ab sesame-open"}, {"sesame", "sesame-open", "ab"})
    assert found == {"a": ["x [secret] y", {"[secret]": 1}], "b": 3, "c": "ab [secret]"}


def test_what_a_variable_stands_for_is_in_no_message() -> None:
    text = (
        "apiVersion: stategraph.dev/v1\nkind: System\nmetadata: {name: s}\n"
        'spec: {resources: [{kind: Secret, name: x, spec: "${TOKEN}"}], description: ["${TOKEN}"]}\n'
    )
    (resource,) = load_text(text)
    problems = " ".join(map(str, schema.check(resource, environment={"TOKEN": "sesame-open"})))
    assert "'${TOKEN}'" in problems
    assert "sesame" not in problems
    with pytest.raises(ResourceError, match="the variable TOKEN is not set"):
        schema.parsed(resource, environment={})
