from __future__ import annotations

import base64
import time
from dataclasses import replace
from pathlib import Path

import pytest
import structlog.testing
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from tests.support.pastings import PEM_WAYS

from tocsin.config.apns import ApnsSection
from tocsin.providers.apns_setup import (
    CertAuth,
    TokenAuth,
    apns_auth,
    find_origin,
    load_identity,
    load_key,
    tell_expiry,
)
from tocsin.providers.errors import ProviderSetupError
from tocsin.simulator.apns_keys import (
    BUNDLE_ID,
    KEY_ID,
    P12_PASSWORD,
    TEAM_ID,
    ApnsFiles,
    prepare_apns,
)
from tocsin.simulator.certificates import prepare_certificates

SECTION = "push_notifications.apns"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> ApnsFiles:
    directory = tmp_path_factory.mktemp("apns")
    prepare_certificates(directory)
    return prepare_apns(directory)[0]


@pytest.fixture
def key(files: ApnsFiles) -> TokenAuth:
    return TokenAuth(KEY_ID, TEAM_ID, str(files.key_file))


@pytest.fixture
def cert(files: ApnsFiles) -> CertAuth:
    return CertAuth(p12_file=str(files.p12_file), password=P12_PASSWORD)


@pytest.mark.parametrize(
    ("endpoint", "origin"),
    [
        ("development", "https://api.sandbox.push.apple.com"),
        ("production", "https://api.push.apple.com"),
        ("https://10.0.0.1:2197/", "https://10.0.0.1:2197"),
    ],
)
def test_endpoints(endpoint: str, origin: str) -> None:
    """Apple's two by name, any other by its origin."""
    assert find_origin(endpoint) == origin


@pytest.mark.parametrize("endpoint", ["", "prod", "http://x", "https://x/path"])
def test_a_wrong_endpoint_is_named(endpoint: str) -> None:
    """The error carries the configuration key."""
    with pytest.raises(ProviderSetupError, match="development") as caught:
        find_origin(endpoint)
    assert caught.value.key == f"{SECTION}.endpoint"


def test_a_key_signs_for_the_bundle(key: TokenAuth) -> None:
    """Key and ids as configured; nothing is shown in TLS."""
    identity = load_identity(key, bundle_id="com.example.app")
    assert identity.key is not None
    assert (identity.key.team_id, identity.key.key_id) == (TEAM_ID, KEY_ID)
    assert (identity.topic, identity.expires_at_s) == ("com.example.app", None)


def test_a_key_may_be_text(key: TokenAuth, files: ApnsFiles) -> None:
    """The content of the file does as well as its path."""
    text = replace(key, key_file="", key_pem=files.key_file.read_bytes())
    identity = load_identity(text, bundle_id="x")
    assert identity.key is not None
    assert identity.key.name.startswith(f"apns:{TEAM_ID}:{KEY_ID}:")
    assert "PRIVATE" not in repr(text)


def test_a_certificate_brings_its_app_and_its_end(cert: CertAuth) -> None:
    """The UID of the subject is the topic unless the configuration has one."""
    identity = load_identity(cert, bundle_id="")
    assert identity.topic == BUNDLE_ID
    assert identity.key is None
    assert identity.expires_at_s is not None
    assert load_identity(cert, bundle_id="other").topic == "other"


def test_no_key_is_left_on_disk(
    cert: CertAuth, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenSSL reads a file; afterwards there is none."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    load_identity(cert, bundle_id="")
    assert list(tmp_path.iterdir()) == []


def test_base64_of_a_certificate(cert: CertAuth, files: ApnsFiles) -> None:
    """Line breaks inside it do no harm; neither it nor the password shows."""
    text = base64.encodebytes(files.p12_file.read_bytes()).decode()
    auth = CertAuth(p12_b64=text, password=P12_PASSWORD)
    assert load_identity(auth, bundle_id="").topic == BUNDLE_ID
    assert text[:20] not in repr(auth)
    assert P12_PASSWORD not in repr(auth)


@pytest.mark.parametrize(
    ("change", "key_at_fault"),
    [
        ({"key_id": ""}, "token_key_id"),
        ({"team_id": ""}, "token_team_id"),
        ({"key_file": ""}, "token_key_file"),
        ({"key_file": "/does/not/exist"}, "token_key_file"),
        ({"key_file": "a\0b"}, "token_key_file"),
        ({"key_pem": b"-----BEGIN PRIVATE KEY-----\nxx\n"}, "token_key_pem"),
    ],
)
def test_a_wrong_key_is_named(
    key: TokenAuth, change: dict[str, str], key_at_fault: str
) -> None:
    """The error carries the configuration key, never the key itself."""
    with pytest.raises(ProviderSetupError) as caught:
        load_identity(replace(key, **change), bundle_id="x")  # type: ignore[arg-type] # each of its own type
    assert caught.value.key == f"{SECTION}.{key_at_fault}"
    assert "xx" not in str(caught.value)


@pytest.mark.parametrize("kind", ["rsa", "p384", "encrypted"])
def test_another_kind_of_key_is_refused(key: TokenAuth, kind: str) -> None:
    """Apple's keys are of the curve P-256 and without a password."""
    made = (
        rsa.generate_private_key(65537, 2048)
        if kind == "rsa"
        else ec.generate_private_key(
            ec.SECP384R1() if kind == "p384" else ec.SECP256R1()
        )
    )
    locked: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if kind == "encrypted":
        locked = serialization.BestAvailableEncryption(b"p")
    pem = made.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked
    )
    with pytest.raises(ProviderSetupError) as caught:
        load_identity(replace(key, key_pem=pem), bundle_id="x")
    assert caught.value.key == f"{SECTION}.token_key_pem"


