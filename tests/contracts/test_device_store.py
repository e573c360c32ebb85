"""The contract of `DeviceStore`, held by every implementation."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from tests.support.clock import MovedClock
from tests.support.registries import RegistryPlace

from tocsin.core.device import (
    GLOBAL_USER,
    DeadToken,
    Detail,
    Device,
    DeviceChange,
    DeviceFilter,
    DeviceSelector,
    DeviceTopicFilter,
    PageRequest,
    ProviderTokens,
    Registration,
    RemovedFilter,
    TagsChange,
    TopicOp,
    TopicsChange,
)
from tocsin.core.errors import BadRequest, Conflict, NotFound
from tocsin.core.ids import is_id, new_id
from tocsin.core.ports.devices import DeviceStore, UserTopicStore
from tocsin.core.push import RecipientPage, Recipients

LIMIT = 5
EVERYTHING = DeviceFilter()


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
def store(registry: RegistryPlace, clock: MovedClock) -> DeviceStore:
    return registry.devices(clock, topics_per_device=LIMIT)


@pytest.fixture
def user_topics(registry: RegistryPlace) -> UserTopicStore:
    return registry.user_topics()


def fcm(token: str = "token", **fields: object) -> Registration:
    return Registration(provider="fcm", token=token, platform="android", **fields)  # type: ignore[arg-type] # by name


async def fetch_all(
    store: DeviceStore, filter: DeviceFilter = EVERYTHING
) -> tuple[Device, ...]:
    return (await store.fetch_page(filter, PageRequest(), include_topics=True)).items


async def fetch_one(store: DeviceStore, device_id: str) -> Device:
    (device,) = await fetch_all(store, DeviceFilter(ids=(device_id,)))
    return device


def change(op: str, *topics: str) -> TopicsChange:
    return TopicsChange(TopicOp(op), topics)


# --- register ---


async def test_registers_the_whole_state(store: DeviceStore, clock: MovedClock) -> None:
    """Every field of a registration comes back, and the id is a server's."""
    registration = Registration(
        provider="webpush",
        token="https://push.example/abc",
        platform="web",
        user="joe",
        meta={"nick": 'J"o\\e', "": "empty key"},
        tags={"plan": "gold", "söme": "ключ"},
        topics=("news", "a b"),
        timezone="Europe/Nicosia",
        locale="pt-BR",
        integration="shop",
        webpush_keys='{"auth":"x"}',
    )
    device_id = await store.register(registration)
    assert is_id(device_id)
    assert await fetch_one(store, device_id) == Device(
        id=device_id,
        provider="webpush",
        token="https://push.example/abc",
        platform="web",
        user="joe",
        meta=registration.meta,
        tags=registration.tags,
        topics=("a b", "news"),
        timezone="Europe/Nicosia",
        locale="pt-BR",
        integration="shop",
        webpush_keys='{"auth":"x"}',
        created_at=clock.now_ms() // 1000,
        updated_at=clock.now_ms() // 1000,
    )


async def test_same_token_is_the_same_device(
    store: DeviceStore, clock: MovedClock
) -> None:
    """A second registration keeps id and created_at and resets what it omits."""
    clock.move_ms(123)
    first = await store.register(
        fcm(
            user="joe",
            meta={"a": "1"},
            tags={"b": "2"},
            topics=("x",),
            timezone="UTC",
            locale="en",
        )
    )
    created_at = clock.now_ms() // 1000
    clock.move_ms(5678)  # times are whole seconds
    assert await store.register(fcm()) == first
    assert await fetch_all(store) == (
        Device(
            id=first,
            provider="fcm",
            token="token",
            platform="android",
            created_at=created_at,
            updated_at=created_at + 5,
        ),
    )


async def test_same_token_of_other_provider_is_another_device(
    store: DeviceStore,
) -> None:
    """Only provider and token together are unique."""
    first = await store.register(fcm("same"))
    second = await store.register(Registration("hms", "same", "android"))
    assert first != second
    assert len(await fetch_all(store)) == 2


async def test_token_rotates_under_the_given_id(store: DeviceStore) -> None:
    """With an id, that device takes the new token and no second row appears."""
    device_id = await store.register(fcm("old"))
    assert await store.register(fcm("new", id=device_id)) == device_id
    assert [d.token for d in await fetch_all(store)] == ["new"]


async def test_token_moves_between_devices(store: DeviceStore) -> None:
    """The given id wins; the row that held the pair is merged away."""
    keeper = await store.register(fcm("a", user="joe"))
    loser = await store.register(fcm("b", topics=("x",)))
    assert await store.register(fcm("b", id=keeper, user="ann")) == keeper
    (device,) = await fetch_all(store)
    assert (device.id, device.token, device.user) == (keeper, "b", "ann")
    with pytest.raises(NotFound):
        await store.update_topics(loser, change("add", "y"))


async def test_two_devices_swap_tokens_at_once(store: DeviceStore) -> None:
    """Registrations that touch each other's rows in one moment all hold."""
    first, second = [await store.register(fcm(token)) for token in ("a", "b")]
    await asyncio.gather(
        store.register(fcm("b", id=first)), store.register(fcm("a", id=second))
    )
    # The later one found its own row merged away and got a fresh id.
    assert sorted(d.token for d in await fetch_all(store)) == ["a", "b"]
    assert await store.register(fcm("b", id=first)) == first


async def test_unknown_id_falls_back_to_the_token(store: DeviceStore) -> None:
    """A well-formed id without a row finds the device by its token."""
    known = await store.register(fcm("a"))
    assert await store.register(fcm("a", id=new_id("fcm"))) == known


async def test_unknown_id_and_token_get_a_fresh_id(store: DeviceStore) -> None:
    """A client cannot bring an id of its own."""
    invented = new_id("fcm")
    made = await store.register(fcm("a", id=invented))
    assert made != invented
    assert is_id(made)


