"""How apps print the tokens of their phones."""

from __future__ import annotations

import base64

import pytest

from tocsin.core.push_services import SERVICES

HEX = "740f4707bebcf74f9b7c25d48e3358945f6aa01da5ddb387462c7eaf61bb78ad"
GROUPS = " ".join(HEX[at : at + 8] for at in range(0, 64, 8))
PAIRS = [HEX[at : at + 2] for at in range(0, 64, 2)]
DATA = bytes.fromhex(HEX)

SPELLINGS = {
    "plain": HEX,
    "upper case": HEX.upper(),
    "mixed case": HEX[:32].upper() + HEX[32:],
    "NSData of iOS 12": f"<{GROUPS}>",
    "the same in upper case": f"<{GROUPS.upper()}>",
    "NSData of iOS 13, in full": f"{{length = 32, bytes = 0x{GROUPS} }}",
    "the same without spaces": f"{{length=32,bytes=0x{HEX}}}",
    "0x": f"0x{HEX}",
    "0X": f"0X{HEX.upper()}",
    "spaces": GROUPS,
    "line breaks": f"{HEX[:30]}\r\n{HEX[30:]}\n",
    "colons": ":".join(PAIRS),
    "hyphens": "-".join(PAIRS).upper(),
    "bytes of C": ", ".join(f"0x{pair}" for pair in PAIRS),
    "bytes of Python": "".join(f"\\x{pair}" for pair in PAIRS),
    "quotes": f'"{HEX}"',
    "Swift's optional": f'Optional("{HEX}")',
    "optional NSData": f"Optional(<{GROUPS}>)",
    "URL-encoded": "%3C" + GROUPS.replace(" ", "%20") + "%3E",
    "blanks around": f"\ufeff \t{HEX}\u200b\n",
    "base64": base64.b64encode(DATA).decode(),
    "base64url": base64.urlsafe_b64encode(DATA).decode(),
}


@pytest.mark.parametrize("spelled", SPELLINGS.values(), ids=SPELLINGS)
def test_one_phone_has_one_token(spelled: str) -> None:
    """Whatever the app made of the bytes that Apple gave it."""
    assert SERVICES.tokens_of("apns").normalise(spelled) == HEX


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "{length = 32, bytes = 0x740f4707 bebcf74f ... 462c7eaf 61bb78ad }",
            "bytes are missing",
        ),
        ("<740f4707 bebcf74f \u2026 61bb78ad>", "bytes are missing"),
        (f"{{length = 33, bytes = 0x{GROUPS}}}", "not as many bytes"),
        ("32 bytes", "description of a Data value"),
        (HEX[:-1], "odd number"),
        ("0x7 0xf 0x1", "one hex digit"),
        (f"{HEX}g", "as hex"),
        (f"{HEX[:-2]}\uff41\uff44", "as hex"),
        ("116, 15, 71, 7x", "as hex"),
        ("fcm-id:APA91bH" + "x" * 20, "provider fcm"),
        ("ExponentPushToken[xxxxxxxxxxxxxxxxxxxxxx]", "provider expo"),
        ("null", "as hex"),
        ("<>", "as hex"),
        ("0x", "as hex"),
        ("", "empty"),
        ("  ", "empty"),
        ('""', "empty"),
        (HEX + "\0", "as hex"),
    ],
)
def test_what_cannot_be_apples_is_refused_by_name(text: str, reason: str) -> None:
    """The reason helps to mend the app, and repeats nothing of the token."""
    with pytest.raises(ValueError, match=reason) as caught:
        SERVICES.tokens_of("apns").normalise(text)
    assert HEX[:6] not in str(caught.value)
    assert SERVICES.tokens_of("apns").comparable(text) == text


def test_tokens_of_other_lengths_are_apples_too() -> None:
    """Apple says that their length may change; Live Activities have longer ones."""
    for size in (1, 20, 33, 80, 100):
        assert SERVICES.tokens_of("apns").normalise("AB" * size) == "ab" * size


