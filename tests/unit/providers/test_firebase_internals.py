"""Each test names what of firebase-admin's inside has changed, when a version does."""

from __future__ import annotations

import ast
import inspect
import itertools
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import firebase_admin
import httpx
import pytest
from firebase_admin import _http_client, _retry, credentials, messaging
from firebase_admin.exceptions import FirebaseError
from google.auth.credentials import Credentials

import tocsin
from tocsin.providers import firebase_internals
from tocsin.providers.firebase_internals import MessagingService

URL = "https://fcm.test/v1/projects/p/messages:send"
MESSAGE = {"token": "t", "data": {"k": "v"}, "newer than the SDK": True}

_numbers = itertools.count()

# --- names -------------------------------------------------------------------

_METHODS: tuple[tuple[type, str, str], ...] = (
    (messaging._MessagingService, "__init__", "self app"),
    (messaging._MessagingService, "_message_data", "self message dry_run"),
    (messaging._MessagingService, "send_each_async", "self messages dry_run"),
    (_http_client.HttpxAsyncClient, "request", "self method url kwargs"),
    (_http_client.HttpxAsyncClient, "aclose", "self"),
    (_http_client.GoogleAuthCredentialFlow, "__init__", "self credential"),
    (_retry.HttpxRetryTransport, "__init__", "self retry kwargs"),
)


@pytest.mark.parametrize(("owner", "name", "wanted"), _METHODS)
def test_a_method_takes_what_we_give(owner: type, name: str, wanted: str) -> None:
    """There is one of that name with these parameters."""
    method = getattr(owner, name, None)
    assert method is not None, f"{owner.__name__}.{name} is gone"
    assert " ".join(inspect.signature(method).parameters) == wanted, name


def test_retries_can_be_switched_off() -> None:
    """By the one option that we give."""
    assert "max_retries" in inspect.signature(_retry.HttpxRetry).parameters
    assert _retry.HttpxRetry(max_retries=0).retries_left == 0


def test_the_sdk_says_what_it_is() -> None:
    """The headers by which Google counts its SDKs are where we take them from."""
    assert _http_client.METRICS_HEADERS["x-goog-api-client"].startswith("gl-python/")


def test_a_service_keeps_its_parts_where_we_look() -> None:
    """Their names, and what they are."""
    app = _app(_Credential())
    service = messaging._MessagingService(app)
    assert service._fcm_url == "https://fcm.googleapis.com/v1/projects/p/messages:send"
    assert isinstance(service._async_client, _http_client.HttpxAsyncClient)
    assert isinstance(service._credential, Credentials)
    assert callable(service._client.close)
    service._client.close()
    firebase_admin.delete_app(app)


def test_our_client_has_all_that_the_sdk_s_client_reads() -> None:
    """Its constructor is not ours: what it sets and its methods read, we set."""
    made = vars(_http_client.HttpxAsyncClient())
    ours = vars(
        firebase_internals._HttpClient(
            _Credential(), ssl.create_default_context(), 1, {}
        )
    )
    needless = {"_headers", "_retry_config", "_mounts"}
    assert set(made) - needless == set(ours)
    source = inspect.getsource(_http_client.HttpxAsyncClient)
    _, _, methods = source.partition("def base_url")
    assert not [name for name in needless if name in methods]


def test_nobody_else_knows_the_inside() -> None:
    """No other module imports or reads a name of the SDK that begins with `_`."""
    found = []
    for path in Path(tocsin.__file__).parent.rglob("*.py"):
        names = set()
        text = path.read_text()
        if "firebase_admin" not in text:
            continue  # reading them all as syntax takes seconds
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and node.module == "firebase_admin":
                names |= {each.name for each in node.names}
                if any(name.startswith("_") for name in names):
                    found.append(path.stem)
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id in names
                and node.attr.startswith("_")
            ):
                found.append(path.stem)
    assert set(found) == {"firebase_internals"}


# --- effects -----------------------------------------------------------------


