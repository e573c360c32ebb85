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
PROVIDERS = {
    "android": (("fcm", "hms"), (85, 15)),
    "ios": (("apns", "fcm"), (80, 20)),
    "web": (("webpush", "fcm"), (90, 10)),
}
PHONES = ("Pixel 9", "Galaxy S25", "Xperia 1 VI", "Nord 4", "Redmi Note 14")
TEAMS = ("arsenal", "bayern", "santos", "porto", "kashima", "omonia")
TOKEN_CHARS = string.ascii_letters + string.digits + "-_"


def make_token(rng: random.Random, provider: str) -> str:
    """A token as the provider's would look, some of them dead or flaky."""
    chance = rng.random()
    fault = ""
    if chance < DEAD_SHARE:
        fault = "dead-"
    elif chance < DEAD_SHARE + FLAKY_SHARE and provider != "hms":
        # Push Kit takes or refuses requests of many tokens as a whole.
        fault = "flaky-"
    name = "".join(rng.choices(TOKEN_CHARS, k=22))
    if provider == "webpush":
        # The demo asks the simulator for a subscription of this name.
        return f"simulator:{fault}{name}"
    if provider == "apns":
        # Apple's tokens are hexadecimal; the simulator reads the fault in them.
        return f"{fault}{name}".encode().hex() if fault else rng.randbytes(32).hex()
    return f"{fault}{name}:APA91b{''.join(rng.choices(TOKEN_CHARS, k=134))}"


def make_device(rng: random.Random, number: int) -> dict[str, object]:
    """One registration; most users have one device, some have several."""
    platform = rng.choices(("android", "ios", "web"), weights=(62, 30, 8))[0]
    provider = rng.choices(*PROVIDERS[platform])[0]
    locale = rng.choice(list(LOCALES))
    topics = ["announcements", *rng.sample(TEAMS, k=rng.choice((0, 1, 1, 2)))]
    device: dict[str, object] = {
        "provider": provider,
        "platform": platform,
        "token": make_token(rng, provider),
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
