from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from tocsin.providers.errors import ProviderSetupError
from tocsin.providers.fcm import FcmProvider
from tocsin.providers.fcm_sdk import FcmSdkProvider
from tocsin.providers.table import BUILDERS, build_provider
from tocsin.simulator.service_account import prepare_service_account


@dataclass(frozen=True)
class Settings:
    """Looks like the configuration's section."""

    credentials_file: str
    endpoint: str = "https://fcm.googleapis.com"
    ca_file: str = ""
    transport: str = "native"
    tokens_batch_size: int = 77
    max_connections: int = 1
    extra: dict[str, str] = field(default_factory=dict)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    file = tmp_path_factory.mktemp("account") / "sa.json"
    prepare_service_account(file, "https://127.0.0.1:1/token")
    return Settings(str(file))


@pytest.mark.parametrize(
    ("transport", "kind"), [("native", FcmProvider), ("sdk", FcmSdkProvider)]
)
async def test_the_transport_chooses_the_adapter(
    settings: Settings, transport: str, kind: type
) -> None:
    """Both carry the same name, size and integration."""
    provider = build_provider("fcm", replace(settings, transport=transport))
    assert type(provider) is kind
    assert (provider.name, provider.batch_size) == ("fcm", 77)
    assert provider.integration == "fcm"
    await provider.close()


async def test_an_integration_has_its_own_name(settings: Settings) -> None:
    """Two accounts of one provider can be told apart."""
    provider = build_provider("fcm", settings, integration="fcm-eu")
    assert (provider.name, provider.integration) == ("fcm", "fcm-eu")
    await provider.close()


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"transport": "pigeon"}, "push_notifications.fcm.transport"),
        ({"credentials_file": ""}, "push_notifications.fcm.credentials_file"),
        ({"ca_file": "/does/not/exist"}, "push_notifications.fcm.ca_file"),
        ({"endpoint": "http://x"}, "push_notifications.fcm.endpoint"),
        ({"endpoint": "https://x/path"}, "push_notifications.fcm.endpoint"),
    ],
)
async def test_a_wrong_setting_is_named(
    settings: Settings, change: dict[str, str], key: str
) -> None:
    """The error carries the configuration key."""
    with pytest.raises(ProviderSetupError) as caught:
        build_provider("fcm", replace(settings, **change))
    assert caught.value.key == key


async def test_an_unbuilt_provider_is_an_error() -> None:
    """A name without a builder says which ones there are."""
    with pytest.raises(ProviderSetupError, match="fcm"):
        build_provider("apns", object())
    assert "apns" not in BUILDERS