async def test_malformed_id_is_refused(store: DeviceStore) -> None:
    """An id that no server made is the caller's error, and stores nothing."""
    with pytest.raises(BadRequest, match="id: "):
        await store.register(fcm(id="my-own-id"))
    assert await fetch_all(store) == ()


async def test_topics_are_own_and_users_and_everybodys(
    store: DeviceStore, user_topics: UserTopicStore
) -> None:
    """After a registration the device holds exactly the three lists together."""
    await user_topics.update("joe", change("add", "of-joe", "both"))
    await user_topics.update("ann", change("add", "of-ann"))
    await user_topics.update(GLOBAL_USER, change("add", "of-all"))
    device_id = await store.register(fcm(user="joe", topics=("own", "both", "own")))
    device = await fetch_one(store, device_id)
    assert device.topics == ("both", "of-all", "of-joe", "own")
    await store.register(fcm(user="ann", topics=("both",)))
    device = await fetch_one(store, device_id)
    assert device.topics == ("both", "of-all", "of-ann")


async def test_device_without_user_holds_no_users_topics(
    store: DeviceStore, user_topics: UserTopicStore
) -> None:
    """Logging out by registering without a user drops the user's topics."""
    await user_topics.update("joe", change("add", "of-joe"))
    device_id = await store.register(fcm(user="joe", topics=("own",)))
    await store.register(fcm(topics=("own",)))
    assert (await fetch_one(store, device_id)).topics == ("own",)


async def test_too_many_topics_are_refused(store: DeviceStore) -> None:
    """Over the limit nothing is stored; doubles count once."""
    topics = tuple(f"t{n}" for n in range(LIMIT))
    await store.register(fcm("fits", topics=(*topics, "t0")))
    with pytest.raises(BadRequest, match="topics: "):
        await store.register(fcm("over", topics=(*topics, "one-more")))
    assert [d.token for d in await fetch_all(store)] == ["fits"]


async def test_topics_of_the_user_do_not_count_for_the_limit(
    store: DeviceStore, user_topics: UserTopicStore
) -> None:
    """A user's list cannot make the registration of its devices fail."""
    await user_topics.update("joe", change("add", *(f"u{n}" for n in range(LIMIT))))
    own = tuple(f"t{n}" for n in range(LIMIT))
    device_id = await store.register(fcm(user="joe", topics=own))
    assert len((await fetch_one(store, device_id)).topics) == 2 * LIMIT


async def test_concurrent_first_registrations_agree(store: DeviceStore) -> None:
    """Many first registrations of one token return one id and make one row."""
    ids = await asyncio.gather(
        *(store.register(fcm(topics=(f"t{n}",))) for n in range(30))
    )
    (device,) = await fetch_all(store)
    assert set(ids) == {device.id}
    assert len(device.topics) == 1


async def test_concurrent_registrations_keep_their_own_answers(
    store: DeviceStore,
) -> None:
    """Each of many callers gets the id of its own device, a bad one its error."""
    results = await asyncio.gather(
        *(
            store.register(fcm(f"t{n}", id="bad" if n == 7 else "", user=f"u{n}"))
            for n in range(60)
        ),
        return_exceptions=True,
    )
    stored = {d.id: d.user for d in await fetch_all(store)}
    for number, result in enumerate(results):
        if number == 7:
            assert isinstance(result, BadRequest)
        else:
            assert stored[str(result)] == f"u{number}"
    assert len(stored) == 59


async def test_very_long_token_is_unique_too(store: DeviceStore) -> None:
    """An 8 KiB Web Push endpoint is stored, found and told from its neighbour."""
    long = "https://push.example/" + "".join(f"{n:08x}" for n in range(1000))
    first = await store.register(Registration("webpush", long, "web"))
    other = await store.register(Registration("webpush", long + "z", "web"))
    assert first != other
    assert await store.register(Registration("webpush", long, "web")) == first


# --- update ---


async def test_update_changes_only_what_it_names(
    store: DeviceStore, clock: MovedClock
) -> None:
    """None leaves a field alone, and updated_at moves but created_at does not."""
    device_id = await store.register(
        fcm(user="joe", meta={"a": "1"}, tags={"t": "1"}, topics=("x",), locale="en")
    )
    before = await fetch_one(store, device_id)
    clock.move_ms(9000)
    count = await store.update(
        DeviceSelector(ids=(device_id,)),
        DeviceChange(timezone="UTC", meta={"b": "2"}),
        switch_user_topics=True,
    )
    after = await fetch_one(store, device_id)
    assert count == 1
    assert (after.timezone, after.meta) == ("UTC", {"b": "2"})
    assert (after.user, after.tags, after.topics, after.locale) == (
        before.user,
        before.tags,
        before.topics,
        before.locale,
    )
    assert after.created_at == before.created_at
    assert after.updated_at == before.updated_at + 9


async def test_update_empties_a_field(store: DeviceStore) -> None:
    """An empty value is a value: it detaches and clears."""
    device_id = await store.register(fcm(user="joe", locale="en", meta={"a": "1"}))
    await store.update(
        DeviceSelector(ids=(device_id,)),
        DeviceChange(user="", locale="", meta={}),
        switch_user_topics=True,
    )
    device = await fetch_one(store, device_id)
    assert (device.user, device.locale, device.meta) == ("", "", {})


async def test_selector_lists_combine_by_and(store: DeviceStore) -> None:
    """Ids, users and tokens each narrow; unknown ids are no error."""
    a = await store.register(fcm("a", user="joe"))
    b = await store.register(fcm("b", user="joe"))
    await store.register(fcm("c", user="ann"))
    locale = DeviceChange(locale="fr")

    async def touched(selector: DeviceSelector) -> int:
        return await store.update(selector, locale, switch_user_topics=True)

    assert await touched(DeviceSelector(ids=(a, new_id("fcm")))) == 1
    assert await touched(DeviceSelector(users=("joe", "ann"))) == 3
    assert await touched(DeviceSelector(ids=(a, b), users=("ann",))) == 0
    tokens = (ProviderTokens("fcm", ("b", "c")),)
    assert await touched(DeviceSelector(provider_tokens=tokens)) == 2
    assert await touched(DeviceSelector(users=("joe",), provider_tokens=tokens)) == 1
    wrong = (ProviderTokens("hms", ("b", "c")),)
    assert await touched(DeviceSelector(provider_tokens=wrong)) == 0


