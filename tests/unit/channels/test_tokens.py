import base64
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from tests.support.certificates import make_ca
from tests.support.clock import MovedClock
from tests.support.pastings import PEM_WAYS
from tests.support.tokens import (
    SECRET,
    ec_key,
    ed_key,
    other_rsa_key,
    public_pem,
    rsa_key,
    sign,
)

from tocsin.channels.claims import ConnectionClaims, SubscriptionClaims
from tocsin.channels.signatures import encode_hmac_token
from tocsin.channels.tokens import (
    MAX_TOKEN_LENGTH,
    TokenExpired,
    TokenInvalid,
    TokenSettings,
    TokenVerifier,
)

CLOCK = MovedClock()
NOW_S = CLOCK.now_ms() // 1000
HMAC = TokenSettings(hmac_secret_key=SECRET)


def verifier(settings: TokenSettings = HMAC, **more: Any) -> TokenVerifier:
    return TokenVerifier(settings, clock=CLOCK, **more)


async def connect(token: str, settings: TokenSettings = HMAC) -> ConnectionClaims:
    return await verifier(settings).verify_connection(token)


async def subscribe(token: str, settings: TokenSettings = HMAC) -> SubscriptionClaims:
    return await verifier(settings).verify_subscription(token)


KEYS: dict[str, Any] = {
    **dict.fromkeys(("HS256", "HS384", "HS512"), SECRET),
    **dict.fromkeys(("RS256", "RS384", "RS512"), rsa_key()),
    **{name: ec_key(name) for name in ("ES256", "ES384", "ES512")},
}


def _with_key(name: str, text: str) -> TokenSettings:
    given: dict[str, Any] = {name: text}
    return TokenSettings(**given)


def settings_for(algorithm: str) -> TokenSettings:
    if algorithm.startswith("HS"):
        return HMAC
    pem = public_pem(KEYS[algorithm])
    if algorithm.startswith("RS"):
        return TokenSettings(rsa_public_key=pem)
    return TokenSettings(ecdsa_public_key=pem)


@pytest.mark.parametrize("algorithm", list(KEYS))
async def test_every_algorithm_of_a_key_is_taken(algorithm: str) -> None:
    """HMAC, RSA and ECDSA, in all three sizes."""
    token = sign({"sub": "u"}, KEYS[algorithm], algorithm)
    assert (await connect(token, settings_for(algorithm))).user == "u"


@pytest.mark.parametrize("algorithm", list(KEYS))
async def test_a_family_without_key_is_refused(algorithm: str) -> None:
    """Also where another family has one."""
    token = sign({"sub": "u"}, KEYS[algorithm], algorithm)
    for other in ("HS256", "RS256", "ES256"):
        if other[:2] != algorithm[:2]:
            with pytest.raises(TokenInvalid):
                await connect(token, settings_for(other))
    with pytest.raises(TokenInvalid):
        await connect(token, TokenSettings())


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        ("other", "HS256"),
        (other_rsa_key(), "RS256"),
        (ec_key("ES384"), "ES384"),
        (ed_key(), "EdDSA"),
        (None, "none"),
        (rsa_key(), "PS256"),
    ],
)
async def test_another_key_or_algorithm_is_refused(key: Any, algorithm: str) -> None:
    """No key of the three fits, and there is no algorithm without key."""
    settings = TokenSettings(
        hmac_secret_key=SECRET,
        rsa_public_key=public_pem(rsa_key()),
        ecdsa_public_key=public_pem(ec_key("ES256")),
    )
    with pytest.raises(TokenInvalid):
        await connect(sign({"sub": "u"}, key, algorithm), settings)


async def test_keys_of_all_families_stand_beside_each_other() -> None:
    """A server may take tokens of several issuers; each key is for its own."""
    settings = TokenSettings(
        hmac_secret_key=SECRET,
        rsa_public_key=public_pem(rsa_key()),
        ecdsa_public_key=public_pem(ec_key("ES256")),
    )
    for algorithm in ("HS256", "RS256", "RS512", "ES256"):
        token = sign({"sub": "u"}, KEYS[algorithm], algorithm)
        assert (await connect(token, settings)).user == "u"


async def test_the_longest_token_that_is_read() -> None:
    """A megabyte: what is longer is refused unread, however well it is signed."""

    def padded(size: int) -> str:
        return sign('{"sub":"u","pad":"' + "x" * size + '"}')

    size = MAX_TOKEN_LENGTH * 3 // 4 - 100
    while len(padded(size + 1)) <= MAX_TOKEN_LENGTH:
        size += 1
    longest = padded(size)
    assert MAX_TOKEN_LENGTH - 4 < len(longest) <= MAX_TOKEN_LENGTH
    assert (await connect(longest)).user == "u"
    with pytest.raises(TokenInvalid):
        await connect(padded(size + 1))


