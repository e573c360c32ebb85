"""Writes examples/devices.jsonl: 5,000 devices as an app would register them.

One DeviceRegister request as JSON a line. The seed is fixed, so that the file
only changes when this script does. Tokens that begin with `dead-` are answered
by the simulator as unregistered, those with `flaky-` fail once before they work.
"""

from __future__ import annotations

import json
import random
import string
from pathlib import Path

DEVICES = 5000
USERS = 3400
DEAD_SHARE = 0.02
FLAKY_SHARE = 0.005
LOCALES = {
    "en-US": ("America/New_York", "America/Chicago", "America/Los_Angeles"),
    "en-GB": ("Europe/London",),
    "de-DE": ("Europe/Berlin",),
    "pt-BR": ("America/Sao_Paulo",),
    "fr-FR": ("Europe/Paris",),
    "ja-JP": ("Asia/Tokyo",),
    "el-CY": ("Asia/Nicosia",),
    "hi-IN": ("Asia/Kolkata",),
}
PHONES = ("Pixel 9", "Galaxy S25", "Xperia 1 VI", "Nord 4", "Redmi Note 14")
TEAMS = ("arsenal", "bayern", "santos", "porto", "kashima", "omonia")
TOKEN_CHARS = string.ascii_letters + string.digits + "-_"


def make_token(rng: random.Random) -> str:
    """A string of the length and alphabet of an FCM registration token."""
    head = "".join(rng.choices(TOKEN_CHARS, k=22))
    tail = "".join(rng.choices(TOKEN_CHARS, k=134))
    token = f"{head}:APA91b{tail}"
    chance = rng.random()
    if chance < DEAD_SHARE:
        return f"dead-{token}"
    if chance < DEAD_SHARE + FLAKY_SHARE:
        return f"flaky-{token}"
    return token


def make_device(rng: random.Random, number: int) -> dict[str, object]:
    """One registration; most users have one device, some have several."""
    platform = rng.choices(("android", "ios", "web"), weights=(62, 30, 8))[0]
    locale = rng.choice(list(LOCALES))
    topics = ["announcements", *rng.sample(TEAMS, k=rng.choice((0, 1, 1, 2)))]
    device: dict[str, object] = {
        "provider": "fcm",
        "platform": platform,
        "token": make_token(rng),
        "topics": topics,
        "locale": locale,
        "timezone": rng.choice(LOCALES[locale]),
        "meta": {"app_version": f"5.{rng.randint(0, 9)}.{rng.randint(0, 30)}"},
    }
    if platform == "android":
        device["meta"] = {**device["meta"], "model": rng.choice(PHONES)}  # type: ignore[dict-item]
    if rng.random() < 0.93:
        device["user"] = f"user-{(number * 7919) % USERS:04d}"
    return device


def main() -> None:
    """Write the file beside this script."""
    rng = random.Random(20261123)  # noqa: S311 - example data, the same every time
    path = Path(__file__).with_name("devices.jsonl")
    with path.open("w", encoding="utf-8") as file:
        for number in range(DEVICES):
            device = make_device(rng, number)
            file.write(json.dumps(device, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