async def test_no_selector_is_refused(store: DeviceStore) -> None:
    """Nothing selected never means everything."""
    await store.register(fcm())
    with pytest.raises(BadRequest):
        await store.update(
            DeviceSelector(), DeviceChange(locale="fr"), switch_user_topics=True
        )
    with pytest.raises(BadRequest):
        await store.remove(DeviceSelector())
    assert len(await fetch_all(store)) == 1


async def test_provider_without_tokens_selects_nothing(store: DeviceStore) -> None:
    """A pair without tokens is not "all devices of that provider"."""
    await store.register(fcm())
    nobody = DeviceSelector(provider_tokens=(ProviderTokens("fcm", ()),))
    assert await store.remove(nobody) == 0
    assert len(await fetch_all(store)) == 1


async def test_tags_are_set_added_and_removed(store: DeviceStore) -> None:
    """Each tag operation works on every selected device's own map."""
    a = await store.register(fcm("a", user="joe", tags={"x": "1"}))
    b = await store.register(fcm("b", user="joe", tags={"y": "2"}))
    joe = DeviceSelector(users=("joe",))

    async def run(op: TopicOp, tags: dict[str, str]) -> list[dict[str, str]]:
        await store.update(
            joe, DeviceChange(tags=TagsChange(op, tags)), switch_user_topics=True
        )
        return [dict((await fetch_one(store, each)).tags) for each in (a, b)]

    assert await run(TopicOp.ADD, {"x": "9", "z": "3"}) == [
        {"x": "9", "z": "3"},
        {"x": "9", "y": "2", "z": "3"},
    ]
    assert await run(TopicOp.REMOVE, {"x": "", "q": ""}) == [
        {"z": "3"},
        {"y": "2", "z": "3"},
    ]
    assert await run(TopicOp.SET, {"only": "1"}) == [{"only": "1"}, {"only": "1"}]


async def test_topics_update_over_the_limit_changes_nothing(store: DeviceStore) -> None:
    """One device over the limit fails the call and leaves all devices as they were."""
    a = await store.register(fcm("a", user="joe"))
    full = tuple(f"t{n}" for n in range(LIMIT))
    b = await store.register(fcm("b", user="joe", topics=full))
    with pytest.raises(BadRequest, match="topics: "):
        await store.update(
            DeviceSelector(users=("joe",)),
            DeviceChange(topics=change("add", "more"), locale="fr"),
            switch_user_topics=True,
        )
    assert (await fetch_one(store, a)).topics == ()
    assert (await fetch_one(store, b)).locale == ""


async def test_owner_change_switches_user_topics(
    store: DeviceStore, user_topics: UserTopicStore
) -> None:
    """The old user's topics go, the new one's come, the device's own stay."""
    await user_topics.update("joe", change("add", "of-joe", "shared"))
    await user_topics.update("ann", change("add", "of-ann"))
    await user_topics.update(GLOBAL_USER, change("add", "of-all"))
    device_id = await store.register(fcm(user="joe", topics=("own", "shared")))
    selector = DeviceSelector(ids=(device_id,))
    await store.update(selector, DeviceChange(user="ann"), switch_user_topics=True)
    device = await fetch_one(store, device_id)
    assert device.topics == ("of-all", "of-ann", "own", "shared")
    await store.update(selector, DeviceChange(user=""), switch_user_topics=True)
    device = await fetch_one(store, device_id)
    assert device.topics == ("of-all", "own", "shared")


async def test_owner_change_without_switch_leaves_topics(
    store: DeviceStore, user_topics: UserTopicStore
) -> None:
    """The newest published behaviour renames the owner only."""
    await user_topics.update("joe", change("add", "of-joe"))
    await user_topics.update("ann", change("add", "of-ann"))
    device_id = await store.register(fcm(user="joe"))
    await store.update(
        DeviceSelector(ids=(device_id,)),
        DeviceChange(user="ann"),
        switch_user_topics=False,
    )
    device = await fetch_one(store, device_id)
    assert (device.user, device.topics) == ("ann", ("of-joe",))


async def test_owner_and_topics_change_in_one_update(
    store: DeviceStore, user_topics: UserTopicStore
) -> None:
    """Both parts of one update take effect together."""
    await user_topics.update("ann", change("add", "of-ann"))
    device_id = await store.register(fcm(user="joe", topics=("own",)))
    await store.update(
        DeviceSelector(ids=(device_id,)),
        DeviceChange(user="ann", topics=change("set", "fresh")),
        switch_user_topics=True,
    )
    assert (await fetch_one(store, device_id)).topics == ("fresh", "of-ann")


# --- remove ---


async def test_remove_deletes_rows_and_topics(store: DeviceStore) -> None:
    """What is removed is gone from both tables; the rest stays."""
    a = await store.register(fcm("a", user="joe", topics=("x",)))
    await store.register(fcm("b", user="joe", topics=("x",)))
    await store.register(fcm("c", user="ann", topics=("x",)))
    assert await store.remove(DeviceSelector(ids=(a,), users=("ann",))) == 0
    assert await store.remove(DeviceSelector(ids=(a,), users=("joe",))) == 1
    assert await store.remove(DeviceSelector(users=("joe",))) == 1
    assert [d.token for d in await fetch_all(store)] == ["c"]
    page = await store.fetch_topic_page(
        DeviceTopicFilter(), PageRequest(include_total=True)
    )
    assert page.total == 1


async def test_removed_device_gets_a_new_id(store: DeviceStore) -> None:
    """A hard removal leaves nothing to revive."""
    device_id = await store.register(fcm())
    await store.remove(DeviceSelector(ids=(device_id,)))
    assert await store.register(fcm(id=device_id)) != device_id


