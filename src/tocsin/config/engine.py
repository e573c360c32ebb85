"""Sections of the engine and of the node itself. Part of `config`.

It must not connect to anything.
"""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import parse_qsl, quote

from pydantic import AfterValidator, Field, SecretStr

from tocsin.config.client import Delay
from tocsin.config.fields import (
    Bool,
    Duration,
    Holds,
    Int,
    Kind,
    Secret,
    Section,
    Shown,
    Text,
    Texts,
)
from tocsin.config.redis_addresses import check_redis

_DEFAULT_ADDRESS = "redis://127.0.0.1:6379"


class RedisEngine(Section):
    """Redis as the engine."""

    address: Annotated[
        Texts,
        AfterValidator(check_redis),
        Kind("string or list"),
        Shown(_DEFAULT_ADDRESS),
        Holds(),
        Field(repr=False, min_length=1),
    ] = (_DEFAULT_ADDRESS,)
    """host:port, redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://;
    channels are spread over several"""
    prefix: Annotated[Text, Field(min_length=1, max_length=100)] = "centrifugo"
    """prefix of every Redis key and channel"""
    connect_timeout: Delay = 1.0
    """how long a connection may take"""
    io_timeout: Delay = 4.0
    """how long an answer may take"""
    db: Annotated[Int, Field(ge=0, le=10_000)] = 0
    """database number, where the address names none; a cluster has 0 only"""
    user: Text = ""
    """user, where the address names none"""
    password: Secret = SecretStr("")
    """password, where the address names none"""
    presence_ttl: Annotated[Duration, Field(ge=1)] = 60.0
    """how long a presence entry lives after its last renewal"""

    @property
    def urls(self) -> tuple[str, ...]:
        """The addresses with user, password and database put in."""
        return tuple(self._url(address) for address in self.address)

    def _url(self, address: str) -> str:
        if "://" not in address:
            address = f"redis://{address}"
        # By hand: the library's functions take unix:///path apart and not together.
        scheme, _, rest = address.partition("://")
        where, _, query = rest.partition("?")
        netloc, slash, path = where.partition("/")
        password = self.password.get_secret_value()
        if "@" not in netloc and (self.user or password):
            netloc = f"{quote(self.user, safe='')}:{quote(password, safe='')}@{netloc}"
        is_socket = scheme == "unix"
        names_db = "db" in dict(parse_qsl(query)) or (path and not is_socket)
        if self.db and not names_db and not scheme.endswith("+cluster"):
            if is_socket:
                query = "&".join(filter(None, [query, f"db={self.db}"]))
            else:
                slash, path = "/", str(self.db)
        scheme = "redis" if scheme == "tcp" else scheme
        return f"{scheme}://{netloc}{slash}{path}" + (f"?{query}" if query else "")


class EngineSection(Section):
    """Where channels live."""

    type: Annotated[Literal["memory", "redis"], Kind("string")] = "memory"
    """memory: one node alone; redis: all nodes on the same Redis"""
    redis: RedisEngine = RedisEngine()


class Node(Section):
    """What this node tells about itself."""

    name: Annotated[Text, Shown("host_port")] = ""
    """name in the answer to info"""
    info_metrics_aggregate_interval: Delay = 60.0
    """over how long metrics in the answer to info are counted"""


class RpcPing(Section):
    """A method for measuring round trips."""

    enabled: Bool = False
    """answer this method"""
    method: Annotated[Text, Field(min_length=1)] = "ping"
    """its name"""


class Rpc(Section):
    """Methods that clients may call."""

    ping: RpcPing = RpcPing()


Storage = Annotated[
    Literal["", "memory", "redis"], Kind("string"), Shown("as engine.type")
]


class UserStatusSection(Section):
    """When users were active and online."""

    enabled: Bool = True
    """keep it"""
    expire_interval: Annotated[Duration, Field(ge=1)] = 720 * 3600.0
    """how long it is kept after its last change"""


class Denials(Section):
    """Something that is no longer let in."""

    enabled: Bool = True
    """serve the calls, and look at every connect"""
    storage_type: Storage = ""
    """memory (of this node alone) or redis (engine.redis)"""