def test_our_own_tokens_are_as_short_as_they_can_be() -> None:
    """Letter for letter: people compare them with those of other tools."""
    head, claims, signature = encode_hmac_token({"sub": "ü", "exp": 1}, "k").split(".")
    assert base64.urlsafe_b64decode(head) == b'{"alg":"HS256","typ":"JWT"}'
    read = base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4))
    assert read == '{"sub":"ü","exp":1}'.encode()
    mac = hmac.new(b"k", f"{head}.{claims}".encode(), hashlib.sha256).digest()
    assert signature == base64.urlsafe_b64encode(mac).decode().removesuffix("=")
    assert "=" not in encode_hmac_token({"sub": "uu"}, "k")


async def test_what_a_token_does_not_say_is_empty() -> None:
    """Not issued at any time, and a subscription without more is one all the same."""
    claims = await connect(sign({"subs": {"a": None}}))
    assert (claims.user, claims.token_id, claims.issued_at) == ("", "", 0)
    assert claims.subs == {"a": SubscriptionClaims(user="", channel="a")}
    assert (await subscribe(sign({"channel": "c"}))).issued_at == 0


async def test_no_secret_is_not_the_empty_secret() -> None:
    """Nobody can sign for a server that has no key, or no former one."""
    forged = encode_hmac_token({"sub": "admin"}, "")
    for settings in (
        TokenSettings(),
        HMAC,
        TokenSettings(rsa_public_key=public_pem(rsa_key())),
    ):
        with pytest.raises(TokenInvalid):
            await connect(forged, settings)


async def test_a_public_key_is_no_secret_of_hmac() -> None:
    """The header cannot turn a verification key into a signing key."""
    pem = public_pem(rsa_key())
    forged = encode_hmac_token({"sub": "admin"}, pem)
    with pytest.raises(TokenInvalid):
        await connect(forged, TokenSettings(rsa_public_key=pem))


@pytest.mark.parametrize("way", [way for way in PEM_WAYS if way != "UTF-16"])
@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
async def test_public_keys_are_read_however_they_were_pasted(
    algorithm: str, way: str
) -> None:
    """What is verified with is the key that was meant."""
    pem = public_pem(KEYS[algorithm]).strip() + "\n"
    pasted = PEM_WAYS[way](pem.encode()).decode()
    name = "rsa_public_key" if algorithm == "RS256" else "ecdsa_public_key"
    settings = _with_key(name, pasted)
    token = sign({"sub": "u"}, KEYS[algorithm], algorithm)
    assert (await connect(token, settings)).user == "u"


def certified_key(directory: Path) -> tuple[str, Any]:
    """A certificate in PEM, and the private key that belongs to it."""
    certificate, key = make_ca(directory).issue(("idp.example",))
    private = load_pem_private_key(Path(key).read_bytes(), None)
    return Path(certificate).read_text(), private


async def test_a_certificate_or_bare_base64_stands_for_its_public_key(
    tmp_path: Path,
) -> None:
    """Identity providers give out both."""
    certificate, private = certified_key(tmp_path)
    is_rsa = isinstance(private, RSAPrivateKey)
    name = "rsa_public_key" if is_rsa else "ecdsa_public_key"
    body = "".join(public_pem(private).strip().split("\n")[1:-1])
    token = sign({"sub": "u"}, private, "RS256" if is_rsa else "ES256")
    for text in (certificate, body):
        assert (await connect(token, _with_key(name, text))).user == "u"


async def test_the_secret_before_is_taken_while_it_is_valid() -> None:
    """Until the time that is set, or for ever."""
    old = sign({"sub": "u"}, "old")
    for until, good in ((0, True), (NOW_S, True), (NOW_S - 1, False)):
        settings = TokenSettings(
            hmac_secret_key="new",
            hmac_previous_secret_key="old",
            hmac_previous_secret_key_valid_until=until,
        )
        assert (await connect(sign({"sub": "u"}, "new"), settings)).user == "u"
        if good:
            assert (await connect(old, settings)).user == "u"
        else:
            with pytest.raises(TokenInvalid):
                await connect(old, settings)


