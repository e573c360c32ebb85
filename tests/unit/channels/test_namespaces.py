from typing import Any

import pytest

from tocsin.channels.namespaces import Namespaces, NamespaceSettings
from tocsin.core.channel import ChannelOptions
from tocsin.core.errors import NotAvailable, UnknownChannel

OPEN = ChannelOptions(presence=True)


def rules(
    options: ChannelOptions | None = None, **settings: Any
) -> tuple[Namespaces, ChannelOptions]:
    made = Namespaces(NamespaceSettings(without_namespace=options or OPEN, **settings))
    found = made.options_of("x")
    return made, found


def insecure(made: Namespaces) -> Namespaces:
    """The same rules under `client.insecure`."""
    return Namespaces(made.settings, insecure=True)


@pytest.mark.parametrize(
    ("channel", "namespace"),
    [
        ("news", ""),
        ("chat:1", "chat"),
        ("chat:1:2", "chat"),
        ("$chat:1", "chat"),
        ("$news", ""),
        (":1", ""),
        ("$:1", ""),
        ("chat:", "chat"),
        ("", ""),
    ],
)
def test_the_namespace_is_what_stands_before_the_first_boundary(
    channel: str, namespace: str
) -> None:
    """One private prefix is left out; an empty namespace is none."""
    made = Namespaces(NamespaceSettings(namespaces={"chat": OPEN}))
    assert made.namespace_of(channel) == namespace
    found = made.options_of(channel)
    assert found.presence is bool(namespace)


def test_an_unknown_namespace_has_no_options() -> None:
    """It is 102 for everybody; a name without a namespace is none."""
    made, _ = rules(namespaces={"chat": OPEN})
    for channel in ("other:1", "$other:1"):
        with pytest.raises(UnknownChannel, match=r"namespace other$"):
            made.options_of(channel)
    assert made.options_of("other") is not None


@pytest.mark.parametrize("kind", ["map", "map_clients", "map_users", "shared_poll"])
def test_a_type_that_is_not_built_has_no_options(kind: str) -> None:
    """It is 108 with its name, also without a namespace and after a reload."""
    unbuilt = ChannelOptions(subscription_type=kind)
    made = Namespaces(NamespaceSettings(unbuilt, {"keys": unbuilt, "chat": OPEN}))
    for channel in ("plain", "keys:1", "$keys:1"):
        with pytest.raises(NotAvailable, match=rf"channels of type {kind}$"):
            made.options_of(channel)
        with pytest.raises(NotAvailable):
            made.options_for_client(channel)
    assert made.options_of("chat:1").presence
    made.replace(NamespaceSettings(OPEN, {"chat": unbuilt}))
    assert made.options_of("plain").presence
    with pytest.raises(NotAvailable):
        made.options_of("chat:1")


def test_boundaries_can_be_other_ones_or_none() -> None:
    """An empty text turns the feature off."""
    other = Namespaces(
        NamespaceSettings(
            namespaces={"chat": OPEN}, namespace_boundary="/", private_prefix="!"
        )
    )
    assert other.namespace_of("!chat/1") == "chat"
    assert other.is_private("!x")
    assert not other.is_private("$x")
    none = Namespaces(NamespaceSettings(namespace_boundary="", private_prefix=""))
    assert none.options_of("no:such") is not None
    assert none.namespace_of("no:such") == ""
    assert not none.is_private("$x")


def test_what_a_namespace_leaves_out_comes_from_above() -> None:
    """Meta lifetime, data format and recovery mode have values for everybody."""
    own = ChannelOptions(
        history_meta_ttl=7,
        publication_data_format="binary",
        force_recovery_mode="cache",
    )
    made = Namespaces(
        NamespaceSettings(
            namespaces={"own": own, "plain": ChannelOptions()},
            history_meta_ttl=99,
            publication_data_format="json",
        )
    )
    plain, special = made.options_of("plain:1"), made.options_of("own:1")
    assert (plain.history_meta_ttl, special.history_meta_ttl) == (99, 7)
    assert (plain.publication_data_format, special.publication_data_format) == (
        "json",
        "binary",
    )
    assert (plain.force_recovery_mode, special.force_recovery_mode) == (
        "stream",
        "cache",
    )