# --- lists ---


async def test_filter_lists_are_or_inside_and_and_between(store: DeviceStore) -> None:
    """Every list of the filter narrows, and its values widen."""
    await store.register(fcm("a", user="joe", topics=("x", "y"), integration="i1"))
    await store.register(fcm("b", user="ann", topics=("y",), tags={"k": "1"}))
    await store.register(
        Registration("apns", "c", "ios", user="joe", tags={"k": "1", "l": "2"})
    )

    async def tokens(**filter: object) -> str:
        found = await fetch_all(store, DeviceFilter(**filter))  # type: ignore[arg-type] # by name
        return "".join(d.token for d in found)

    assert await tokens() == "abc"
    assert await tokens(users=("joe",)) == "ac"
    assert await tokens(users=("joe", "ann", "nobody")) == "abc"
    assert await tokens(topics=("x",)) == "a"
    assert await tokens(topics=("x", "y", "y")) == "ab"
    assert await tokens(topics=("y",), users=("ann",)) == "b"
    assert await tokens(providers=("apns",)) == "c"
    assert await tokens(platforms=("android",), users=("joe",)) == "a"
    assert await tokens(provider_tokens=(ProviderTokens("fcm", ("a", "c")),)) == "a"
    assert await tokens(integrations=("i1",)) == "a"
    assert await tokens(integrations=("fcm",)) == "b", "named none: the section's"
    assert await tokens(integrations=("fcm", "i1")) == "ab"
    assert await tokens(integrations=("fcm", "apns")) == "bc"
    assert await tokens(tags={"k": "1"}) == "bc"
    assert await tokens(tags={"k": "1", "l": "2"}) == "c"
    assert await tokens(tags={"k": "2"}) == ""
    assert await tokens(topics=(*(f"t{n}" for n in range(80)), "x")) == "a"


@pytest.mark.parametrize("topics", [(), ("x",), ("x", "y")])
async def test_device_pages_join_to_the_whole(
    store: DeviceStore, topics: tuple[str, ...]
) -> None:
    """Following next_cursor yields every device once, in id order."""
    ids = [await store.register(fcm(f"t{n}", topics=("x", "y"))) for n in range(7)]
    seen: list[str] = []
    cursor = ""
    sizes = []
    while True:
        page = await store.fetch_page(
            DeviceFilter(topics=topics), PageRequest(cursor, 3, include_total=True)
        )
        assert page.total == 7
        sizes.append(len(page.items))
        seen += [d.id for d in page.items]
        if not page.next_cursor:
            break
        assert page.next_cursor == page.items[-1].id
        cursor = page.next_cursor
    assert seen == ids == sorted(ids)
    assert sizes == [3, 3, 1]


async def test_full_last_page_has_no_cursor(store: DeviceStore) -> None:
    """A page that ends exactly with the last row says so."""
    for n in range(4):
        await store.register(fcm(f"t{n}"))
    page = await store.fetch_page(EVERYTHING, PageRequest(limit=4))
    assert (len(page.items), page.next_cursor, page.total) == (4, "", None)


async def test_malformed_cursor_is_refused(store: DeviceStore) -> None:
    """A cursor that is no id is an error of the request, in every listing."""
    page = PageRequest(cursor="nonsense")
    with pytest.raises(BadRequest, match="cursor: "):
        await store.fetch_page(EVERYTHING, page)
    with pytest.raises(BadRequest, match="cursor: "):
        await store.fetch_topic_page(DeviceTopicFilter(), page)


async def test_topics_come_only_when_asked(store: DeviceStore) -> None:
    """Without include_topics the list stays empty."""
    await store.register(fcm(topics=("x",)))
    page = await store.fetch_page(EVERYTHING, PageRequest())
    assert page.items[0].topics == ()


async def test_device_topics_are_filtered_and_paged(store: DeviceStore) -> None:
    """The topic listing knows the device's fields, topics and a literal prefix."""
    a = await store.register(fcm("a", user="joe", topics=("50%_x", "50abc", "Z")))
    await store.register(Registration("apns", "b", "ios", topics=("50%", "z")))

    async def topics(**filter: object) -> list[str]:
        page = await store.fetch_topic_page(DeviceTopicFilter(**filter), PageRequest())  # type: ignore[arg-type] # by name
        assert [t.id for t in page.items] == sorted(t.id for t in page.items)
        return sorted(t.topic for t in page.items)

    assert await topics(topic_prefix="50%") == ["50%", "50%_x"]
    assert await topics(topic_prefix="50%_") == ["50%_x"]
    assert await topics(topic_prefix="z") == ["z"]
    assert await topics(topics=("Z", "z")) == ["Z", "z"]
    assert await topics(device_ids=(a,)) == ["50%_x", "50abc", "Z"]
    assert await topics(device_users=("joe",), topics=("z", "Z")) == ["Z"]
    assert await topics(device_providers=("apns",)) == ["50%", "z"]
    assert await topics(device_platforms=("ios",)) == ["50%", "z"]
    tokens = (ProviderTokens("apns", ("b",)),)
    assert await topics(device_provider_tokens=tokens) == ["50%", "z"]
    first = await store.fetch_topic_page(
        DeviceTopicFilter(), PageRequest(limit=3, include_total=True)
    )
    rest = await store.fetch_topic_page(
        DeviceTopicFilter(), PageRequest(first.next_cursor, 3)
    )
    assert (first.total, len(first.items), len(rest.items)) == (5, 3, 2)
    assert (first.next_cursor, rest.next_cursor) == (first.items[-1].id, "")


async def test_device_comes_with_its_topic_when_asked(store: DeviceStore) -> None:
    """include_device fills the device, otherwise only its id is there."""
    device_id = await store.register(fcm("a", user="joe", topics=("x",)))
    filter = DeviceTopicFilter()
    (bare,) = (await store.fetch_topic_page(filter, PageRequest())).items
    assert (bare.device_id, bare.device) == (device_id, None)
    page = await store.fetch_topic_page(filter, PageRequest(), include_device=True)
    device = page.items[0].device
    assert device is not None
    assert (device.id, device.token, device.user) == (device_id, "a", "joe")