@pytest.mark.parametrize(
    ("claims", "error"),
    [
        ({"exp": NOW_S + 1}, None),
        ({"exp": NOW_S}, TokenExpired),
        ({"exp": NOW_S - 1}, TokenExpired),
        ({"exp": NOW_S + 0.5}, None),
        ({"nbf": NOW_S}, None),
        ({"nbf": NOW_S + 1}, TokenExpired),
        ({"exp": None, "nbf": None}, None),
        ({"exp": "soon"}, TokenInvalid),
        ({"exp": True}, TokenInvalid),
        ({"exp": 1e300}, TokenInvalid),
        ({"exp": 2**53}, None),
        ({"exp": 2**53 + 2}, TokenInvalid),
        ({"sub": 42}, TokenInvalid),
        ({"sub": None}, None),
        ({"channels": ["a", 1]}, TokenInvalid),
        ({"channels": "a"}, TokenInvalid),
        ({"channel": "a"}, TokenInvalid),
        ({"channel": ""}, None),
        ({"b64info": "!"}, TokenInvalid),
        ({"subs": []}, TokenInvalid),
        ({"subs": {"a": 1}}, TokenInvalid),
        ({"subs": {"a": {"override": 1}}}, TokenInvalid),
        ({"subs": {"a": {"override": {"presence": True}}}}, TokenInvalid),
        ({"subs": {"a": {"override": {"presence": {"value": 1}}}}}, TokenInvalid),
        ({"labels": {"a": 1}}, TokenInvalid),
        ({"jti": 1}, TokenInvalid),
    ],
)
async def test_times_and_shapes_of_claims(
    claims: dict[str, Any], error: type[Exception] | None
) -> None:
    """There is no leeway, and what cannot be read is no token."""
    token = sign({"sub": "u", **claims})
    if error is None:
        await connect(token)
    else:
        with pytest.raises(error):
            await connect(token)


async def test_a_bad_signature_says_nothing_about_expiry() -> None:
    """Only who signed it may learn that it is over."""
    with pytest.raises(TokenInvalid):
        await connect(sign({"exp": 1}, "other"))


@pytest.mark.parametrize(
    ("claims", "expire_at"),
    [
        ({}, 0),
        ({"exp": NOW_S + 60}, NOW_S + 60),
        ({"exp": NOW_S + 60, "expire_at": NOW_S + 5}, NOW_S + 5),
        ({"exp": NOW_S + 60, "expire_at": 0}, 0),
        ({"exp": NOW_S + 60, "expire_at": -1}, 0),
        ({"expire_at": NOW_S - 5}, NOW_S - 5),
    ],
)
async def test_expire_at_overrides_exp(claims: dict[str, Any], expire_at: int) -> None:
    """For the connection and the subscription; `exp` itself is still checked."""
    assert (await connect(sign(claims))).expire_at == expire_at
    granted = await subscribe(sign({"channel": "c", **claims}))
    assert granted.expire_at == expire_at


async def test_all_claims_of_a_connection() -> None:
    """Payloads keep their bytes, whatever spacing and numbers they have."""
    text = (
        '{"sub":"42","info": {"big": 12345678901234567890, "f": 1.50},'
        '"meta" :{"m":  1},"channels":["a","b"],"labels":{"plan":"pro"},'
        '"jti":"id-1","iat":1700000000.9,"unknown":{"x":[1]},'
        '"subs":{"a":{"b64info":"AAE=","data":[ 1 ],"override":'
        '{"presence":{"value":true},"join_leave":{"value":false},'
        '"force_push_join_leave":{},"force_recovery":null}},"b":{},"c":null}}'
    )
    claims = await connect(sign(text))
    assert claims.user == "42"
    assert claims.info == b'{"big": 12345678901234567890, "f": 1.50}'
    assert claims.meta == b'{"m":  1}'
    assert claims.channels == ("a", "b")
    assert claims.labels == {"plan": "pro"}
    assert (claims.token_id, claims.issued_at) == ("id-1", 1700000000)
    assert list(claims.subs) == ["a", "b", "c"]
    assert claims.subs["a"].info == b"\x00\x01"
    assert claims.subs["a"].data == b"[ 1 ]"
    assert claims.subs["a"].overrides == {
        "presence": True,
        "join_leave": False,
        "force_push_join_leave": False,
    }
    assert claims.subs["b"] == SubscriptionClaims(user="", channel="b")


