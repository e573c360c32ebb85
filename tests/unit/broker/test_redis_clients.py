import pytest

from tocsin.broker.redis_clients import EngineAddressError, open_clients


async def test_each_url_is_a_client_in_its_order() -> None:
    """With user, password and database; nothing is connected yet."""
    clients = open_clients(
        ["redis://u:p%40@h:1/2", "rediss://h:3", "unix:///tmp/r.sock"],
        connect_timeout_s=0.5,
        io_timeout_s=0.7,
    )
    first, second, third = (c.connection_pool.connection_kwargs for c in clients)
    assert (first["host"], first["port"], first["db"]) == ("h", 1, 2)
    assert (first["username"], first["password"]) == ("u", "p@")
    assert (first["socket_connect_timeout"], first["socket_timeout"]) == (0.5, 0.7)
    assert second["port"] == 3
    assert third["path"] == "/tmp/r.sock"


@pytest.mark.parametrize(
    "url", ["redis+sentinel://h:1", "redis+cluster://h/1", "h", "redis://h:port"]
)
def test_an_address_that_cannot_be_used_says_which_can(url: str) -> None:
    """Nothing is guessed, and the password is not repeated."""
    with pytest.raises(EngineAddressError, match=r"engine\.redis\.address"):
        open_clients([url])
