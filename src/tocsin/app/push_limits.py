"""From `push_notifications.limits` to what the services check by, at any time."""

from __future__ import annotations

from collections.abc import Callable

from tocsin.config import Config
from tocsin.push.checks import DeviceLimits


def read_limits(config: Config) -> DeviceLimits:
    """What that section says."""
    limits = config.push_notifications.limits
    return DeviceLimits(
        token_length=limits.token_length,
        topic_length=limits.topic_length,
        topics_per_device=limits.topics_per_device,
        page_size=limits.page_size,
        payload_size=limits.payload_size,
    )


def prepare_limits(limits: DeviceLimits, config: Config) -> Callable[[], None]:
    """The call that lets these limits be those of another configuration."""
    fresh = read_limits(config)
    return lambda: limits.take(fresh)