async def test_all_claims_of_a_subscription() -> None:
    """Base64 wins over the plain form."""
    claims = await subscribe(
        sign(
            {
                "sub": "42",
                "channel": "chat",
                "client": "c-1",
                "info": {"a": 1},
                "b64info": base64.b64encode(b"raw").decode(),
                "data": "text",
                "override": {"force_positioning": {"value": True}},
                "jti": "id-2",
                "iat": 7,
            }
        )
    )
    assert claims == SubscriptionClaims(
        user="42",
        channel="chat",
        client="c-1",
        info=b"raw",
        data=b'"text"',
        overrides={"force_positioning": True},
        token_id="id-2",
        issued_at=7,
    )


async def test_a_subscription_token_needs_its_channel() -> None:
    """A connection token does not open channels."""
    with pytest.raises(TokenInvalid):
        await subscribe(sign({"sub": "u"}))


async def test_another_claim_can_name_the_user() -> None:
    """`user_id_claim` replaces `sub`."""
    settings = TokenSettings(hmac_secret_key=SECRET, user_id_claim="uid")
    assert (await connect(sign({"sub": "a", "uid": "b"}), settings)).user == "b"
    assert (await connect(sign({"sub": "a"}), settings)).user == ""
    granted = await subscribe(sign({"uid": "b", "channel": "c"}), settings)
    assert granted.user == "b"


@pytest.mark.parametrize(
    ("settings", "claims", "good"),
    [
        ({"audience": "me"}, {"aud": "me"}, True),
        ({"audience": "me"}, {"aud": ["you", "me"]}, True),
        ({"audience": "me"}, {"aud": "you"}, False),
        ({"audience": "me"}, {}, False),
        ({"audience": "me"}, {"aud": 1}, False),
        ({"audience_regex": "^m"}, {"aud": ["you", "me"]}, True),
        ({"audience_regex": "^m"}, {"aud": "you"}, False),
        ({"audience_regex": ".*"}, {}, False),
        ({"issuer": "me"}, {"iss": "me"}, True),
        ({"issuer": "me"}, {"iss": "mean"}, False),
        ({"issuer": "me"}, {}, False),
        ({"issuer_regex": "^m"}, {"iss": "mean"}, True),
        ({"issuer_regex": "^m$"}, {"iss": "m\n"}, False),
        ({}, {"aud": "any", "iss": "any"}, True),
    ],
)
async def test_audience_and_issuer(
    settings: dict[str, str], claims: dict[str, Any], good: bool
) -> None:
    """Checked only where they are configured."""
    chosen = TokenSettings(hmac_secret_key=SECRET, **settings)  # type: ignore[arg-type] # all are texts
    if good:
        await connect(sign(claims), chosen)
    else:
        with pytest.raises(TokenInvalid):
            await connect(sign(claims), chosen)


async def test_subscription_tokens_can_have_keys_of_their_own() -> None:
    """Then neither kind is good for the other."""
    shared = verifier()
    own = verifier(subscription=TokenSettings(hmac_secret_key="own"))
    token = sign({"channel": "c"})
    assert (await shared.verify_subscription(token)).channel == "c"
    with pytest.raises(TokenInvalid):
        await own.verify_subscription(token)
    signed = sign({"channel": "c"}, "own")
    assert (await own.verify_subscription(signed)).channel == "c"
    with pytest.raises(TokenInvalid):
        await own.verify_connection(sign({}, "own"))


async def test_without_signatures_everything_else_still_holds() -> None:
    """For servers behind something that verified the token."""
    trusting = verifier(TokenSettings(audience="me"), skip_signature=True)
    assert (await trusting.verify_connection(sign({"aud": "me"}, "x"))).user == ""
    with pytest.raises(TokenExpired):
        await trusting.verify_connection(sign({"aud": "me", "exp": 1}, "x"))
    with pytest.raises(TokenInvalid) as raised:
        await trusting.verify_connection(sign({}, "x"))
    assert raised.value.is_proven
    trusting.replace(HMAC, HMAC)
    assert (await trusting.verify_connection(sign({}, "x"))).user == ""
    token = sign({"channel": "c"}, "x")
    assert (await trusting.verify_subscription(token)).channel == "c"


