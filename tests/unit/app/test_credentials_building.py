from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from tocsin.app.credentials import build_provider
from tocsin.config.apns import ApnsSection
from tocsin.config.fcm import FcmSection
from tocsin.config.hms import HmsSection
from tocsin.config.integrations import PATH, SECTIONS, Credential
from tocsin.config.raw_push import (
    ExpoSection,
    OneSignalSection,
    PusherBeamsSection,
    PushpadSection,
    PushWebhookSection,
)
from tocsin.config.service_section import ServiceSection
from tocsin.core.ports.providers import Expiring, PushProvider, TokenStore
from tocsin.providers.apns import ApnsProvider
from tocsin.providers.apns_sdk import ApnsSdkProvider
from tocsin.providers.errors import ProviderSetupError
from tocsin.providers.fcm import FcmProvider
from tocsin.providers.fcm_sdk import FcmSdkProvider
from tocsin.providers.process_tokens import ProcessTokenStore
from tocsin.simulator.apns_keys import P12_PASSWORD, ApnsFiles, prepare_apns
from tocsin.simulator.certificates import prepare_certificates
from tocsin.simulator.service_account import prepare_service_account


def build(
    name: str,
    settings: ServiceSection,
    *,
    integration: str = "",
    tokens: TokenStore | None = None,
) -> PushProvider:
    """The adapter of a section, or of an item of the list with that name."""
    path = f"{PATH}[{integration}]" if integration else SECTIONS[name]
    credential = Credential(integration or name, name, True, settings, path)
    return build_provider(credential, tokens)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> FcmSection:
    file = tmp_path_factory.mktemp("account") / "sa.json"
    prepare_service_account(file, "https://127.0.0.1:1/token")
    return FcmSection(credentials_file=str(file), tokens_batch_size=77)


def test_a_fault_of_a_listed_integration_names_its_own_key() -> None:
    """Not that of the section, which is another credential."""
    with pytest.raises(ProviderSetupError) as caught:
        build("fcm", FcmSection(credentials_file="nowhere.json"), integration="shop")
    key = "push_notifications.integrations[shop].credentials_file"
    assert str(caught.value).startswith(f"{key}: ")


@pytest.mark.parametrize(
    ("transport", "kind"), [("native", FcmProvider), ("sdk", FcmSdkProvider)]
)
async def test_the_transport_chooses_the_adapter(
    settings: FcmSection, transport: str, kind: type
) -> None:
    """Both carry the same name, size and integration."""
    provider = build("fcm", settings.model_copy(update={"transport": transport}))
    assert type(provider) is kind
    assert (provider.name, provider.batch_size) == ("fcm", 77)
    assert provider.integration == "fcm"
    await provider.close()


async def test_an_integration_has_its_own_name(settings: FcmSection) -> None:
    """Two accounts of one provider can be told apart."""
    provider = build("fcm", settings, integration="fcm-eu")
    assert (provider.name, provider.integration) == ("fcm", "fcm-eu")
    await provider.close()


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"credentials_file": ""}, "push_notifications.fcm.credentials_file"),
        ({"ca_file": "/does/not/exist"}, "push_notifications.fcm.ca_file"),
        ({"endpoint": "http://x"}, "push_notifications.fcm.endpoint"),
        ({"endpoint": "https://x/path"}, "push_notifications.fcm.endpoint"),
    ],
)
async def test_a_wrong_setting_is_named(
    settings: FcmSection, change: dict[str, Any], key: str
) -> None:
    """The error carries the configuration key."""
    with pytest.raises(ProviderSetupError) as caught:
        build("fcm", settings.model_copy(update=change))
    assert caught.value.key == key


@pytest.fixture(scope="module")
def apns_files(tmp_path_factory: pytest.TempPathFactory) -> ApnsFiles:
    directory = tmp_path_factory.mktemp("apns")
    prepare_certificates(directory)
    return prepare_apns(directory)[0]


