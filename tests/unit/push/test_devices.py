from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from tests.support.memory_registry import MemoryDevices, MemoryUserTopics

from tocsin.core.device import (
    Device,
    DeviceChange,
    DeviceFilter,
    DeviceSelector,
    ProviderTokens,
    Registration,
    TagsChange,
    TopicOp,
    TopicsChange,
)
from tocsin.core.endpoints import EndpointRules
from tocsin.core.errors import BadRequest, NotAvailable
from tocsin.core.ids import new_id
from tocsin.core.integrations import Integration, Integrations
from tocsin.push.checks import DeviceLimits, Paging
from tocsin.push.devices import DeviceService

GOOD = Registration(provider="fcm", token="t", platform="ios")
LIMITS = DeviceLimits(token_length=10, topic_length=5, topics_per_device=3)


def _service(
    devices: MemoryDevices | None, limits: DeviceLimits = LIMITS
) -> DeviceService:
    return DeviceService(devices, limits, enabled_providers=("fcm",))


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("provider", {"provider": ""}),
        ("provider", {"provider": "gcm"}),
        ("platform", {"platform": ""}),
        ("platform", {"platform": "toaster"}),
        ("token", {"token": ""}),
        ("token", {"token": "x" * 11}),
        ("token", {"token": "x\0"}),
        ("token", {"provider": "webpush", "token": "not json"}),
        ("token", {"provider": "apns", "token": "no hex"}),
        ("token", {"token": " \n"}),
        ("id", {"id": "my-own"}),
        ("user", {"user": "u" * 256}),
        ("user", {"user": "\0"}),
        ("topics[1]", {"topics": ("a", "")}),
        ("topics[0]", {"topics": ("toolong",)}),
        ("topics", {"topics": ("a", "b", "c", "d")}),
        ("meta", {"meta": {"": ""}}),
        ('meta["k"]', {"meta": {"k": "\0"}}),
        ('tags["k"]', {"tags": {"k": "x" * 256}}),
        ("integration", {"integration": "second"}),
    ],
)
async def test_bad_registration(field: str, changes: dict[str, Any]) -> None:
    """A bad registration names its field and nothing is stored."""
    devices = MemoryDevices()
    with pytest.raises(BadRequest) as caught:
        await _service(devices).register(replace(GOOD, **changes))
    assert caught.value.field == field
    assert devices.writes == 0


async def test_one_phone_is_one_device_however_it_is_spelled() -> None:
    """The second owner takes it over; lists and removals find it in any spelling."""
    devices = MemoryDevices()
    service = _service(devices, DeviceLimits())
    spelled = ("<740F4707 BEBCF74F>", "0x740f4707bebcf74f", "740f4707bebcf74f\n")
    first, *others = [
        await service.register(
            replace(GOOD, provider="apns", token=token, user=f"u{number}")
        )
        for number, token in enumerate(spelled)
    ]
    assert set(others) == {first}
    assert [(d.token, d.user) for d in devices.rows.values()] == [
        ("740f4707bebcf74f", "u2")
    ]
    for token in spelled:
        named = (ProviderTokens("apns", (token,)),)
        found = await service.fetch_page(
            DeviceFilter(provider_tokens=named), Paging(limit=5)
        )
        assert [device.id for device in found.items] == [first]
    selector = DeviceSelector(provider_tokens=(ProviderTokens("apns", spelled[:1]),))
    assert await service.remove(selector) == 1


async def test_a_token_that_cannot_be_one_can_still_be_removed() -> None:
    """Rows of an older release are found under what they hold."""
    devices = MemoryDevices()
    id = await devices.register(replace(GOOD, provider="apns", token="No Hex"))
    selector = DeviceSelector(provider_tokens=(ProviderTokens("apns", ("No Hex",)),))
    assert await _service(devices).remove(selector) == 1
    assert id not in devices.rows


async def test_registration_merges_topics_and_keeps_the_rest() -> None:
    """A good registration reaches the store with doubled topics merged."""
    devices = MemoryDevices()
    registration = replace(
        GOOD, user="u", topics=("b", "a", "b"), meta={"m": ""}, integration="fcm"
    )
    id = await _service(devices).register(registration)
    stored = devices.rows[id]
    assert stored.topics == ("a", "b")
    assert (stored.user, stored.meta, stored.integration) == ("u", {"m": ""}, "fcm")


