"""aioapns as its users use it, against the simulator.

The library knows Apple's hosts only, so the class attributes that hold them are set,
and it is given an SSL context. Nothing else of it is touched.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aioapns import APNs, NotificationRequest, PushType
from aioapns.common import NotificationResult
from aioapns.connection import APNsDevelopmentClientProtocol
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from tests.support.apns_devices import token_of
from tests.support.simulated_fcm import control, running_simulator

from tocsin.simulator.apns_keys import BUNDLE_ID, KEY_ID, P12_PASSWORD, TEAM_ID
from tocsin.simulator.apns_listener import ApnsListener
from tocsin.simulator.server import Simulator

MESSAGE = {"aps": {"alert": "It rings"}}


@pytest.fixture
async def simulator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Simulator]:
    async with running_simulator(tmp_path) as simulator:
        where = urlsplit(simulator.of(ApnsListener).origin)
        kind = APNsDevelopmentClientProtocol
        monkeypatch.setattr(kind, "APNS_SERVER", where.hostname)
        monkeypatch.setattr(kind, "APNS_PORT", where.port)
        yield simulator


def trust(simulator: Simulator, *protocols: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=simulator.ca_file)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


@pytest.fixture(params=[(), ("h2",)], ids=["no-alpn", "alpn"])
async def client(
    request: pytest.FixtureRequest, simulator: Simulator
) -> AsyncIterator[APNs]:
    """Its own default offers no ALPN at all."""
    client = client_for(simulator, trust(simulator, *request.param))
    yield client
    await close(client)


def client_for(
    simulator: Simulator, context: ssl.SSLContext, *, max_connections: int = 1
) -> APNs:
    return APNs(
        key=Path(simulator.of(ApnsListener).key_file).read_text(),
        key_id=KEY_ID,
        team_id=TEAM_ID,
        topic=BUNDLE_ID,
        use_sandbox=True,
        max_connections=max_connections,
        ssl_context=context,
    )


async def close(client: APNs) -> None:
    client.pool.close()
    async with asyncio.timeout(5):
        while client.pool.connections:  # noqa: ASYNC110 - it says it to nobody
            await asyncio.sleep(0.005)


async def send(client: APNs, name: str, **options: object) -> NotificationResult:
    request = NotificationRequest(token_of(name), MESSAGE, **options)  # type: ignore[arg-type] # options of any kind
    return await asyncio.wait_for(client.send_notification(request), 10)


async def test_a_push_arrives(client: APNs, simulator: Simulator) -> None:
    """With every option that the library has."""
    result = await send(
        client,
        "a",
        time_to_live=60,
        priority=5,
        collapse_key="c",
        push_type=PushType.ALERT,
    )
    assert result.is_successful
    assert simulator.ledger.delivered == {"a": 1}
    headers = simulator.of(ApnsListener).apns.requests[-1].headers
    assert headers["apns-id"] == result.notification_id
    assert headers["host"] == urlsplit(simulator.of(ApnsListener).origin).hostname
    assert ":authority" not in headers


async def test_a_thousand_pushes_share_a_connection(
    client: APNs, simulator: Simulator
) -> None:
    """Each answer finds its request by the id that is given back."""
    await send(client, "first")
    names = [f"d{number}" for number in range(1000)]
    results = await asyncio.gather(*(send(client, name) for name in names))
    assert all(result.is_successful for result in results)
    assert simulator.ledger.stats()["extra"] == 0
    assert simulator.ledger.connections == 1


@pytest.mark.parametrize(
    ("name", "status", "reason"),
    [
        ("badtoken-1", "400", "BadDeviceToken"),
        ("dead-1", "410", "Unregistered"),
        ("toobig-1", "413", "PayloadTooLarge"),
        ("quota-1", "429", "TooManyRequests"),
        ("internal-1", "500", "InternalServerError"),
        ("shutdown-1", "503", "Shutdown"),
    ],
)
async def test_refusals_are_understood(
    client: APNs, name: str, status: str, reason: str
) -> None:
    """Status and reason, and the time of death with a 410."""
    result = await send(client, name)
    assert (result.status, result.description) == (status, reason)
    assert (result.timestamp is not None) == (status == "410")


async def test_its_tokens_per_connection_are_too_many(simulator: Simulator) -> None:
    """The library mints one per connection, which Apple refuses."""
    client = client_for(simulator, trust(simulator), max_connections=2)
    other = client_for(simulator, trust(simulator), max_connections=2)
    assert (await send(client, "a")).is_successful
    refused = await send(other, "b")
    assert refused.description == "TooManyProviderTokenUpdates"
    await close(client)
    await close(other)


# The library reads the UID by a call that pyOpenSSL has given up.
@pytest.mark.filterwarnings("ignore:X509.get_subject:DeprecationWarning")
async def test_a_certificate_survives_goodbyes(
    simulator: Simulator, tmp_path: Path
) -> None:
    """It needs no token, its UID is the topic, and new connections are made."""
    file = tmp_path / "client.pem"
    file.write_bytes(pem_of(simulator))
    client = APNs(client_cert=str(file), use_sandbox=True, ssl_context=trust(simulator))
    await control(simulator, goaway_after=3)
    for number in range(10):
        assert (await send(client, f"d{number}")).is_successful
    assert simulator.ledger.stats()["distinct"] == 10
    headers = simulator.of(ApnsListener).apns.requests[-1].headers
    assert headers["apns-topic"] == BUNDLE_ID
    assert "authorization" not in headers
    await close(client)


def pem_of(simulator: Simulator) -> bytes:
    """The client certificate and its key as the library wants them."""
    raw = Path(simulator.of(ApnsListener).p12_file).read_bytes()
    found = pkcs12.load_pkcs12(raw, P12_PASSWORD.encode())
    assert found.cert is not None
    assert found.key is not None
    return found.cert.certificate.public_bytes(Encoding.PEM) + found.key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
