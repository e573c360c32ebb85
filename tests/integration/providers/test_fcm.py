from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import structlog
from tests.support.http2_client import eventually
from tests.support.sends import FreePace, Reports, batch_of
from tests.support.simulated_fcm import control, running_simulator

from tocsin.core.outcome import Verdict
from tocsin.core.ports.providers import Batch
from tocsin.providers.fcm import FcmProvider
from tocsin.simulator.fcm import Fcm
from tocsin.simulator.server import Simulator


@pytest.fixture
async def simulator(tmp_path: Path) -> AsyncIterator[Simulator]:
    async with running_simulator(tmp_path) as simulator:
        yield simulator


@pytest.fixture
async def provider(simulator: Simulator) -> AsyncIterator[FcmProvider]:
    provider = provider_for(simulator)
    yield provider
    await provider.close()


def provider_for(simulator: Simulator, **options: object) -> FcmProvider:
    settings: dict[str, object] = {
        "credentials_file": simulator.of(Fcm).account_file,
        "endpoint": simulator.origin,
        "ca_file": simulator.ca_file,
        **options,
    }
    return FcmProvider(**settings)  # type: ignore[arg-type] # options of any kind


async def send(provider: FcmProvider, batch: Batch) -> Reports:
    reports = Reports()
    async with asyncio.timeout(30):
        await provider.send(batch, reports, FreePace())
    return reports


async def test_concurrent_batches_renew_a_refused_token_once(
    provider: FcmProvider, simulator: Simulator
) -> None:
    """Eight batches meet a revoked token: one exchange, everybody sent once."""
    await send(provider, batch_of(["first"]))
    await control(simulator, expire_access_tokens=True)
    batches = [batch_of([f"b{b}-{i}" for i in range(100)]) for b in range(8)]
    reports = await asyncio.gather(*(send(provider, one) for one in batches))
    assert all(one.verdicts() == {Verdict.DELIVERED: 100} for one in reports)
    assert simulator.ledger.answers["token_granted"] == 2
    assert simulator.ledger.stats()["extra"] == 0


async def test_two_providers_of_one_account_share_the_token(
    provider: FcmProvider, simulator: Simulator
) -> None:
    """The process buys one access token, not one per integration."""
    other = provider_for(simulator, integration="fcm-2")
    await send(provider, batch_of(["a"]))
    await send(other, batch_of(["b"]))
    await other.close()
    assert simulator.ledger.answers["token_granted"] == 1


async def test_goaway_in_mid_batch_loses_and_doubles_nothing(
    provider: FcmProvider, simulator: Simulator
) -> None:
    """Requests above GOAWAY's last stream go out again on a new connection."""
    await control(simulator, goaway_after=150)
    targets = [f"t{i}" for i in range(1000)]
    reports = await send(provider, batch_of(targets))
    assert reports.verdicts() == {Verdict.DELIVERED: 1000}
    stats = simulator.ledger.stats()
    assert (stats["distinct"], stats["extra"]) == (1000, 0)
    assert stats["connections"] >= 6


@pytest.mark.parametrize("streams", [1, 7])
async def test_the_servers_stream_limit_is_kept(
    provider: FcmProvider, simulator: Simulator, streams: int
) -> None:
    """A server with few streams gets few at once, also when it changes its mind."""
    await send(provider, batch_of([f"a{i}" for i in range(250)]))
    await control(simulator, max_streams=streams, latency_ms=1)
    reports = await send(provider, batch_of([f"b{i}" for i in range(60)]))
    assert reports.verdicts() == {Verdict.DELIVERED: 60}
    assert simulator.ledger.stats()["extra"] == 0


async def test_token_trouble_passes(
    provider: FcmProvider, simulator: Simulator
) -> None:
    """An outage of the token endpoint is over when it is over."""
    await control(simulator, token={"status": 503, "times": 1})
    first = await send(provider, batch_of(["a"]))
    assert first.codes() == {"token_unavailable": 1}
    async with asyncio.timeout(10):
        while True:
            reports = await send(provider, batch_of(["a"]))
            if reports.codes() == {"": 1}:
                break
            await asyncio.sleep(0.1)
    assert simulator.ledger.answers["token_fault"] == 1


