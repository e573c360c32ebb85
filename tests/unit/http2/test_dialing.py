from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence

import pytest

from tocsin.http2 import Dialer
from tocsin.http2.head import Origin

ORIGIN = Origin.parse("https://push.example")
SOON, NEVER = 0.01, 60.0


class Net:
    """Addresses with a behaviour each; keeps who was tried and who was closed.

    `dead` says nothing, `silent` takes the connection only, `refused` fails at once.
    """

    def __init__(self, **behaviour: str) -> None:
        self.behaviour = behaviour
        self.order = list(behaviour)
        self.tried: list[str] = []
        self.discarded: list[str] = []
        self.cancelled: list[str] = []

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        assert (host, port) == ("push.example", 443)
        return self.order

    async def attempt(self, address: str, reached: Callable[[], None]) -> str:
        self.tried.append(address)
        try:
            match self.behaviour[address]:
                case "refused":
                    raise ConnectionRefusedError("refused")
                case "untrusted":
                    raise ssl.SSLCertVerificationError("certificate")
                case "dead":
                    await asyncio.Event().wait()
                case "silent":
                    reached()
                    await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.append(address)
            raise
        return address

    def dialer(self, *, next_s: float = SOON, handshake_s: float = SOON) -> Dialer[str]:
        return Dialer(
            ORIGIN,
            self.attempt,
            self.discarded.append,
            self.resolve,
            next_s,
            handshake_s,
        )


@pytest.mark.parametrize("fault", ["dead", "silent", "refused", "untrusted"])
async def test_the_next_address_is_taken(fault: str) -> None:
    """Whatever is wrong with the first one, the second works."""
    net = Net(a=fault, b="works")
    assert await net.dialer().connect() == "b"
    assert net.cancelled == (["a"] if fault in ("dead", "silent") else [])


async def test_a_failure_is_not_waited_for() -> None:
    """A refused connection makes room for the next address at once."""
    async with asyncio.timeout(5):
        net = Net(a="refused", b="works")
        assert await net.dialer(next_s=NEVER).connect() == "b"


async def test_an_address_that_answers_is_given_time_for_its_handshake() -> None:
    """A distant server is slow to greet; that alone opens no second connection."""
    net = Net(a="silent", b="works")
    dialing = asyncio.create_task(net.dialer(handshake_s=NEVER).connect())
    await asyncio.sleep(SOON * 5)
    assert net.tried == ["a"]
    dialing.cancel()
    await asyncio.wait([dialing])
    assert net.cancelled == ["a"]


async def test_an_overtaken_address_is_tried_last_from_then_on() -> None:
    """The wait is paid once, not for each connection."""
    net = Net(a="dead", b="silent", c="works", d="works")
    dialer = net.dialer()
    await dialer.connect()
    net.tried.clear()
    await dialer.connect()
    assert net.tried == ["c"]


async def test_an_address_that_is_well_again_is_found() -> None:
    """Tried last is tried all the same."""
    net = Net(a="dead", b="works")
    dialer = net.dialer()
    await dialer.connect()
    net.behaviour.update(a="works", b="dead")
    assert await dialer.connect() == "a"
    net.tried.clear()
    await dialer.connect()
    assert net.tried == ["a"]


async def test_families_take_turns() -> None:
    """All of IPv6 may be broken: it costs one wait, not one for each address."""
    net = Net(**dict.fromkeys(("1::", "2::", "3::", "10.0.0.1"), "dead"))
    net.behaviour["10.0.0.1"] = "works"
    assert await net.dialer().connect() == "10.0.0.1"
    assert net.tried == ["1::", "10.0.0.1"]


async def test_who_comes_too_late_is_closed() -> None:
    """A connection that is ready just after the winner is not left open."""
    net = Net(a="dead", b="works")

    async def attempt(address: str, reached: Callable[[], None]) -> str:
        if address == "a":
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return "a"
        return await net.attempt(address, reached)

    dialer = net.dialer()
    dialer.attempt = attempt
    assert await dialer.connect() == "b"
    assert net.discarded == ["a"]


async def test_every_address_is_named_when_none_works() -> None:
    """Whoever reads the log sees what became of each."""
    net = Net(a="refused", b="refused")
    with pytest.raises(OSError, match=r"^a: refused; b: refused$"):
        await net.dialer().connect()


async def test_a_wrong_certificate_is_the_reason_that_is_given() -> None:
    """It says more than a refused connection to another address."""
    with pytest.raises(ssl.SSLCertVerificationError):
        await Net(a="refused", b="untrusted", c="refused").dialer().connect()


async def test_no_address_is_an_error() -> None:
    """A resolver may find nothing."""
    with pytest.raises(OSError, match="no address"):
        await Net().dialer().connect()


async def test_an_address_to_be_avoided_is_tried_last() -> None:
    """It connects, but whoever used the connection got no answer."""
    net = Net(a="works", b="works")
    dialer = net.dialer()
    assert await dialer.connect() == "a"
    dialer.avoid("a")
    assert await dialer.connect() == "b"