@pytest.mark.parametrize(
    ("channel", "user", "listed"),
    [
        ("dialog#1,2", "1", True),
        ("dialog#1,2", "2", True),
        ("dialog#1,2", "12", False),
        ("dialog#1,2", "3", False),
        ("a#1#2", "2", True),
        ("a#1#2", "1", False),
        ("dialog#", "", False),
        ("dialog#,1", "", False),
    ],
)
def test_users_after_the_last_boundary_may_subscribe(
    channel: str, user: str, listed: bool
) -> None:
    """Only they, only with the option, and never nobody."""
    made, options = rules(ChannelOptions(allow_user_limited_channels=True))
    assert made.is_user_limited(channel, options)
    assert made.may_subscribe(channel, options, user) is listed
    _, closed = rules()
    assert not made.is_user_limited(channel, closed)
    assert not made.may_subscribe(channel, closed, user)


def test_a_user_limited_channel_is_closed_to_others_whatever_is_allowed() -> None:
    """allow_subscribe_for_client does not open it; a token or insecure mode does."""
    made, options = rules(
        ChannelOptions(
            allow_user_limited_channels=True,
            allow_subscribe_for_client=True,
            allow_subscribe_for_anonymous=True,
        )
    )
    assert not made.may_subscribe("d#1", options, "2")
    assert not made.may_subscribe("d#1", options, "")
    assert insecure(made).may_subscribe("d#1", options, "2")
    assert made.may_subscribe("d", options, "2")


def test_the_separator_of_users_can_be_off() -> None:
    """Then the rest of the name is one user."""
    made, options = rules(
        ChannelOptions(allow_user_limited_channels=True), user_separator=""
    )
    assert made.may_subscribe("d#1,2", options, "1,2")
    assert not made.may_subscribe("d#1,2", options, "1")


@pytest.mark.parametrize(
    ("flags", "user", "allowed"),
    [
        ({}, "u", False),
        ({"allow_subscribe_for_client": True}, "u", True),
        ({"allow_subscribe_for_client": True}, "", False),
        ({"allow_subscribe_for_anonymous": True}, "", False),
        ({"allow_subscribe_for_anonymous": True}, "u", False),
        (
            {
                "allow_subscribe_for_client": True,
                "allow_subscribe_for_anonymous": True,
            },
            "",
            True,
        ),
    ],
)
def test_who_may_subscribe_without_a_token(
    flags: dict[str, bool], user: str, allowed: bool
) -> None:
    """Connections without a user need both flags."""
    made, options = rules(ChannelOptions(**flags))  # type: ignore[arg-type] # all are bools
    assert made.may_subscribe("x", options, user) is allowed
    assert insecure(made).may_subscribe("x", options, user)


def test_a_private_channel_needs_a_token_even_in_insecure_mode() -> None:
    """The prefix comes before every other rule."""
    made, options = rules(ChannelOptions(allow_subscribe_for_client=True))
    assert not made.may_subscribe("$x", options, "u")
    assert not insecure(made).may_subscribe("$x", options, "u")


ACTIONS = {
    "publish": Namespaces.may_publish,
    "history": Namespaces.may_read_history,
    "presence": Namespaces.may_read_presence,
}


@pytest.mark.parametrize("action", list(ACTIONS))
@pytest.mark.parametrize(
    ("given", "user", "subscribed", "allowed"),
    [
        ((), "u", True, False),
        (("client",), "u", False, True),
        (("client",), "", True, False),
        (("client", "anonymous"), "", False, True),
        (("subscriber",), "u", True, True),
        (("subscriber",), "u", False, False),
        (("subscriber",), "", True, False),
        (("subscriber", "anonymous"), "", True, True),
        (("subscriber", "anonymous"), "", False, False),
        (("anonymous",), "", True, False),
        (("anonymous",), "u", True, False),
    ],
)
def test_who_may_publish_or_read(
    action: str, given: tuple[str, ...], user: str, subscribed: bool, allowed: bool
) -> None:
    """The same three flags for each; the one for nobody is additional."""
    flags: Any = {f"allow_{action}_for_{who}": True for who in given}
    made, options = rules(ChannelOptions(**flags))
    ask: Any = ACTIONS[action]
    asked = {"user": user, "subscribed": subscribed}
    assert ask(made, options, **asked) is allowed
    assert ask(insecure(made), options, **asked)


