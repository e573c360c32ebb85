"""firebase-admin as its users use it, against the simulator.

The SDK has no option for its endpoint, so the class attribute that holds it is set;
trust comes from the environment. Nothing else of it is touched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import firebase_admin
import pytest
from firebase_admin import credentials, exceptions, messaging
from tests.support.simulated_fcm import simulator_in_thread

from tocsin.simulator.fcm import Fcm
from tocsin.simulator.server import Simulator

# Tokens are what most applications still have.
pytestmark = pytest.mark.filterwarnings("ignore:Message.token is deprecated")


@pytest.fixture
def simulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    with simulator_in_thread(tmp_path) as simulator:
        for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
            monkeypatch.setenv(name, simulator.ca_file)
        monkeypatch.delenv("SSL_CERT_DIR", raising=False)
        monkeypatch.setattr(
            messaging._MessagingService,
            "FCM_URL",
            simulator.origin + "/v1/projects/{0}/messages:send",
        )
        yield simulator


@pytest.fixture
def app(simulator: Simulator) -> Iterator[firebase_admin.App]:
    certificate = credentials.Certificate(simulator.of(Fcm).account_file)
    app = firebase_admin.initialize_app(certificate, name="conformance")
    yield app
    messaging._get_messaging_service(app)._client.close()
    firebase_admin.delete_app(app)


def message(token: str) -> messaging.Message:
    return messaging.Message(
        token=token,
        notification=messaging.Notification(title="Tocsin", body="It rings"),
        data={"k": "v"},
        android=messaging.AndroidConfig(ttl=3600, priority="high"),
    )


def test_send_succeeds(simulator: Simulator, app: firebase_admin.App) -> None:
    """The SDK buys a token, sends, and reads the name."""
    name = messaging.send(message("device-1"), app=app)
    assert name.startswith("projects/tocsin-simulated/messages/0:")
    assert simulator.ledger.delivered == {"device-1": 1}
    assert simulator.ledger.answers["token_granted"] == 1


def test_a_dry_run_has_its_own_id(
    simulator: Simulator, app: firebase_admin.App
) -> None:
    """validate_only reaches nobody."""
    name = messaging.send(message("device-1"), dry_run=True, app=app)
    assert name.endswith("/fake_message_id")
    assert simulator.ledger.delivered == {}


@pytest.mark.parametrize(
    ("token", "error"),
    [
        ("dead-1", messaging.UnregisteredError),
        ("mismatch-1", messaging.SenderIdMismatchError),
        ("quota-1", messaging.QuotaExceededError),
        ("thirdparty-1", messaging.ThirdPartyAuthError),
        ("badtoken-1", exceptions.InvalidArgumentError),
        ("denied-1", exceptions.PermissionDeniedError),
        ("lost-1", exceptions.NotFoundError),
    ],
)
def test_errors_have_their_own_classes(
    app: firebase_admin.App, token: str, error: type[Exception]
) -> None:
    """Bodies and types are exact enough for the SDK to tell errors apart."""
    with pytest.raises(error) as caught:
        messaging.send(message(token), app=app)
    assert type(caught.value) is error


def test_an_expired_access_token_is_replaced(
    simulator: Simulator, app: firebase_admin.App
) -> None:
    """The SDK renews on 401 and sends again."""
    messaging.send(message("device-1"), app=app)
    simulator.expire_access_tokens()
    messaging.send(message("device-2"), app=app)
    assert simulator.ledger.answers["token_granted"] == 2
    assert simulator.ledger.answers["unauthenticated"] == 1


def test_send_each_gives_results_in_order(app: firebase_admin.App) -> None:
    """One dead token among good ones, by threads over HTTP/1.1."""
    batch = messaging.send_each(
        [message("a"), message("dead-1"), message("b")], app=app
    )
    assert [one.success for one in batch.responses] == [True, False, True]
    assert isinstance(batch.responses[1].exception, messaging.UnregisteredError)


def test_send_each_async_speaks_http2(
    simulator: Simulator, app: firebase_admin.App
) -> None:
    """The same over the SDK's own HTTP/2 client, with all error classes."""
    tokens = ["a", "dead-1", "mismatch-1", "quota-1", "b"]

    async def run() -> messaging.BatchResponse:
        batch = await messaging.send_each_async(
            [message(token) for token in tokens], app=app
        )
        await messaging._get_messaging_service(app)._async_client.aclose()
        return batch

    batch = asyncio.run(run())
    assert [type(one.exception) for one in batch.responses] == [
        type(None),
        messaging.UnregisteredError,
        messaging.SenderIdMismatchError,
        messaging.QuotaExceededError,
        type(None),
    ]
    assert simulator.ledger.delivered == {"a": 1, "b": 1}