def apns_section(files: ApnsFiles, **changes: Any) -> ApnsSection:
    given = {
        "bundle_id": "b",
        "token_key_file": str(files.key_file),
        "token_key_id": "k",
        "token_team_id": "t",
        "tokens_batch_size": 77,
    }
    return ApnsSection.model_validate({**given, **changes})


@pytest.mark.parametrize(
    ("transport", "kind"), [("native", ApnsProvider), ("sdk", ApnsSdkProvider)]
)
async def test_apns_takes_a_key(
    apns_files: ApnsFiles, transport: str, kind: type
) -> None:
    """As a path or as text, for either transport; its credential has no end."""
    pem = apns_files.key_file.read_text()
    for change in ({}, {"token_key_file": "", "token_key_pem": pem}):
        section = apns_section(apns_files, transport=transport, **change)
        provider = build("apns", section, integration="apns-2")
        assert type(provider) is kind
        assert (provider.name, provider.integration) == ("apns", "apns-2")
        assert provider.batch_size == 77
        assert isinstance(provider, Expiring)
        assert provider.credential_expires_at_s is None
        await provider.close()


async def test_apns_takes_a_certificate(apns_files: ApnsFiles) -> None:
    """Its end is told, so that it can be watched."""
    section = apns_section(
        apns_files,
        auth_type="cert",
        cert_p12_file=str(apns_files.p12_file),
        cert_p12_password=P12_PASSWORD,
    )
    provider = build("apns", section)
    assert isinstance(provider, Expiring)
    assert provider.credential_expires_at_s is not None
    await provider.close()


async def test_all_apns_providers_of_a_worker_share_tokens(
    apns_files: ApnsFiles,
) -> None:
    """The store of the worker is what a provider agrees in."""
    store = ProcessTokenStore()
    providers = [
        build("apns", apns_section(apns_files), tokens=store) for _ in range(2)
    ]
    tokens = set()
    for provider in providers:
        assert isinstance(provider, ApnsProvider)
        assert provider.tokens is not None
        tokens.add(await provider.tokens.fetch())
        await provider.close()
    assert len(tokens) == 1


async def test_a_wrong_apns_key_text_is_named(apns_files: ApnsFiles) -> None:
    """What is neither PEM nor a path is told without showing it."""
    section = apns_section(apns_files, token_key_file="", token_key_pem="sec ret")
    with pytest.raises(ProviderSetupError) as caught:
        build("apns", section)
    assert caught.value.key == "push_notifications.apns.token_key_pem"
    assert "sec ret" not in str(caught.value)


RAW_SECTIONS = {
    "hms": HmsSection(app_id="1", app_secret=SecretStr("k"), tokens_batch_size=7),
    "expo": ExpoSection(tokens_batch_size=7),
    "one-signal": OneSignalSection(
        app_id="1", api_key=SecretStr("k"), tokens_batch_size=7
    ),
    "push-webhook": PushWebhookSection(
        url="https://a.b/c", secret=SecretStr("k"), tokens_batch_size=7
    ),
    "pusher-beams": PusherBeamsSection(
        instance_id="1", secret_key=SecretStr("k"), tokens_batch_size=7
    ),
    "pushpad": PushpadSection(
        auth_token=SecretStr("k"), project_id="1", tokens_batch_size=7
    ),
}


@pytest.mark.parametrize("name", RAW_SECTIONS)
async def test_raw_body_services_are_built_from_their_sections(name: str) -> None:
    """With the batch size and the trust that were set."""
    provider = build(name, RAW_SECTIONS[name], integration="mine")
    assert (provider.name, provider.integration) == (name, "mine")
    assert provider.batch_size == 7
    await provider.close()
    other = RAW_SECTIONS[name].model_copy(update={"ca_file": "/does/not/exist"})
    with pytest.raises(ProviderSetupError) as caught:
        build(name, other)
    assert caught.value.key == f"push_notifications.{name.replace('-', '_')}.ca_file"