async def test_the_integration_that_a_device_names_or_not() -> None:
    """Empty is the active one created last; any configured one of the provider goes."""
    devices = MemoryDevices()
    given = [
        Integration("fcm", "fcm"),
        Integration("shop", "fcm"),
        Integration("off", "fcm", active=False),
        Integration("ios", "apns"),
    ]
    service = DeviceService(devices, DeviceLimits(), integrations=Integrations(given))
    for name, stored in (("", "shop"), ("fcm", "fcm"), ("off", "off")):
        id = await service.register(replace(GOOD, token=f"t{name}", integration=name))
        assert devices.rows[id].integration == stored
    with pytest.raises(BadRequest) as caught:
        await service.register(replace(GOOD, integration="ios"))
    assert caught.value.field == "integration"


async def test_a_subscription_is_held_to_the_rules_of_its_integration() -> None:
    """Each Web Push credential has its own list of origins."""
    rules = EndpointRules.of(["https://push.example"])
    given = [
        Integration("webpush", "webpush"),
        Integration("site", "webpush", endpoint_rules=rules),
    ]
    service = DeviceService(
        MemoryDevices(), DeviceLimits(), integrations=Integrations(given)
    )
    token = json.dumps(
        {
            "endpoint": "https://push.example/1",
            "keys": {
                "p256dh": "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4"
                "bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
                "auth": "BTBZMqHH6r4Tts7J_aSIgg",
            },
        }
    )
    registration = replace(GOOD, provider="webpush", platform="web", token=token)
    await service.register(replace(registration, integration="site"))
    with pytest.raises(BadRequest) as caught:
        await service.register(replace(registration, integration="webpush"))
    assert caught.value.field == "token"
    # Whose rules hold is unknown then, so that none is quoted.
    with pytest.raises(BadRequest) as caught:
        await service.register(replace(registration, integration="siet"))
    assert caught.value.field == "integration"


async def test_provider_that_is_not_enabled(capsys: pytest.CaptureFixture[str]) -> None:
    """A known provider without credentials registers, and a log line says so."""
    devices = MemoryDevices()
    id = await _service(devices).register(replace(GOOD, provider="apns", token="af"))
    assert devices.rows[id].provider == "apns"
    assert "not enabled" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("field", "selector"),
    [
        ("ids", DeviceSelector()),
        ("ids[0]", DeviceSelector(ids=("",))),
        ("users[0]", DeviceSelector(users=("",))),
        (
            "provider_tokens[0].tokens",
            DeviceSelector(provider_tokens=(ProviderTokens("fcm", ()),)),
        ),
        (
            "provider_tokens[0].provider",
            DeviceSelector(provider_tokens=(ProviderTokens("", ("t",)),)),
        ),
    ],
)
async def test_bad_selector(field: str, selector: DeviceSelector) -> None:
    """No selector, or an empty user, never means "all devices"."""
    devices = MemoryDevices()
    service = _service(devices)
    with pytest.raises(BadRequest) as removing:
        await service.remove(selector)
    with pytest.raises(BadRequest) as updating:
        await service.update(selector, DeviceChange(user="x"))
    assert removing.value.field == updating.value.field == field
    assert devices.writes == 0


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("user_update.user", DeviceChange(user="\0")),
        ('meta_update.meta["k"]', DeviceChange(meta={"k": "\0"})),
        (
            "tags_update.tags",
            DeviceChange(tags=TagsChange(TopicOp.REMOVE, {"": ""})),
        ),
        (
            "topics_update.topics[0]",
            DeviceChange(topics=TopicsChange(TopicOp.ADD, ("",))),
        ),
    ],
)
async def test_bad_change(field: str, change: DeviceChange) -> None:
    """A bad part of an update is named by its path and nothing is changed."""
    devices = MemoryDevices()
    with pytest.raises(BadRequest) as caught:
        await _service(devices).update(DeviceSelector(users=("u",)), change)
    assert caught.value.field == field
    assert devices.writes == 0


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (("zh_TW_#Hant", "GMT+03:00"), ("zh-Hant-TW", "Etc/GMT-3")),
        (("pt_BR", "europe/lisbon"), ("pt_BR", "Europe/Lisbon")),
        (("C", "localtime"), ("", "")),
        (("\0" * 9, "\ud800"), ("", "")),
        (("x" * 100_000, "y" * 100_000), ("", "")),
    ],
)
async def test_no_device_is_lost_over_a_detail(
    given: tuple[str, str], stored: tuple[str, str]
) -> None:
    """Locale and time zone are kept as far as they are usable, and refuse nothing."""
    devices = MemoryDevices()
    service = _service(devices)
    locale, timezone = given
    id = await service.register(
        replace(GOOD, locale=locale, timezone=timezone, user="u", platform="iOS")
    )
    kept = devices.rows[id]
    assert (kept.locale, kept.timezone, kept.user) == (*stored, "u")
    assert kept.platform == "ios"
    change = DeviceChange(locale=locale, timezone=timezone, user="v")
    assert await service.update(DeviceSelector(ids=(id,)), change) == 1
    kept = devices.rows[id]
    assert (kept.locale, kept.timezone, kept.user) == (*stored, "v")