FCM = "dQw4w9WgXcQ:APA91bHPRgkF3JUikC4ENAHEeMrd41Zxv3hVZjC9KtT8OvPVGJ-hQMRKRrZu"


@pytest.mark.parametrize("provider", ["fcm", "hms", "expo"])
@pytest.mark.parametrize(
    "spelled",
    [
        FCM,
        f" {FCM}\n",
        f"\ufeff{FCM}\u200b",
        f'"{FCM}"',
        f"\u201c{FCM}\u201d",
        f'Optional("{FCM}")',
        FCM.replace(":", "%3A"),
        f'Optional("{FCM}")'.replace('"', "%22"),
        f"\"'{FCM}'\"",
    ],
)
def test_opaque_tokens_lose_what_is_around_them(provider: str, spelled: str) -> None:
    """Their letters, the case of them included, stay."""
    assert SERVICES.tokens_of(provider).normalise(spelled) == FCM


@pytest.mark.parametrize("provider", ["fcm", "hms", "expo"])
def test_a_token_has_no_spaces(provider: str) -> None:
    """Two tokens in one line, or half a message, are no token."""
    for text in (f"{FCM} {FCM}", f"{FCM[:40]}\n{FCM[40:]}", "a\u200bb"):
        with pytest.raises(ValueError, match="spaces"):
            SERVICES.tokens_of(provider).normalise(text)


@pytest.mark.parametrize("provider", ["fcm", "hms", "expo"])
def test_a_word_for_no_token_is_no_token(provider: str) -> None:
    """Every phone whose library failed would be one device, held by the last user."""
    for text in ("null", "(null)", " undefined\n", '"nil"', "None", "BLACKLISTED"):
        with pytest.raises(ValueError, match="word for no token"):
            SERVICES.tokens_of(provider).normalise(text)
        assert (
            SERVICES.tokens_of(provider).comparable(text) == text
        )  # to find old rows by


def test_case_tells_opaque_tokens_apart() -> None:
    """Only Apple's are numbers."""
    for provider in ("fcm", "hms", "expo"):
        assert SERVICES.tokens_of(provider).normalise("Ab:c") != SERVICES.tokens_of(
            provider
        ).normalise("ab:c")
    for token in ("ExponentPushToken[aB]", "ExpoPushToken[aB]"):
        assert SERVICES.tokens_of("expo").normalise(token) == token


@pytest.mark.parametrize(
    "provider", ["push-webhook", "pusher-beams", "pushpad", "one-signal"]
)
def test_names_of_ones_own_stay_letter_for_letter(provider: str) -> None:
    """They are users of somebody else's system."""
    for text in (
        " Joe ",
        '"joe"',
        "a b",
        "%41",
        "0F9E8D7C-0000-4000-8000-00000000ABCD",
    ):
        assert SERVICES.tokens_of(provider).normalise(text) == text


def test_endpoints_have_one_origin() -> None:
    """What is no endpoint stays as it is: a lookup of it finds nothing."""
    same = "https://push.example/AbC"
    for url in ("https://PUSH.example:443/AbC", "HTTPS://push.example/AbC#x", same):
        assert SERVICES.tokens_of("webpush").normalise(url) == same
    assert SERVICES.tokens_of("webpush").normalise("not a url") == "not a url"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{length=1,bytes=" + " " * 8000 + "x", "must be the bytes"),
        ("{length = " + "9" * 5000 + ", bytes = 0x00}", "hex digit"),
        ("%" + "25" * 4000, "again and again"),
        ("%" + "25" * 40 + "22", "again and again"),
        ('"' * 8000, "again and again"),
    ],
    ids=["spaces", "digits", "percent signs", "nearly", "quotes"],
)
def test_a_text_made_to_take_long_is_refused_at_once(text: str, reason: str) -> None:
    """One of spaces took a minute; the time grew with the cube of their number."""
    with pytest.raises(ValueError, match=reason):
        SERVICES.tokens_of("apns").normalise(text)
    assert SERVICES.tokens_of("apns").comparable(text) == text