# --- update_topics ---


async def test_device_topics_add_remove_and_set(store: DeviceStore) -> None:
    """Doubled adds and absent removes are no-ops; set with nothing clears."""
    device_id = await store.register(fcm(topics=("x",)))
    for operation, expected in (
        (change("add", "y", "x", "y"), ("x", "y")),
        (change("remove", "nothing", "x"), ("y",)),
        (change("set", "b", "a", "b"), ("a", "b")),
        (change("set"), ()),
    ):
        await store.update_topics(device_id, operation)
        assert (await fetch_one(store, device_id)).topics == expected


async def test_device_remove_leaves_the_users_topic(
    store: DeviceStore, user_topics: UserTopicStore
) -> None:
    """Only a device's own topics are changed, not what its user brought."""
    await user_topics.update("joe", change("add", "of-joe"))
    device_id = await store.register(fcm(user="joe", topics=("of-joe", "own")))
    await store.update_topics(device_id, change("set"))
    assert (await fetch_one(store, device_id)).topics == ("of-joe",)


async def test_ownership_guard(store: DeviceStore) -> None:
    """The guard lets the owner pass and tells a foreign device from an unknown."""
    device_id = await store.register(fcm(user="joe"))
    await store.update_topics(device_id, change("add", "x"), owner="joe")
    with pytest.raises(Conflict):
        await store.update_topics(device_id, change("add", "y"), owner="ann")
    with pytest.raises(NotFound):
        await store.update_topics(new_id("fcm"), change("add", "y"), owner="joe")
    with pytest.raises(NotFound):
        await store.update_topics("nonsense", change("add", "y"))
    assert (await fetch_one(store, device_id)).topics == ("x",)


async def test_added_topics_respect_the_limit(store: DeviceStore) -> None:
    """Over the limit an add is refused whole, a removal never."""
    device_id = await store.register(fcm(topics=("a", "b", "c", "d")))
    with pytest.raises(BadRequest, match="topics: "):
        await store.update_topics(device_id, change("add", "e", "f"))
    await store.update_topics(device_id, change("add", "e"))
    await store.update_topics(device_id, change("remove", "a"))
    assert (await fetch_one(store, device_id)).topics == ("b", "c", "d", "e")


# --- targets ---


async def walk(
    store: DeviceStore, filter: DeviceFilter, provider: str = "fcm", limit: int = 2
) -> list[str]:
    tokens: list[str] = []
    cursor = ""
    while True:
        page = await store.fetch_targets(
            filter, provider=provider, cursor=cursor, limit=limit
        )
        found = page.recipients
        assert found.is_whole
        assert len(found.device_ids) == len(found) == len(found.platforms)
        assert len(found) <= limit
        assert list(found.device_ids) == sorted(found.device_ids)
        tokens += found.targets
        if not page.cursor:
            return tokens
        assert page.cursor == found.device_ids[-1] > cursor
        cursor = page.cursor


async def test_targets_walk_every_device_once(store: DeviceStore) -> None:
    """One, several or many topics: each live device of the provider comes once."""
    for n in range(7):
        topics = ("all", "even") if n % 2 == 0 else ("all",)
        await store.register(fcm(f"{n}", user=f"u{n % 3}", topics=topics))
    await store.register(Registration("apns", "apple", "ios", topics=("all",)))
    everyone = [str(n) for n in range(7)]
    many = tuple(f"t{n}" for n in range(80))
    assert await walk(store, DeviceFilter()) == everyone
    assert await walk(store, DeviceFilter(topics=("all",))) == everyone
    assert await walk(store, DeviceFilter(topics=("even",))) == ["0", "2", "4", "6"]
    assert await walk(store, DeviceFilter(topics=("even", "all"))) == everyone
    assert await walk(store, DeviceFilter(topics=(*many, "even"))) == [*"0246"]
    assert await walk(store, DeviceFilter(topics=("none",))) == []
    assert await walk(store, DeviceFilter(topics=("all",)), "apns") == ["apple"]


async def test_targets_obey_every_list(store: DeviceStore) -> None:
    """The walk filters as a listing does."""
    a = await store.register(fcm("a", user="joe", topics=("x",), tags={"k": "1"}))
    await store.register(fcm("b", user="joe", topics=("x", "y"), integration="i"))
    await store.register(Registration("fcm", "c", "web", user="ann", topics=("y",)))
    for filter, expected in (
        (DeviceFilter(ids=(a,)), ["a"]),
        (DeviceFilter(users=("joe",), topics=("y",)), ["b"]),
        (DeviceFilter(users=("joe",), topics=("x", "y")), ["a", "b"]),
        (DeviceFilter(platforms=("web",)), ["c"]),
        (DeviceFilter(tags={"k": "1"}), ["a"]),
        (DeviceFilter(tags={"k": "1"}, topics=("x", "y")), ["a"]),
        (DeviceFilter(integrations=("i",)), ["b"]),
        (DeviceFilter(provider_tokens=(ProviderTokens("fcm", ("c",)),)), ["c"]),
        (DeviceFilter(providers=("fcm", "apns"), users=("ann",)), ["c"]),
        (DeviceFilter(providers=("apns",)), []),
    ):
        assert await walk(store, filter, limit=1) == expected
        if filter.topics:
            others = tuple(f"t{n}" for n in range(80))
            longer = replace(filter, topics=(*others, *filter.topics))
            assert await walk(store, longer, limit=1) == expected