def test_a_key_needs_a_bundle(key: TokenAuth) -> None:
    """Apple asks for a topic with every token."""
    with pytest.raises(ProviderSetupError) as caught:
        load_identity(key, bundle_id="")
    assert caught.value.key == f"{SECTION}.bundle_id"


@pytest.mark.parametrize(
    ("change", "key_at_fault"),
    [
        ({"password": "wrong"}, "cert_p12_file"),
        ({"password": ""}, "cert_p12_file"),
        ({"p12_file": ""}, "cert_p12_file"),
        ({"p12_file": "/does/not/exist"}, "cert_p12_file"),
        ({"p12_b64": "no base64!"}, "cert_p12_b64"),
        ({"p12_b64": "bm8gcDEy"}, "cert_p12_b64"),
    ],
)
def test_a_wrong_certificate_is_named(
    cert: CertAuth, change: dict[str, str], key_at_fault: str
) -> None:
    """The error carries the configuration key, never the password."""
    with pytest.raises(ProviderSetupError) as caught:
        load_identity(replace(cert, **change), bundle_id="x")
    assert caught.value.key == f"{SECTION}.{key_at_fault}"
    assert P12_PASSWORD not in str(caught.value)


def test_a_certificate_without_its_key_is_no_use(files: ApnsFiles) -> None:
    """Apple's portal gives the certificate alone; the key is in the keychain."""
    found = pkcs12.load_pkcs12(files.p12_file.read_bytes(), P12_PASSWORD.encode())
    assert found.cert is not None
    raw = pkcs12.serialize_key_and_certificates(
        b"x", None, found.cert.certificate, None, serialization.NoEncryption()
    )
    auth = CertAuth(p12_b64=base64.b64encode(raw).decode())
    with pytest.raises(ProviderSetupError, match="private key"):
        load_identity(auth, bundle_id="x")


def test_a_wrong_ca_file_is_named(key: TokenAuth) -> None:
    """A worker starts with the trust that was asked for, or not at all."""
    with pytest.raises(ProviderSetupError) as caught:
        load_identity(key, bundle_id="x", ca_file="/does/not/exist")
    assert caught.value.key == f"{SECTION}.ca_file"


@pytest.mark.parametrize(
    ("days", "level", "words"),
    [
        (-1, "error", "has expired"),
        (10, "warning", "expires soon"),
        (200, "info", "is good"),
    ],
)
def test_the_end_of_a_certificate_is_told(
    cert: CertAuth, days: int, level: str, words: str
) -> None:
    """At every start, louder as it comes nearer; of a key there is nothing to tell."""
    identity = load_identity(cert, bundle_id="")
    ends_at_s = time.time() + days * 86_400 + 60
    with structlog.testing.capture_logs() as logs:
        tell_expiry(replace(identity, expires_at_s=ends_at_s))
        tell_expiry(replace(identity, expires_at_s=None))
    (line,) = logs
    assert line["log_level"] == level
    assert words in line["event"]
    assert line["days_left"] == days


@pytest.mark.parametrize("way", PEM_WAYS)
@pytest.mark.parametrize(
    "form",
    [
        serialization.PrivateFormat.PKCS8,
        serialization.PrivateFormat.TraditionalOpenSSL,
    ],
    ids=["PKCS #8", "SEC 1"],
)
def test_a_key_is_read_however_it_was_pasted(
    key: TokenAuth,
    files: ApnsFiles,
    tmp_path: Path,
    way: str,
    form: serialization.PrivateFormat,
) -> None:
    """By file and as text, the same key signs."""
    made = serialization.load_pem_private_key(files.key_file.read_bytes(), None)
    pem = made.private_bytes(
        serialization.Encoding.PEM,
        form,
        serialization.NoEncryption(),
    )
    file = tmp_path / "AuthKey.p8"
    file.write_bytes(PEM_WAYS[way](pem))
    expected = load_key(key).name
    assert load_key(replace(key, key_file=str(file))).name == expected
    text = replace(key, key_file="", key_pem=file.read_bytes())
    assert load_key(text).name == expected