@pytest.mark.parametrize(
    ("pattern", "channel", "allowed"),
    [
        ("", "plain", True),
        ("", "plän", False),
        ("", "a\x00\x7f", True),
        ("^[a-zä]+$", "plän", True),
        ("^[a-z]+$", "plain1", False),
        ("^[a-z]+$", "plain\n", False),
        ("b", "abc", True),
        (r"^\d+$", "1٣", False),
        (r"^\d+\z", "12", True),
        ("^[[:alpha:]]+$", "abC", True),
        ("^[[:alpha:]]+$", "ab1", False),
        ("(?i)^ABC$", "abc", True),
        ("^[]a]+$", "a]", True),
        ("^[]a]+$", "a[", False),
        ("^[^]a]+$", "b[", True),
        ("^[^]a]+$", "b]", False),
        ("^[[]$", "[", True),
        ("^[a$]+$", "a$", True),
        ("^[ab$]+$", "a$", True),
        ("^[]$]+$", "]$", True),
        ("^[^]$]+$", "a", True),
        ("^[ab[:digit:]]+$", "a1", True),
        ("^[[]$", "X", False),
        ("^[a]$", "a\n", False),
        ("^[a]b$", "ab", True),
        ("(?m)^b$", "b\n", True),
        ("(?m)^b$", "a\nb\nc", True),
    ],
)
def test_names_for_clients(pattern: str, channel: str, allowed: bool) -> None:
    """ASCII, or else only what the pattern says, as Go reads it."""
    options = ChannelOptions(channel_regex=pattern)
    made, found = rules(options, namespaces={"ns": options})
    assert made.is_name_allowed(channel, found) is allowed
    inside = made.options_of(f"ns:{channel}")
    assert made.is_name_allowed(f"ns:{channel}", inside) is allowed


def test_the_pattern_sees_what_follows_the_namespace() -> None:
    """Without a namespace it sees the whole name, the prefix too."""
    options = ChannelOptions(channel_regex="^[0-9]+$")
    made, found = rules(options, namespaces={"ns": options})
    assert made.is_name_allowed("$ns:12", found)
    assert not made.is_name_allowed("$12", found)


def test_a_bad_pattern_is_refused_and_nothing_changes() -> None:
    """A reload must not leave half of the rules behind."""
    made, before = rules()
    bad = NamespaceSettings(without_namespace=ChannelOptions(channel_regex="("))
    with pytest.raises(ValueError, match="no regular expression"):
        made.replace(bad)
    assert made.options_of("x") == before


def test_options_from_before_a_reload_still_work() -> None:
    """A session may hold them a moment longer."""
    made, old = rules(ChannelOptions(channel_regex="^a$"))
    made.replace(NamespaceSettings())
    assert made.is_name_allowed("a", old)
    assert not made.is_name_allowed("b", old)


def test_the_length_counts_bytes() -> None:
    """255 of them by default; 0 is no limit."""
    made, _ = rules()
    assert not made.is_too_long("a" * 255)
    assert made.is_too_long("ä" * 128)
    shortest, _ = rules(max_length=1)
    assert not shortest.is_too_long("a")
    assert shortest.is_too_long("aa")
    unlimited, _ = rules(max_length=0)
    assert not unlimited.is_too_long("a" * 10_000)


@pytest.mark.parametrize(
    ("settings", "user", "channel"),
    [
        ({}, "u", None),
        ({"personal": True}, "u", "#u"),
        ({"personal": True}, "", None),
        ({"personal": True, "personal_namespace": "own"}, "u", "own:#u"),
    ],
)
def test_a_channel_of_a_users_own(
    settings: dict[str, Any], user: str, channel: str | None
) -> None:
    """It is there when turned on, and for users only."""
    made, _ = rules(**settings)
    assert made.personal_channel(user) == channel