async def test_many_topics_reach_no_other_provider_and_nobody_who_left(
    store: DeviceStore,
) -> None:
    """However a walk of many topics is asked for, it is a walk of live devices."""
    await store.register(fcm("a", topics=("x",)))
    gone = await store.register(fcm("b", topics=("x",)))
    await store.register(Registration("apns", "apple", "ios", topics=("x",)))
    await store.remove(DeviceSelector(ids=(gone,)))
    for count in (0, 1, 48, 49, 50, 80):
        topics = ("x", *(f"t{n}" for n in range(count)))
        assert await walk(store, DeviceFilter(topics=topics)) == ["a"]


async def test_a_last_page_that_is_full_is_the_last(store: DeviceStore) -> None:
    """No page is empty but that of nobody."""
    for n in range(4):
        await store.register(fcm(f"{n}"))
    first = await store.fetch_targets(EVERYTHING, provider="fcm", cursor="", limit=2)
    assert first.cursor == first.recipients.device_ids[-1]
    last = await store.fetch_targets(
        EVERYTHING, provider="fcm", cursor=first.cursor, limit=2
    )
    assert (last.recipients.targets, last.cursor) == (("2", "3"), "")
    none = await store.fetch_targets(EVERYTHING, provider="apns", cursor="", limit=2)
    assert none == RecipientPage(Recipients())


async def test_targets_carry_id_token_and_platform(store: DeviceStore) -> None:
    """The three columns run parallel."""
    device_id = await store.register(Registration("fcm", "tok", "web"))
    page = await store.fetch_targets(EVERYTHING, provider="fcm", cursor="", limit=10)
    assert page == RecipientPage(Recipients(("tok",), (device_id,), ("web",)))


async def test_webpush_targets_hold_endpoint_and_keys(store: DeviceStore) -> None:
    """A message is encrypted for the device, so that its target says for whom."""
    keys = '{"p256dh":"BA","auth":"x"}'
    for n in range(3):
        registration = Registration(
            "webpush", f'https://push.example/"{n}', "web", webpush_keys=keys
        )
        await store.register(registration)
    await store.register(fcm("other"))
    assert await walk(store, EVERYTHING, "webpush") == [
        f'{{"endpoint":"https://push.example/\\"{n}","keys":{keys}}}' for n in range(3)
    ]


# --- dead tokens ---


async def bury(store: DeviceStore, device_id: str, clock: MovedClock) -> list[str]:
    dead = DeadToken(device_id, "token", clock.now_ms() + 1, "unregistered")
    return (await store.remove_dead([dead])).removed


async def test_dead_device_is_hidden_everywhere(
    store: DeviceStore, user_topics: UserTopicStore, clock: MovedClock
) -> None:
    """No listing, walk, update or topic change sees a soft-removed device."""
    device_id = await store.register(fcm(user="joe", topics=("x",)))
    assert await bury(store, device_id, clock) == [device_id]
    assert await bury(store, device_id, clock) == []
    assert await fetch_all(store) == ()
    page = await store.fetch_topic_page(
        DeviceTopicFilter(), PageRequest(include_total=True)
    )
    assert (page.items, page.total) == ((), 0)
    assert await walk(store, DeviceFilter(topics=("x",))) == []
    assert await walk(store, DeviceFilter(topics=("x", "y"))) == []
    selector = DeviceSelector(ids=(device_id,))
    change_locale = DeviceChange(locale="fr")
    assert await store.update(selector, change_locale, switch_user_topics=True) == 0
    with pytest.raises(NotFound):
        await store.update_topics(device_id, change("add", "y"))
    await user_topics.update("joe", change("add", "z"))


@pytest.mark.parametrize("with_id", [True, False])
async def test_dead_device_revives_under_its_id(
    store: DeviceStore,
    user_topics: UserTopicStore,
    clock: MovedClock,
    with_id: bool,
) -> None:
    """Registering again brings it back with the topics of now."""
    device_id = await store.register(fcm(user="joe", topics=("old",)))
    await bury(store, device_id, clock)
    await user_topics.update("joe", change("add", "of-joe"))
    again = fcm(user="joe", topics=("new",), id=device_id if with_id else "")
    assert await store.register(again) == device_id
    assert (await fetch_one(store, device_id)).topics == ("new", "of-joe")
    assert await walk(store, DeviceFilter(topics=("new",))) == ["token"]


async def test_verdict_older_than_the_registration_is_ignored(
    store: DeviceStore, clock: MovedClock
) -> None:
    """A device that registered again since the send began stays."""
    device_id = await store.register(fcm())
    began_ms = clock.now_ms() + 10
    clock.move_ms(10)
    await store.register(fcm())
    verdict = DeadToken(device_id, "token", began_ms, "unregistered")
    assert (await store.remove_dead([verdict])).removed == []
    clock.move_ms(1)
    later = DeadToken(device_id, "token", clock.now_ms(), "unregistered")
    assert (await store.remove_dead([later])).removed == [device_id]


async def test_update_does_not_protect_from_a_verdict(
    store: DeviceStore, clock: MovedClock
) -> None:
    """Only a registration proves that the token lives."""
    device_id = await store.register(fcm())
    clock.move_ms(1000)
    verdict = DeadToken(device_id, "token", clock.now_ms(), "unregistered")
    clock.move_ms(1000)
    await store.update(
        DeviceSelector(ids=(device_id,)),
        DeviceChange(locale="fr"),
        switch_user_topics=True,
    )
    assert (await store.remove_dead([verdict])).removed == [device_id]


async def test_verdict_about_a_rotated_token_is_ignored(
    store: DeviceStore, clock: MovedClock
) -> None:
    """A device that holds another token by now stays."""
    device_id = await store.register(fcm("token"))
    await store.register(fcm("rotated", id=device_id))
    assert await bury(store, device_id, clock) == []
    assert len(await fetch_all(store)) == 1