async def test_a_short_lived_token_is_replaced_in_time(
    provider: FcmProvider, simulator: Simulator
) -> None:
    """No send ever meets a 401 because of a token's planned end."""
    await control(simulator, token_lifetime_s=1)
    async with asyncio.timeout(10):
        while simulator.ledger.answers["token_granted"] < 3:
            assert (await send(provider, batch_of(["a"]))).codes() == {"": 1}
            await asyncio.sleep(0.02)
    assert simulator.ledger.answers["unauthenticated"] == 0


async def test_the_ca_file_holds_for_the_token_endpoint(
    simulator: Simulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without it nothing is trusted: no token, a retry, and a log without secrets."""
    provider = provider_for(simulator, ca_file="")
    reports = await send(provider, batch_of(["a"]))
    await provider.close()
    assert reports.codes() == {"token_unavailable": 1}
    assert simulator.ledger.answers["token_granted"] == 0
    assert "PRIVATE KEY" not in capsys.readouterr().out


async def test_an_invalid_grant_is_logged_without_secrets(
    simulator: Simulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """The log names the account and the reason, never key, assertion or token."""
    await control(
        simulator, token={"status": 400, "error": "invalid_grant", "times": 9}
    )
    provider = provider_for(simulator)
    await send(provider, batch_of(["secret-device"]))
    await provider.close()
    text = "".join(capsys.readouterr())
    assert "simulator@tocsin-simulated" in text
    assert "invalid_grant" in text
    assert not any(word in text for word in ("PRIVATE", "eyJ", "secret-device"))


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        # The simulator does not know that token: twice 401 is a matter for a person.
        ({"access_token": "elsewhere", "expires_in": 3600}, "unauthenticated"),
        ({"access_token": "elsewhere"}, "unauthenticated"),
        ({"access_token": "two\r\nlines", "expires_in": 3600}, "token_unavailable"),
        ({"expires_in": 3600}, "credentials_refused"),
        (["rubbish"], "token_unavailable"),
    ],
)
async def test_a_token_endpoint_on_plain_loopback_http(
    simulator: Simulator, tmp_path: Path, answer: object, code: str
) -> None:
    """`token_uri` decides where the token comes from, whatever answers there."""
    with _token_server(json.dumps(answer).encode()) as (uri, asked):
        file = _account_with(simulator, tmp_path, uri)
        provider = provider_for(simulator, credentials_file=str(file))
        reports = await send(provider, batch_of(["a"]))
        await provider.close()
    assert asked
    assert reports.codes() == {code: 1}


async def test_an_authority_that_nobody_trusts_leads_to_the_key(
    simulator: Simulator, tmp_path: Path
) -> None:
    """Of the token endpoint, which the log names, and of the endpoint itself."""
    provider = provider_for(simulator, ca_file="")
    with structlog.testing.capture_logs() as logs:
        reports = await send(provider, batch_of(["a"]))
    await provider.close()
    assert reports.codes() == {"token_unavailable": 1}
    (line,) = (line for line in logs if "token_uri" in line)
    assert "name its authority in push_notifications.fcm.ca_file" in line["reason"]
    answer = json.dumps({"access_token": "x", "expires_in": 3600}).encode()
    with _token_server(answer) as (uri, _):
        file = _account_with(simulator, tmp_path, uri)
        provider = provider_for(simulator, credentials_file=str(file), ca_file="")
        with structlog.testing.capture_logs() as logs:
            await send(provider, batch_of(["a"]))
        await provider.close()
    (line,) = (line for line in logs if line["event"] == "http2_connect_failed")
    assert line["reason"].endswith("name its authority in ca_file")


async def test_a_cancelled_batch_reports_nothing_more(
    provider: FcmProvider, simulator: Simulator
) -> None:
    """Late answers of a batch that was given up reach nobody, and hurt nobody."""
    await control(simulator, latency_ms=50)
    reports = Reports()
    batch = batch_of([f"t{i}" for i in range(20)])
    sending = asyncio.ensure_future(provider.send(batch, reports, FreePace()))
    await eventually(lambda: len(simulator.ledger.delivered) == 20)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert (await send(provider, batch_of(["after"]))).codes() == {"": 1}
    assert reports.outcomes == {}


def _account_with(simulator: Simulator, directory: Path, token_uri: str) -> Path:
    content = json.loads(Path(simulator.of(Fcm).account_file).read_bytes())
    file = directory / "other.json"
    file.write_text(json.dumps({**content, "token_uri": token_uri}))
    return file


@contextmanager
def _token_server(body: bytes) -> Iterator[tuple[str, list[bytes]]]:
    asked: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Quiet."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/token", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