def test_a_key_is_read_without_its_begin_and_end_lines(
    key: TokenAuth, files: ApnsFiles
) -> None:
    """Some portals show only what stands between; it can be nothing else."""
    lines = files.key_file.read_bytes().strip().split(b"\n")
    for body in (b"\n".join(lines[1:-1]), b"".join(lines[1:-1])):
        assert load_key(replace(key, key_pem=body)).name == load_key(key).name
        settings = ApnsSection.model_validate(
            {"token_key_pem": body.decode(), "token_key_id": "k", "token_team_id": "t"}
        )
        auth = apns_auth(settings)
        assert isinstance(auth, TokenAuth)
        print_of = load_key(key).name.rpartition(":")[2]
        assert load_key(auth).name.rpartition(":")[2] == print_of


def _pem(label: str, body: str = "QUJD") -> bytes:
    return f"-----BEGIN {label}-----\n{body}\n-----END {label}-----\n".encode()


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b" \n", "is empty"),
        (_pem("CERTIFICATE"), "holds a certificate"),
        (_pem("PUBLIC KEY"), "holds the public key"),
        (_pem("ENCRYPTED PRIVATE KEY"), "encrypted with a passphrase"),
        (_pem("PRIVATE KEY")[:-20], "is cut"),
        (b'{"type": "service_account"}', "is JSON"),
        (_pem("PRIVATE KEY"), "is no .p8"),
        (b"hello", "is no .p8"),
    ],
)
def test_what_is_no_key_is_named(key: TokenAuth, raw: bytes, said: str) -> None:
    """Whoever mixed two files up reads which one it is."""
    with pytest.raises(ProviderSetupError) as caught:
        load_key(replace(key, key_pem=raw))
    assert said in str(caught.value)
    assert "QUJD" not in str(caught.value)


def test_a_certificate_in_place_of_a_key_is_named(
    key: TokenAuth, files: ApnsFiles
) -> None:
    """Apple gives out both."""
    with pytest.raises(ProviderSetupError, match="cert_p12_file"):
        load_key(replace(key, key_file=str(files.p12_file)))


@pytest.mark.parametrize("way", ["base64url", "data URI", "quoted", "literal"])
def test_a_certificate_is_read_however_it_was_pasted(
    cert: CertAuth, files: ApnsFiles, way: str
) -> None:
    """Base64 has two alphabets and many wrappings."""
    raw = files.p12_file.read_bytes()
    text = {
        "base64url": base64.urlsafe_b64encode(raw).decode().rstrip("="),
        "data URI": "data:a/b;base64," + base64.b64encode(raw).decode(),
        "quoted": f'"{base64.b64encode(raw).decode()}"',
        "literal": base64.encodebytes(raw).decode().replace("\n", "\\n"),
    }[way]
    auth = replace(cert, p12_file="", p12_b64=text)
    assert load_identity(auth, bundle_id="").topic == BUNDLE_ID


def test_a_certificate_file_in_base64_and_a_password_with_a_line_end(
    cert: CertAuth, files: ApnsFiles, tmp_path: Path
) -> None:
    """As secrets that are mounted as files come out."""
    file = tmp_path / "cert.p12"
    file.write_bytes(base64.encodebytes(files.p12_file.read_bytes()))
    auth = replace(cert, p12_file=str(file), password=P12_PASSWORD + "\n")
    assert load_identity(auth, bundle_id="").topic == BUNDLE_ID


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"password": "wrong"}, "cert_p12_password is not its password"),
        ({"password": ""}, "cert_p12_password is empty"),
        ({"p12_file": "", "p12_b64": "aGVsbG8="}, "is no .p12 file"),
    ],
)
def test_a_wrong_password_is_told_from_a_wrong_file(
    cert: CertAuth, change: dict[str, str], said: str
) -> None:
    """One of them is at fault, and it is said which."""
    with pytest.raises(ProviderSetupError, match=said):
        load_identity(replace(cert, **change), bundle_id="x")


def test_pem_in_place_of_a_certificate_is_named(
    cert: CertAuth, files: ApnsFiles
) -> None:
    """And how to join it."""
    with pytest.raises(ProviderSetupError, match="openssl pkcs12 -export"):
        load_identity(replace(cert, p12_file=str(files.key_file)), bundle_id="x")