class _Credential(Credentials):
    """A numbered token, another with each refresh."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # half typed
        self.number = 1

    def before_request(
        self, _request: Any, _method: str, _url: str, headers: MutableMapping[str, str]
    ) -> None:
        headers["authorization"] = f"Bearer {self.number}"

    def refresh(self, _request: Any) -> None:
        self.number += 1


class _Account(credentials.Base):  # type: ignore[misc] # ships no types
    def __init__(self, credential: Credentials) -> None:
        self._credential = credential

    def get_credential(self) -> Credentials:
        return self._credential


def _app(credential: Credentials) -> firebase_admin.App:
    return firebase_admin.initialize_app(
        _Account(credential), {"projectId": "p"}, name=f"inside-{next(_numbers)}"
    )


class _Server:
    """What httpx would reach, in memory."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.used: list[str] = []
        self.answers: Iterator[httpx.Response | httpx.HTTPError] = iter(())
        self.hooked: list[str] = []

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self.used.append(request.headers["authorization"])
        answer = next(self.answers)
        if isinstance(answer, httpx.HTTPError):
            raise answer
        return answer

    async def note_request(self, _request: httpx.Request) -> None:
        self.hooked.append("request")

    async def note_response(self, response: httpx.Response) -> None:
        self.hooked.append(str(response.status_code))


@pytest.fixture
def server() -> _Server:
    return _Server()


@pytest.fixture
async def service(
    server: _Server, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[MessagingService]:
    made: list[dict[str, Any]] = []

    def transport(**options: Any) -> httpx.MockTransport:
        made.append(options)
        return httpx.MockTransport(server.answer)

    app, trust = _app(_Credential()), ssl.create_default_context()
    with monkeypatch.context() as patched:
        patched.setattr(httpx, "AsyncHTTPTransport", transport)
        service = MessagingService(
            app,
            URL,
            trust,
            5,
            {"request": [server.note_request], "response": [server.note_response]},
        )
    # Of the client that all requests go through, made last: our trust, no retries.
    assert made[-1]["verify"] is trust
    assert made[-1]["retries"] == 0
    yield service
    await service.aclose()
    firebase_admin.delete_app(app)


def _ok() -> httpx.Response:
    return httpx.Response(200, json={"name": "projects/p/messages/7"})


@pytest.mark.parametrize("dry_run", [False, True])
async def test_a_message_goes_out_as_it_is(
    service: MessagingService, server: _Server, dry_run: bool
) -> None:
    """To our address, in one request, with the token and what the SDK adds."""
    server.answers = iter([_ok()])
    batch = await service.send_each_async([MESSAGE], dry_run)
    assert batch.responses[0].message_id == "projects/p/messages/7"
    assert batch.responses[0].exception is None
    (request,) = server.requests
    assert (request.method, str(request.url)) == ("POST", URL)
    assert request.headers["authorization"] == "Bearer 1"
    assert request.headers["x-goog-api-client"].startswith("gl-python/")
    assert request.headers["x-firebase-client"].startswith("fire-admin-python/")
    wanted: dict[str, Any] = {"message": MESSAGE}
    if dry_run:
        wanted["validate_only"] = True
    assert httpx.Response(200, content=request.content).json() == wanted
    assert server.hooked == ["request", "200"]


async def test_a_refused_token_is_refreshed_and_tried_again(
    service: MessagingService, server: _Server
) -> None:
    """By the credential that the app has."""
    server.answers = iter([httpx.Response(401), _ok()])
    await service.send_each_async([MESSAGE], False)
    assert server.used == ["Bearer 1", "Bearer 2"]


@pytest.mark.parametrize("status", [404, 429, 500, 503])
async def test_an_error_is_told_at_once(
    service: MessagingService, server: _Server, status: int
) -> None:
    """The SDK tries nothing again, and gives out the answer that we read."""
    server.answers = iter([httpx.Response(status, content=b"{}")])
    batch = await service.send_each_async([MESSAGE], False)
    error = batch.responses[0].exception
    assert isinstance(error, FirebaseError)
    assert error.http_response.status_code == status
    assert error.http_response.content == b"{}"
    assert len(server.requests) == 1


@pytest.mark.parametrize("fault", [httpx.ConnectError, httpx.ReadTimeout])
async def test_a_fault_of_the_network_is_the_cause(
    service: MessagingService, server: _Server, fault: Callable[[str], httpx.HTTPError]
) -> None:
    """There is no answer then; what happened tells whether the message may be out."""
    server.answers = iter([fault("no route")])
    batch = await service.send_each_async([MESSAGE], False)
    error = batch.responses[0].exception
    assert error.http_response is None
    assert isinstance(error.cause, httpx.TransportError)
    assert len(server.requests) == 1
