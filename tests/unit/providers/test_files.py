"""Files that a provider's keys name: the error says key and file, and no secret."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from tests.support.browsers import PRIVATE_KEY, PUBLIC_KEY

from tocsin.providers.errors import ProviderSetupError
from tocsin.providers.files import load_trust, read_file
from tocsin.providers.webpush import WebPushProvider

PASTED = "-----BEGIN PRIVATE KEY-----MIGHAgEAMBMGByqGSM49AgEGCCqGSM49"
WEBPUSH = "push_notifications.webpush"

USES: dict[str, Callable[[str], object]] = {
    "key": partial(read_file, "key"),
    f"{WEBPUSH}.ca_file": partial(load_trust, WEBPUSH),
}


@pytest.mark.parametrize("key", USES)
@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("/does/not/exist.pem", "/does/not/exist.pem: "),
        ("/etc", "/etc: "),
        ("a\0b", "not a path"),
        (PASTED, ""),
    ],
)
def test_a_file_that_cannot_be_had_is_named(key: str, file: str, words: str) -> None:
    """What is no path, but what may lie in one, is not repeated."""
    with pytest.raises(ProviderSetupError) as caught:
        USES[key](file)
    assert caught.value.key == key
    assert words in caught.value.reason
    assert "MIGH" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_file_without_a_certificate_is_no_authority(tmp_path: Path) -> None:
    """OpenSSL's own words stand behind the path."""
    file = tmp_path / "ca.pem"
    file.write_text("no certificate")
    with pytest.raises(ProviderSetupError, match=r"ca_file: cannot use .*ca\.pem: "):
        load_trust(WEBPUSH, str(file))


@pytest.mark.parametrize("file", [PASTED, "a\0b", "/does/not/exist.pem"])
def test_web_push_says_no_more_of_its_ca_file(file: str) -> None:
    """As every other adapter."""
    with pytest.raises(ProviderSetupError, match="cannot use") as caught:
        WebPushProvider(
            vapid_public_key=PUBLIC_KEY,
            vapid_private_key=PRIVATE_KEY,
            subject="mailto:night@example.com",
            ca_file=file,
        )
    assert caught.value.key == f"{WEBPUSH}.ca_file"
    assert "MIGH" not in str(caught.value)
