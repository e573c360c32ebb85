"""What both APNs providers read of their settings before anything is sent.

It must not connect anywhere: a worker starts while Apple is away. Keys and passwords
never stand in an error.
"""

from __future__ import annotations

import secrets
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import urlsplit

import structlog
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID

from tocsin.config.apns import ApnsSection
from tocsin.config.pasted import (
    BEGIN,
    decode_any_base64,
    find_labels,
    pick_pem,
    read_text,
)
from tocsin.config.pem import PemError, load_pem
from tocsin.config.urls import mask_url
from tocsin.providers.apns_jwt import SigningKey
from tocsin.providers.errors import ProviderSetupError
from tocsin.providers.files import load_trust, read_file

SECTION = "push_notifications.apns"

ENDPOINTS: Mapping[str, str] = {
    "development": "https://api.sandbox.push.apple.com",
    "production": "https://api.push.apple.com",
}
"""Apple's two environments; a token is good in one of them only."""

_EXPIRY_WARNING_DAYS = 30
_KEYS = (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TokenAuth:
    """A .p8 key, as text or as a path, and its ids."""

    key_id: str
    team_id: str
    key_file: str = ""
    key_pem: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class CertAuth:
    """A .p12 certificate, as a path or as base64 text."""

    p12_file: str = ""
    p12_b64: str = field(default="", repr=False)
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who we are to Apple: the TLS context, the signing key if any, and the app.

    `expires_at_s` is the end of the certificate in Unix seconds; keys have none.
    """

    tls: ssl.SSLContext
    topic: str
    key: SigningKey | None = None
    expires_at_s: float | None = None


def find_origin(endpoint: str) -> str:
    """The origin of an environment's name, or the origin itself, checked."""
    if endpoint in ENDPOINTS:
        return ENDPOINTS[endpoint]
    parts = urlsplit(endpoint)
    if parts.scheme != "https" or not parts.hostname or parts.path.strip("/"):
        raise ProviderSetupError(
            f"{SECTION}.endpoint",
            f"{mask_url(endpoint)} is neither {' nor '.join(ENDPOINTS)} nor an https"
            " origin",
        )
    return f"https://{parts.netloc}"


def load_identity(
    auth: TokenAuth | CertAuth, *, bundle_id: str, ca_file: str = ""
) -> Identity:
    """Read key or certificate; raises `ProviderSetupError` naming the key at fault."""
    if isinstance(auth, TokenAuth):
        if not bundle_id:
            raise ProviderSetupError(f"{SECTION}.bundle_id", "must be set")
        return Identity(_trust(ca_file), bundle_id, load_key(auth))
    found = _load_p12(auth)
    topic = bundle_id or _app_of(found.certificate)
    if not topic:
        raise ProviderSetupError(
            f"{SECTION}.bundle_id", "must be set: the certificate names no app (UID)"
        )
    ends_at_s = found.certificate.not_valid_after_utc.timestamp()
    return Identity(_trust(ca_file, found), topic, expires_at_s=ends_at_s)


def load_key(auth: TokenAuth) -> SigningKey:
    """The .p8 key; raises `ProviderSetupError`."""
    for name, value in (("token_key_id", auth.key_id), ("token_team_id", auth.team_id)):
        if not value:
            raise ProviderSetupError(f"{SECTION}.{name}", "must be set")
    key = f"{SECTION}.{'token_key_pem' if auth.key_pem else 'token_key_file'}"
    raw = auth.key_pem or _read(auth.key_file, key)
    try:
        private = _parse_key(raw)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ProviderSetupError(key, _why_no_key(raw)) from None
    if not (
        isinstance(private, ec.EllipticCurvePrivateKey)
        and isinstance(private.curve, ec.SECP256R1)
    ):
        raise ProviderSetupError(key, "is no key of the curve P-256, as APNs needs it")
    return SigningKey(auth.team_id, auth.key_id, private)


def _parse_key(raw: bytes) -> PrivateKeyTypes:
    """A private key in PEM, in base64 without its BEGIN and END lines, or in DER."""
    pem = pick_pem(raw, "PRIVATE KEY")
    if pem:
        return serialization.load_pem_private_key(pem.encode(), None)
    der = decode_any_base64(read_text(raw)) or raw
    return serialization.load_der_private_key(der, None)


def _why_no_key(raw: bytes) -> str:
    """Says what a text is that holds no private key, without quoting it."""
    text, labels = read_text(raw), find_labels(raw)
    if not text:
        return "is empty"
    if "ENCRYPTED" in text and pick_pem(raw, "PRIVATE KEY"):
        return (
            "is encrypted with a passphrase, which Apple's .p8 keys are not: decrypt it"
            " with `openssl pkcs8 -in KEY -out AuthKey.p8`"
        )
    if "CERTIFICATE" in labels:
        return (
            "holds a certificate; wanted is the .p8 key, or the certificate with its"
            " key as cert_p12_file"
        )
    if "PUBLIC KEY" in labels:
        return "holds the public key; wanted is the private one, the .p8 file"
    if BEGIN in text and not labels:
        return "is cut: its BEGIN line has no END line that fits"
    if text.startswith("{"):
        return "is JSON (a service account?); wanted is Apple's .p8 key"
    if _is_p12(raw):
        return "is a .p12 certificate: name it in cert_p12_file"
    return "is no .p8 private key as Apple gives it out"


@dataclass(frozen=True, slots=True)
class _Bundle:
    """What a .p12 holds."""

    source: str
    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey = field(repr=False)


def _load_p12(auth: CertAuth) -> _Bundle:
    source = f"{SECTION}.{'cert_p12_b64' if auth.p12_b64 else 'cert_p12_file'}"
    if auth.p12_b64:
        text = read_text(auth.p12_b64)
        decoded = decode_any_base64(text.partition(";base64,")[2] or text)
        if decoded is None:
            raise ProviderSetupError(source, "is not base64")
        raw = decoded
    else:
        raw = _read(auth.p12_file, source)
        if not _is_p12(raw):
            raw = decode_any_base64(read_text(raw)) or raw
    found = _open_p12(raw, auth.password, source)
    if found.cert is None or not isinstance(found.key, _KEYS):
        raise ProviderSetupError(source, "must hold a certificate and its private key")
    chain = tuple(other.certificate for other in found.additional_certs)
    return _Bundle(source, found.cert.certificate, chain, found.key)


def _open_p12(
    raw: bytes, password: str, source: str
) -> pkcs12.PKCS12KeyAndCertificates:
    # A password from a mounted file often ends with a line end that is not part of it.
    for text in dict.fromkeys((password, password.strip())):
        try:
            return pkcs12.load_pkcs12(raw, text.encode() or None)
        except (ValueError, TypeError):
            continue
        except UnsupportedAlgorithm:
            raise ProviderSetupError(
                source,
                "is encrypted in a way that this OpenSSL no longer reads: open it with"
                " `openssl pkcs12 -legacy` and export it again",
            ) from None
    if not _is_p12(raw):
        pem = (
            " but PEM; join it with `openssl pkcs12 -export`"
            if find_labels(raw)
            else ""
        )
        raise ProviderSetupError(source, f"is no .p12 file{pem}")
    word = "is not" if password else "is empty: it is not"
    raise ProviderSetupError(
        source, f"cannot be opened: cert_p12_password {word} its password"
    )


def _is_p12(raw: bytes) -> bool:
    """Whether DER begins as PKCS #12 does: a sequence, then the version 3."""
    return raw[:1] == b"\x30" and b"\x02\x01\x03" in raw[:8]


def _read(file: str, key: str) -> bytes:
    if not file:
        raise ProviderSetupError(key, "must be set")
    return read_file(key, file)


def _app_of(certificate: x509.Certificate) -> str:
    """The bundle id that Apple wrote into a certificate of one app, or ""."""
    for attribute in certificate.subject.get_attributes_for_oid(NameOID.USER_ID):
        return str(attribute.value)
    return ""


def tell_expiry(identity: Identity) -> None:
    """Log how long the certificate is good for; a key needs no word."""
    if identity.expires_at_s is None:
        return
    expires = datetime.fromtimestamp(identity.expires_at_s, UTC)
    days = (expires - datetime.now(UTC)).days
    if days < 0:
        tell, word = _log.error, "has expired: Apple refuses it; renew it"
    elif days < _EXPIRY_WARNING_DAYS:
        tell, word = _log.warning, "expires soon: renew it"
    else:
        tell, word = _log.info, "is good"
    tell(
        f"the APNs certificate {word}",
        topic=identity.topic,
        expires=expires.isoformat(),
        days_left=days,
    )


def _trust(ca_file: str, shown: _Bundle | None = None) -> ssl.SSLContext:
    """System roots and `ca_file`, and the certificate to show."""
    context = load_trust(SECTION, ca_file)
    if shown is not None:
        _show(context, shown)
    return context


def _show(context: ssl.SSLContext, bundle: _Bundle) -> None:
    # OpenSSL loads from files only: for that moment the key lies there encrypted
    # under a password that nobody keeps.
    password = secrets.token_hex(32)
    pem = bundle.key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password.encode()),
    )
    for certificate in (bundle.certificate, *bundle.chain):
        pem += certificate.public_bytes(serialization.Encoding.PEM)
    with tempfile.NamedTemporaryFile(prefix="tocsin-") as file:
        file.write(pem)
        file.flush()
        try:
            context.load_cert_chain(file.name, password=password)
        except ssl.SSLError as error:
            reason = error.reason or "OpenSSL cannot use it"
            raise ProviderSetupError(bundle.source, reason) from None


def apns_auth(settings: ApnsSection) -> TokenAuth | CertAuth:
    """The credential of a section; raises `ProviderSetupError`."""
    if settings.resolved_auth_type == "cert":
        return CertAuth(
            p12_file=settings.cert_p12_file,
            p12_b64=settings.cert_p12_b64.get_secret_value(),
            password=settings.cert_p12_password.get_secret_value(),
        )
    pem = b""
    if settings.token_key_pem.get_secret_value():
        try:
            pem = load_pem(settings.token_key_pem)
        except PemError as error:
            pem = decode_any_base64(settings.token_key_pem.get_secret_value()) or b""
            # 0x30 begins every DER sequence.
            if not pem.startswith(b"\x30"):  # a key without its BEGIN and END lines
                raise ProviderSetupError(
                    f"{SECTION}.token_key_pem", str(error)
                ) from None
    return TokenAuth(
        key_id=read_text(settings.token_key_id),
        team_id=read_text(settings.token_team_id),
        key_file=settings.token_key_file,
        key_pem=pem,
    )
