"""Who the operator says it is, and which server it believes: TLS, tokens, service accounts, kubeconfigs."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from stategraph.errors import ConfigurationError
from stategraph.resources.crds import definitions
from stategraph.resources.operator import connecting
from stategraph.resources.operator.cluster import Cluster, ClusterError, Pace
from tests.resources.kubernetes.api_server import ApiServer
from tests.resources.kubernetes.certificates import Authority
from tests.resources.kubernetes.listening import Listener, listening
from tests.resources.kubernetes.operating import eventually, operating

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def account(folder: Path, authority: Path, token: str) -> Path:
    """Make the folder of a service account, as a pod has it."""
    folder.mkdir()
    (folder / "token").write_text(f"{token}\n", encoding="utf-8")
    (folder / "ca.crt").write_bytes(authority.read_bytes())
    (folder / "namespace").write_text("agents", encoding="utf-8")
    return folder


@asynccontextmanager
async def secured(authority: Authority, *tokens: str) -> AsyncIterator[tuple[ApiServer, Listener]]:
    """Serve with TLS, and let these tokens in."""
    server = ApiServer(definitions(), tokens=dict.fromkeys(tokens, "operator"))
    async with listening(server, authority.issue("server")) as listener:
        yield server, listener


async def test_a_pod_logs_in_with_its_service_account_and_reads_a_new_token_when_the_old_one_ends(
    authority: Authority, tmp_path: Path
) -> None:
    folder = account(tmp_path / "account", authority.file, "first")
    async with secured(authority, "first") as (server, listener):
        port = listener.address.rpartition(":")[2]
        variables = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": port}
        login = connecting.found(variables, folder)
        async with operating(server, login=login, kinds=("Secret",)) as running:
            await running.create("Secret", "one", {"valueFrom": {"env": "TOKEN"}})
            await eventually(lambda: running.status("Secret", "one").get("phase") == "Ready")
            (folder / "token").write_text("second", encoding="utf-8")  # the kubelet renews it
            server.tokens = {"second": "operator"}
            await listener.down()
            await listener.up()  # watches have to be opened anew
            await running.create("Secret", "two", {"valueFrom": {"env": "TOKEN"}})
            await eventually(lambda: running.status("Secret", "two").get("phase") == "Ready")
    assert connecting.namespace_of({}, folder) == "agents"


async def test_a_wrong_token_ends_the_operator_and_says_so(authority: Authority, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("stolen", encoding="utf-8")
    async with secured(authority, "right") as (server, listener):
        login = connecting.at(listener.address, token_file=str(file), authority=str(authority.file))
        with pytest.raises(ConfigurationError, match=r"does not take this operator: .*401.*--token-file"):
            async with operating(server, login=login, fails=True):
                pytest.fail("it was let in")


async def test_an_expired_certificate_of_the_server_ends_the_operator_and_says_so(authority: Authority) -> None:
    server = ApiServer(definitions())
    async with listening(server, authority.issue("late", days=-0.5)) as listener:
        login = connecting.at(listener.address, authority=str(authority.file))
        with pytest.raises(ConfigurationError, match=r"certificate has expired.*--certificate-authority"):
            async with operating(server, login=login, fails=True):
                pytest.fail("it was believed")


async def test_a_server_of_another_authority_is_not_believed(authority: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other", "somebody else")
    server = ApiServer(definitions())
    async with listening(server, other.issue("server")) as listener:
        for file in (str(authority.file), None):  # None: the system's authorities
            with pytest.raises(ConfigurationError, match="certificate"):
                async with operating(server, login=connecting.at(listener.address, authority=file), fails=True):
                    pytest.fail("it was believed")
    assert server.requests == []


async def test_a_certificate_that_expires_meanwhile_is_waited_out(authority: Authority) -> None:
    server = ApiServer(definitions())
    good, late = authority.issue("good"), authority.issue("late", days=-0.5)
    async with listening(server, good) as listener:
        login = connecting.at(listener.address, authority=str(authority.file))
        async with operating(server, login=login, kinds=("Secret",)) as running:
            await listener.down()
            listener.shows = late
            await listener.up()
            await running.create("Secret", "one", {"valueFrom": {"env": "TOKEN"}})
            before = len(server.requests)
            async with Cluster(login, Pace()) as cluster:
                with pytest.raises(ClusterError, match="expired"):
                    await cluster.get("/version")
            assert len(server.requests) == before  # nothing was told to a server that is not believed
            await listener.down()
            listener.shows = good
            await listener.up()
            await eventually(lambda: running.status("Secret", "one").get("phase") == "Ready")


async def test_a_kubeconfig_with_a_client_certificate_logs_in(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = ApiServer(definitions())
    client = authority.issue("operator", client=True)
    async with listening(server, authority.issue("server"), clients=authority.file) as listener:
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "contexts": [{"name": "here", "context": {"cluster": "this", "user": "me"}}],
            "clusters": [
                {
                    "name": "this",
                    "cluster": {
                        "server": listener.address,
                        "certificate-authority-data": base64.b64encode(authority.file.read_bytes()).decode(),
                    },
                }
            ],
            "users": [
                {
                    "name": "me",
                    "user": {"client-certificate": str(client.certificate), "client-key": str(client.key)},
                }
            ],
        }
        file = tmp_path / "config"
        await asyncio.to_thread(file.write_text, json.dumps(config))
        monkeypatch.setenv("KUBECONFIG", str(file))
        monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(file))
        login = connecting.found({}, tmp_path / "nothing")
        async with operating(server, login=login, kinds=("Secret",)) as running:
            await running.create("Secret", "one", {"valueFrom": {"env": "TOKEN"}})
            await eventually(lambda: running.status("Secret", "one").get("phase") == "Ready")
        anonymous = connecting.at(listener.address, authority=str(authority.file))
        with pytest.raises((ConfigurationError, ssl.SSLError)):
            async with operating(server, login=anonymous, fails=True, patience_s=0.0):
                pytest.fail("it was let in")


async def test_a_server_that_is_not_there_is_waited_for_and_then_told() -> None:
    with pytest.raises(ConfigurationError, match=r"is not to be reached.*--server"):
        async with operating(ApiServer(), login=connecting.at("http://127.0.0.1:9"), fails=True, patience_s=0.3):
            pytest.fail("there is nobody")


def test_an_empty_token_names_its_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="is empty"):
        connecting.at("http://127.0.0.1", token_file=str(file))()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        connecting.at("http://127.0.0.1", token_file=str(tmp_path / "none"))()


async def test_writes_are_paced() -> None:
    now, slept = [0.0], []

    async def sleep(seconds: float) -> None:
        slept.append(round(seconds, 3))
        now[0] += seconds

    pace = Pace(per_s=10.0, burst=3.0, clock=lambda: now[0], sleep=sleep)
    for _ in range(5):
        await pace.take()
    assert slept == [0.1, 0.1]
    now[0] += 60.0
    for _ in range(3):
        await pace.take()
    assert slept == [0.1, 0.1]
