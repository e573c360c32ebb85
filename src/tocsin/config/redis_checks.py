"""Keys about Redis that contradict each other. Part of `config`.

It must not connect to anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tocsin.config.redis_addresses import parse_redis

if TYPE_CHECKING:  # root imports the sections, checks import root
    from tocsin.config.root import Config

_ENGINE = "engine.redis"
_QUEUE = "push_notifications.queue.redis"
_BRACES = "must hold no { or }: in a cluster they decide where a key lies"

# A blocked read waits a second for work and must not time out meanwhile.
_LEAST_WAIT_S = 2.0

Found = tuple[str, str, tuple[str, ...]]
"""Path, message, and the keys that the message depends on."""


def find_redis_faults(config: Config) -> Iterator[Found]:
    """Every fault between keys of the engine's Redis and of the queue's."""
    yield from _check_reuse(config)
    if config.engine.type == "redis":
        yield from _check_engine(config)
    if config.push_notifications.enabled and config.queue_kind == "redis":
        yield from _check_queue(config)


def _check_engine(config: Config) -> Iterator[Found]:
    redis = config.engine.redis
    about = ("engine",)
    if not _is_cluster_among(redis.address):
        return
    if redis.db:
        yield f"{_ENGINE}.db", "must be 0: a cluster has no other database", about
    if _has_braces(redis.prefix):
        yield f"{_ENGINE}.prefix", _BRACES, about


def _check_queue(config: Config) -> Iterator[Found]:
    redis = config.push_notifications.queue.redis
    about = (_QUEUE, "engine", "push_notifications.enabled")
    if len(redis.address) > 1:
        message = (
            "must be one address: the queue is not spread over several; a cluster"
            " is one, its other nodes are &addr="
        )
        if redis.reuse_from_engine:
            message = f"needs a single engine.redis.address: it {message}"
            yield f"{_QUEUE}.reuse_from_engine", message, about
        else:
            yield f"{_QUEUE}.address", message, about
    if _is_cluster_among(redis.address) and _has_braces(redis.prefix):
        yield f"{_QUEUE}.prefix", _BRACES, about
    timeouts_s = [parse_redis(address).io_timeout_s for address in redis.address]
    if any(each is not None and each < _LEAST_WAIT_S for each in timeouts_s):
        name = "reuse_from_engine" if redis.reuse_from_engine else "address"
        message = "needs an io_timeout of 2s or more: a worker waits a second for work"
        yield f"{_QUEUE}.{name}", message, about


def _check_reuse(config: Config) -> Iterator[Found]:
    redis = config.push_notifications.queue.redis
    if not redis.reuse_from_engine:
        return
    key = f"{_QUEUE}.reuse_from_engine"
    about = (_QUEUE, "engine")
    if "address" in redis.model_fields_set and redis.address:
        yield key, "is set together with address; keep one", about
    elif config.engine.type != "redis":
        yield key, "needs engine.type redis", about


def _is_cluster_among(addresses: tuple[str, ...]) -> bool:
    return any(parse_redis(address).kind == "cluster" for address in addresses)


def _has_braces(prefix: str) -> bool:
    return not {"{", "}"}.isdisjoint(prefix)