async def test_many_verdicts_in_one_call(store: DeviceStore, clock: MovedClock) -> None:
    """Each verdict counts for itself; unknown ids are ignored."""
    ids = [await store.register(fcm(f"t{n}")) for n in range(4)]
    before_ms = clock.now_ms() + 1
    done = await store.remove_dead(
        [
            DeadToken(ids[0], "t0", before_ms, "a"),
            DeadToken(ids[1], "other", before_ms, "b"),
            DeadToken(ids[2], "t2", before_ms, "c"),
            DeadToken(new_id("fcm"), "t3", before_ms, "d"),
        ]
    )
    gone = done.removed
    assert sorted(gone) == [ids[0], ids[2]]
    assert (await store.remove_dead([])).removed == []
    assert [d.id for d in await fetch_all(store)] == [ids[1], ids[3]]


async def test_purge_deletes_old_dead_devices_in_batches(
    store: DeviceStore, clock: MovedClock
) -> None:
    """Only what was soft-removed before the time goes, at most `limit` a call."""
    ids = [await store.register(fcm(f"t{n}", topics=("x",))) for n in range(4)]
    for n in range(3):
        clock.move_ms(1000)
        dead = DeadToken(ids[n], f"t{n}", clock.now_ms(), "gone")
        assert (await store.remove_dead([dead])).removed == [ids[n]]
    third_ms = clock.now_ms()
    counts = [
        await store.purge_removed(older_than_ms=third_ms, limit=1) for _ in range(3)
    ]
    assert counts == [1, 1, 0]
    # The third may still revive under its id; the first may not.
    assert await store.register(fcm("t2")) == ids[2]
    assert await store.register(fcm("t0")) != ids[0]


async def test_remove_takes_dead_devices_along(
    store: DeviceStore, clock: MovedClock
) -> None:
    """Deleting a user's devices leaves no soft-removed row of that user behind."""
    device_id = await store.register(fcm(user="joe"))
    await bury(store, device_id, clock)
    assert await store.remove(DeviceSelector(users=("joe",))) == 0
    assert await store.register(fcm()) != device_id


# --- details of the walk ---


async def test_targets_bring_the_details_that_are_asked_for(store: DeviceStore) -> None:
    """Parallel columns, in any choice; metas are JSON texts; nothing else is read."""
    given: dict[str, dict[str, Any]] = {
        "a": {"user": "bob", "timezone": "Asia/Tokyo", "meta": {"n": 'x"ü'}},
        "b": {"locale": "pt-BR", "topics": ("t",)},
    }
    ids = [await store.register(fcm(name, **given[name])) for name in "ab"]
    page = await store.fetch_targets(EVERYTHING, provider="fcm", cursor="", limit=5)
    plain = page.recipients
    assert plain == Recipients(plain.targets, plain.device_ids, plain.platforms)
    page = await store.fetch_targets(
        EVERYTHING, provider="fcm", cursor="", limit=5, details=list(Detail)
    )
    found = page.recipients
    assert list(found.device_ids) == ids
    assert found.targets == ("a", "b")
    assert found.users == ("bob", "")
    assert found.timezones == ("Asia/Tokyo", "")
    assert found.locales == ("", "pt-BR")
    assert [json.loads(meta) for meta in found.metas] == [{"n": 'x"ü'}, {}]
    for topics in (("t",), ("t", "u")):
        page = await store.fetch_targets(
            DeviceFilter(topics=topics),
            provider="fcm",
            cursor="",
            limit=5,
            details=[Detail.META, Detail.LOCALE],
        )
        found = page.recipients
        assert (found.locales, found.metas, found.users) == (("pt-BR",), ("{}",), ())


async def test_webpush_targets_bring_details_too(store: DeviceStore) -> None:
    """Beside the keys that are part of each target."""
    registration = Registration(
        provider="webpush",
        token="https://push.test/1",
        platform="web",
        user="ann",
        webpush_keys='{"auth":"a","p256dh":"p"}',
    )
    await store.register(registration)
    page = await store.fetch_targets(
        EVERYTHING, provider="webpush", cursor="", limit=5, details=[Detail.USER]
    )
    assert page.recipients.users == ("ann",)
    assert "https://push.test/1" in page.recipients.targets[0]


# --- inactive devices ---


async def test_inactive_devices_go_in_batches(
    store: DeviceStore, clock: MovedClock
) -> None:
    """What neither registered nor changed for long is hidden, and can come back."""
    old = [await store.register(fcm(f"old-{number}")) for number in range(5)]
    clock.move_ms(1000)
    edge_ms = clock.now_ms()
    kept = await store.register(fcm("new"))
    await store.register(fcm("old-0"))
    changed = DeviceSelector(ids=(old[1],))
    await store.update(changed, DeviceChange(user="u"), switch_user_topics=True)
    clock.move_ms(1000)
    counts = [
        await store.remove_inactive(older_than_ms=edge_ms, limit=2) for _ in range(3)
    ]
    assert counts == [{"fcm": 2}, {"fcm": 1}, {}]
    assert {device.id for device in await fetch_all(store)} == {old[0], old[1], kept}
    assert await store.register(fcm("old-4")) == old[4]
    assert await store.purge_removed(older_than_ms=clock.now_ms() + 1, limit=9) == 2


async def test_inactive_devices_are_counted_by_provider(
    store: DeviceStore, clock: MovedClock
) -> None:
    """Dead ones do not count again."""
    dead = await store.register(fcm("dead"))
    await store.register(fcm("a"))
    await store.register(Registration(provider="apns", token="b", platform="ios"))
    clock.move_ms(1000)
    await store.remove_dead([DeadToken(dead, "dead", clock.now_ms(), "fcm: x")])
    gone = await store.remove_inactive(older_than_ms=clock.now_ms(), limit=9)
    assert gone == {"fcm": 1, "apns": 1}


# --- restoring ---


async def removed(
    store: DeviceStore, clock: MovedClock, *devices: tuple[str, str, str]
) -> None:
    """Soft-remove (id, token, reason), all at this moment."""
    before_ms = clock.now_ms() + 1
    said = [DeadToken(id, token, before_ms, why) for id, token, why in devices]
    assert len((await store.remove_dead(said)).removed) == len(devices)