async def test_update_and_remove_unknown_devices() -> None:
    """Unknown ids are no error, also ids that no server could have made."""
    service = _service(MemoryDevices())
    selector = DeviceSelector(ids=("nope", new_id("fcm")))
    assert await service.update(selector, DeviceChange(user="x")) == 0
    assert await service.remove(selector) == 0


async def test_update_that_sets_nothing() -> None:
    """An update without any part leaves devices and `updated_at` alone."""
    devices = MemoryDevices()
    service = _service(devices)
    id = await service.register(GOOD)
    assert await service.update(DeviceSelector(ids=(id,)), DeviceChange()) == 0
    assert devices.writes == 1


@pytest.mark.parametrize("switch", [True, False])
async def test_owner_change_follows_the_configuration(switch: bool) -> None:
    """The configuration decides whether an owner change switches user topics."""
    devices = MemoryDevices()
    user_topics = MemoryUserTopics(devices.registry)
    await user_topics.update("new", TopicsChange(TopicOp.SET, ("theirs",)))
    service = DeviceService(devices, LIMITS, switch_user_topics=switch)
    id = await service.register(GOOD)
    await service.update(DeviceSelector(ids=(id,)), DeviceChange(user="new"))
    assert devices.rows[id].topics == (("theirs",) if switch else ())


async def test_list_joins_both_spellings() -> None:
    """Lists beside the filter are joined with those inside it."""
    devices = MemoryDevices()
    service = _service(devices)
    ids = [await service.register(replace(GOOD, token=t)) for t in "abc"]
    page = await service.fetch_page(
        DeviceFilter(ids=(ids[0],)), Paging(), flat=DeviceFilter(ids=(ids[2],))
    )
    assert [device.id for device in page.items] == [ids[0], ids[2]]
    everything = await service.fetch_page(DeviceFilter(), Paging(include_total=True))
    assert everything.total == 3


async def test_list_names_the_spelling() -> None:
    """An error in a list names the spelling in which it came."""
    service = _service(MemoryDevices())
    bad = DeviceFilter(platforms=("x",))
    with pytest.raises(BadRequest, match=r"bad request: platforms\[0\]"):
        await service.fetch_page(DeviceFilter(), Paging(), flat=bad)
    with pytest.raises(BadRequest, match=r"bad request: filter\.platforms\[0\]"):
        await service.fetch_page(bad, Paging())


async def test_without_a_database() -> None:
    """Every method answers not available, and says what to set."""
    service = _service(None)
    calls = [
        service.register(GOOD),
        service.update(DeviceSelector(ids=("x",)), DeviceChange()),
        service.remove(DeviceSelector(ids=("x",))),
        service.fetch_page(DeviceFilter(), Paging()),
    ]
    for call in calls:
        with pytest.raises(NotAvailable, match=r"database\.sqlite\.path"):
            await call


async def test_devices_keep_what_was_not_asked_to_change() -> None:
    """`None` parts of a change leave their fields as they are."""
    devices = MemoryDevices()
    service = _service(devices)
    id = await service.register(replace(GOOD, user="u", meta={"a": "b"}))
    change = DeviceChange(topics=TopicsChange(TopicOp.ADD, ("t", "t")))
    assert await service.update(DeviceSelector(users=("u",)), change) == 1
    stored: Device = devices.rows[id]
    assert (stored.user, stored.meta, stored.topics) == ("u", {"a": "b"}, ("t",))


SUBSCRIPTION = (
    '{"endpoint":"https://push.example/1","keys":{"auth":"AAECAwQFBgcICQoLDA0ODw",'
    '"p256dh":"BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"}}'
)


async def test_a_subscription_is_stored_by_its_endpoint() -> None:
    """The endpoint is the token, where its origin is allowed; the keys lie beside."""
    devices = MemoryDevices()
    subscription = Registration("webpush", SUBSCRIPTION, "web")
    with pytest.raises(BadRequest, match="token: endpoint origin is not in"):
        await DeviceService(devices, DeviceLimits()).register(subscription)
    assert devices.writes == 0
    rules = EndpointRules.of(["https://push.example"])
    known = Integrations(endpoint_rules={"webpush": rules})
    service = DeviceService(devices, DeviceLimits(), integrations=known)
    await service.register(subscription)
    (device,) = devices.rows.values()
    assert device.token == "https://push.example/1"
    assert sorted(json.loads(device.webpush_keys)) == ["auth", "p256dh"]