def part(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


GOOD = sign({"sub": "u"})
HEAD, BODY, SIGNATURE = GOOD.split(".")


@pytest.mark.parametrize(
    "token",
    [
        "",
        "...",
        "a.b",
        f"{GOOD}.x",
        f"{HEAD}.{BODY}.",
        f"{HEAD}.{BODY}.{SIGNATURE[:-2]}",
        f"{HEAD}.{BODY}.{SIGNATURE}=",
        f"{HEAD}.{BODY}. {SIGNATURE}",
        f"{HEAD}.{BODY}\n.{SIGNATURE}",
        f"{HEAD}.{part('[]')}.{SIGNATURE}",
        f"{part('[]')}.{BODY}.{SIGNATURE}",
        f"{part('x')}.{BODY}.{SIGNATURE}",
        f"{part({'alg': 1})}.{BODY}.{SIGNATURE}",
        f"{part({})}.{BODY}.{SIGNATURE}",
        f"{part('[' * 100_000)}.{BODY}.{SIGNATURE}",
        f"{HEAD}.{part('{' * 100_000)}.{SIGNATURE}",
        "ü.ü.ü",
        "a" * (2 << 20),
    ],
)
async def test_what_is_no_token(token: str) -> None:
    """Nothing but TokenInvalid leaves, whatever comes in."""
    with pytest.raises(TokenInvalid):
        await connect(token)


async def test_extensions_that_must_be_understood_are_refused() -> None:
    """`crit` names what this verifier does not know."""
    header = {"crit": ["b64"], "b64": False}
    made = encode_hmac_token({"sub": "u"}, SECRET)
    assert (await connect(made)).user == "u"
    signed = f"{part({'alg': 'HS256', **header})}.{part({'sub': 'u'})}"
    mac = hmac.new(SECRET.encode(), signed.encode(), hashlib.sha256).digest()
    token = f"{signed}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"
    with pytest.raises(TokenInvalid):
        await connect(token)


async def test_keys_can_be_replaced_while_in_use() -> None:
    """A key that cannot be used leaves the old ones in place."""
    made = verifier()
    with pytest.raises(ValueError, match="rsa_public_key"):
        made.replace(TokenSettings(rsa_public_key="nonsense"))
    assert (await made.verify_connection(GOOD)).user == "u"
    made.replace(TokenSettings(hmac_secret_key="new"))
    with pytest.raises(TokenInvalid):
        await made.verify_connection(GOOD)


@pytest.mark.parametrize(
    "settings",
    [
        TokenSettings(rsa_public_key="x"),
        TokenSettings(ecdsa_public_key="x"),
        TokenSettings(ecdsa_public_key=public_pem(rsa_key())),
        TokenSettings(rsa_public_key=public_pem(ec_key())),
        TokenSettings(audience_regex="("),
        TokenSettings(issuer_regex="[[:nope:]]"),
        TokenSettings(jwks_public_endpoint="https://x"),
    ],
)
def test_settings_that_cannot_be_used(settings: TokenSettings) -> None:
    """They are found at the start, not with the first token."""
    with pytest.raises(ValueError, match=r"\w"):
        verifier(settings)


@pytest.mark.parametrize(
    "claims",
    [
        r'{"sub":"\ud800"}',
        r'{"sub":"u","jti":"a\udfff"}',
        r'{"sub":"u","labels":{"a":"\ud800"}}',
        r'{"sub":"u","labels":{"\ud800":"a"}}',
        r'{"sub":"u","channels":["\ud800"]}',
        r'{"sub":"u","subs":{"\ud800":{}}}',
        '{"sub":"u","iat":' + "9" * 5000 + "}",
        '{"sub":"u","labels":' + "[" * 5000 + "]" * 5000 + "}",
    ],
)
async def test_claims_that_no_other_node_could_read(claims: str) -> None:
    """Half of a surrogate pair, or what is too long or too deep, is no claim."""
    with pytest.raises(TokenInvalid):
        await connect(sign(claims))
    assert (await connect(sign(r'{"sub":"\ud83d\ude00"}'))).user == "😀"


@pytest.mark.parametrize(
    ("claims", "settings", "is_proven"),
    [
        ({"sub": "u", "channel": "c"}, {}, True),
        ({"sub": 1}, {}, True),
        ({"sub": "u", "aud": "other"}, {"audience": "app"}, True),
        ({"sub": "u", "iss": "other"}, {"issuer_regex": "^app$"}, True),
        ({"sub": "u", "exp": "soon"}, {}, True),
    ],
)
async def test_who_holds_a_signed_token_may_know_what_is_wrong(
    claims: dict[str, Any], settings: dict[str, Any], is_proven: bool
) -> None:
    """Who made one up with another key may not, whatever else is wrong."""
    made = TokenVerifier(
        TokenSettings(hmac_secret_key=SECRET, **settings), clock=MovedClock()
    )
    for key, expected in ((SECRET, is_proven), ("another", False)):
        with pytest.raises(TokenInvalid) as raised:
            await made.verify_connection(sign(claims, key))
        assert raised.value.is_proven is expected