async def test_restored_device_has_its_topics_and_its_users_of_now(
    store: DeviceStore, user_topics: UserTopicStore, clock: MovedClock
) -> None:
    """Own topics as they were; what the user gained and lost meanwhile counts."""
    await user_topics.update("joe", change("add", "of-joe", "lost"))
    await user_topics.update(GLOBAL_USER, change("add", "of-all"))
    device_id = await store.register(fcm(user="joe", topics=("own",), tags={"k": "1"}))
    before = await fetch_one(store, device_id)
    await removed(store, clock, (device_id, "token", "fcm: unregistered"))
    await user_topics.update("joe", change("set", "of-joe", "gained"))
    clock.move_ms(60_000)
    assert await store.restore_removed(RemovedFilter(), limit=5) == [device_id]
    assert await store.restore_removed(RemovedFilter(), limit=5) == []
    after = await fetch_one(store, device_id)
    assert after.topics == ("gained", "of-all", "of-joe", "own")
    assert after.updated_at == before.updated_at + 60, "or it is inactive at once"
    assert (after.created_at, after.tags) == (before.created_at, before.tags)
    assert await walk(store, DeviceFilter(topics=("gained",))) == ["token"]
    # A user-level removal takes what came from the user, and nothing else.
    await user_topics.update("joe", change("set"))
    assert (await fetch_one(store, device_id)).topics == ("of-all", "own")


async def test_restoring_never_overwrites_a_new_registration(
    store: DeviceStore, clock: MovedClock
) -> None:
    """Who registered again is alive as that said, also where a row took the token."""
    a, b = [await store.register(fcm(token, user="joe")) for token in ("a", "b")]
    other = await store.register(fcm("c", user="ann"))
    await removed(store, clock, (a, "a", "fcm: x"), (b, "b", "fcm: x"))
    await store.register(fcm("a", user="eve"))
    await store.register(fcm("b", id=other, user="ann"))
    assert await store.restore_removed(RemovedFilter(), limit=9) == []
    assert {d.token: d.user for d in await fetch_all(store)} == {
        "a": "eve",
        "b": "ann",
    }


async def test_restores_by_every_selector_and_counts_first(
    store: DeviceStore, clock: MovedClock
) -> None:
    """Reason with or without its provider, span of time, user, topic, integration."""
    names = ("a", "b", "c", "d")
    users = {"a": "joe", "b": "ann", "c": "joe", "d": ""}
    ids = {
        name: await store.register(
            fcm(
                name,
                user=users[name],
                topics=("even",) if name in "bd" else (),
                integration="shop" if name == "d" else "",
            )
        )
        for name in names
    }
    apns = await store.register(Registration("apns", "e1", "ios"))
    await removed(
        store,
        clock,
        (ids["a"], "a", "fcm: unregistered"),
        (ids["b"], "b", "fcm: sender_id_mismatch"),
        (apns, "e1", "apns: unregistered"),
    )
    first_ms = clock.now_ms()
    clock.move_ms(1000)
    await removed(
        store, clock, (ids["c"], "c", "inactive"), (ids["d"], "d", "fcm: unregistered")
    )
    assert [
        (group.provider, group.integration, group.reason, group.count)
        for group in await store.count_removed(RemovedFilter(providers=("fcm",)))
    ] == [
        ("fcm", "", "fcm: sender_id_mismatch", 1),
        ("fcm", "", "fcm: unregistered", 1),
        ("fcm", "", "inactive", 1),
        ("fcm", "shop", "fcm: unregistered", 1),
    ]
    by_id = {**{id: name for name, id in ids.items()}, apns: "e"}

    async def chosen(**fields: object) -> str:
        filter = RemovedFilter(**fields)  # type: ignore[arg-type] # by name
        total = sum(group.count for group in await store.count_removed(filter))
        found = await store.restore_removed(filter, limit=9)
        assert len(found) == total, "the count tells what a restoration would do"
        reasons = {"a": "unregistered", "c": "inactive"}
        tokens = {**{name: name for name in ids}, "e": "e1"}
        for id in found:  # as it was, for the next question
            name = by_id[id]
            provider = "apns" if name == "e" else "fcm"
            why = reasons.get(name) or (
                "sender_id_mismatch" if name == "b" else "unregistered"
            )
            at_ms = first_ms if name in "abe" else first_ms + 1000
            clock.move_ms(at_ms - clock.now_ms())
            full = why if why == "inactive" else f"{provider}: {why}"
            await removed(store, clock, (id, tokens[name], full))
        clock.move_ms(first_ms + 1000 - clock.now_ms())
        return "".join(sorted(by_id[id] for id in found))

    assert await chosen(reasons=("unregistered",)) == "ade"
    assert await chosen(reasons=("fcm: unregistered",)) == "ad"
    assert await chosen(reasons=("registered",)) == "", "a whole code, no part of it"
    assert await chosen(reasons=("un_egistered", "inactive")) == "c"
    assert await chosen(since_ms=first_ms + 1000) == "cd"
    assert await chosen(until_ms=first_ms + 1000) == "abe"
    assert await chosen(users=("joe",)) == "ac"
    assert await chosen(topics=("even",)) == "bd"
    assert await chosen(integrations=("shop",)) == "d"
    assert await chosen(integrations=("fcm",)) == "abc", "named none: the section's"
    assert await chosen(ids=(ids["a"], apns), providers=("apns",)) == "e"
    assert await chosen() == "abcde"


async def test_restores_in_batches(store: DeviceStore, clock: MovedClock) -> None:
    """At most `limit` a call, until nothing is left."""
    ids = [await store.register(fcm(f"t{n}", topics=("x",))) for n in range(5)]
    await removed(store, clock, *((id, f"t{n}", "fcm: x") for n, id in enumerate(ids)))
    steps = [await store.restore_removed(RemovedFilter(), limit=2) for _ in range(4)]
    assert [len(step) for step in steps] == [2, 2, 1, 0]
    assert len(await walk(store, DeviceFilter(topics=("x",)))) == 5
