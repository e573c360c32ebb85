"""Reads a PostgreSQL dsn once, as libpq does, and shows it. Part of `config`.

It must not connect. A message never repeats a value: a part that looks like a host may
be the rest of a password that nobody escaped.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tocsin.config.placeholders import find_placeholder
from tocsin.config.showing import hide, show_word
from tocsin.config.urls import MASK

_URL = re.compile(r"postgres(?:ql)?://")
_OTHER_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.:-]*://")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_OPTION = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,39}")
_PORT = re.compile(r"[0-9]{1,5}")

_FORMS = "postgresql://user:password@host:5432/name or host=... dbname=..."
_ESCAPES = "write / ? # @ : % and blanks in a password as %2F %3F %23 %40 %3A %25 %20"

_UNCLEAR = f"has a / ? # or @ where none can stand: {_ESCAPES}"

_PGBOUNCER = "say it with database.postgresql.pgbouncer"
_POOL = "say it with database.postgresql.pool_max_size"
_HINTS: Mapping[str, str] = {
    **dict.fromkeys(
        (
            *("pgbouncer", "prepared_statements", "prepareThreshold"),
            *("statement_cache_mode", "statement_cache_size"),
            *("default_query_exec_mode", "prepared_statement_cache_size"),
        ),
        _PGBOUNCER,
    ),
    **dict.fromkeys(
        (
            *("pool", "pool_size", "pool_timeout", "pool_max_conns", "max_conns"),
            *("connection_limit", "pool_min_conns", "max_pool_size"),
        ),
        _POOL,
    ),
    **dict.fromkeys(
        ("schema", "search_path", "currentSchema"),
        "say it as options=-csearch_path%3DNAME",
    ),
    **dict.fromkeys(("charset", "encoding"), "it is client_encoding"),
    **dict.fromkeys(("ssl", "tls", "ssl_mode"), "it is sslmode"),
    **dict.fromkeys(("ssl_ca", "sslca", "sslrootca"), "it is sslrootcert"),
    **dict.fromkeys(("username", "userid", "login"), "it is user"),
    **dict.fromkeys(("database", "db"), "it is dbname"),
    **dict.fromkeys(("hostname", "server"), "it is host"),
    **dict.fromkeys(("pass", "pwd"), "it is password"),
    "timeout": "it is connect_timeout, in seconds",
}
"""Options of other drivers, and what to write here."""

_TLS_VERSIONS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
_PROTOCOLS = ("3.0", "3.2", "latest")
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "sslmode": (
        *("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    ),
    "target_session_attrs": (
        *("any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
    ),
    "channel_binding": ("disable", "prefer", "require"),
    "gssencmode": ("disable", "prefer", "require"),
    "load_balance_hosts": ("disable", "random"),
    "sslnegotiation": ("postgres", "direct"),
    "sslcertmode": ("allow", "disable", "require"),
    "ssl_min_protocol_version": _TLS_VERSIONS,
    "ssl_max_protocol_version": _TLS_VERSIONS,
    "min_protocol_version": _PROTOCOLS,
    "max_protocol_version": _PROTOCOLS,
}
_AUTH = ("password", "md5", "gss", "sspi", "scram-sha-256", "oauth", "none")
_FULL = ("verify-full", None)
_STRONG = ("require", "verify-ca", "verify-full")
_NUMBERS = (
    *("connect_timeout", "keepalives", "keepalives_idle", "keepalives_interval"),
    *("keepalives_count", "tcp_user_timeout"),
)
_SHOWN = (
    *("sslmode", "sslrootcert", "sslcert", "application_name", "connect_timeout"),
    *("target_session_attrs", "load_balance_hosts", "hostaddr", "channel_binding"),
    *("gssencmode", "client_encoding", "options", "keepalives", *_NUMBERS),
    *("sslnegotiation", "sslcertmode", "ssl_min_protocol_version", "require_auth"),
    *("ssl_max_protocol_version", "min_protocol_version", "max_protocol_version"),
)
"""Options whose value is no secret."""


@dataclass(frozen=True, slots=True)
class PostgresDsn:
    """A dsn, read: libpq's arguments by name, and whether it was written as a URL."""

    arguments: Mapping[str, str] = field(repr=False)
    is_url: bool

    @property
    def password(self) -> str:
        """The password in it, or nothing."""
        return self.arguments.get("password", "")

    @property
    def place(self) -> str:
        """`HOST:PORT/NAME`, without user and password."""
        where = ",".join(f"{host}{port and f':{port}'}" for host, port in self._hosts())
        name = self.arguments.get("dbname", "")
        return f"{where or 'the local socket'}{name and f'/{name}'}"

    def masked(self) -> str:
        """In the form it was written, with the password and unknown values masked."""
        return self._as_url() if self.is_url else self._as_words()

    def _as_url(self) -> str:
        given = self.arguments
        where = ",".join(
            f"{_host_in_url(host)}{port and f':{port}'}" for host, port in self._hosts()
        )
        user = given.get("user", "")
        login = f"{user}:{MASK}@" if self.password else f"{user}@" if user else ""
        options = "&".join(f"{name}={value}" for name, value in self._options())
        name = given.get("dbname", "")
        text = f"postgresql://{login}{where}{name and f'/{name}'}"
        return f"{text}?{options}" if options else text

    def _hosts(self) -> Iterator[tuple[str, str]]:
        """Each host with its port; a single port is every host's."""
        given = self.arguments
        hosts = (given.get("host") or given.get("hostaddr", "")).split(",")
        ports = given.get("port", "").split(",")
        if len(ports) != len(hosts):
            ports = ports[:1] * len(hosts)
        yield from zip(hosts, ports, strict=True)

    def _as_words(self) -> str:
        first = ("host", "hostaddr", "port", "dbname", "user")
        known = [(n, self.arguments[n]) for n in first if n in self.arguments]
        known += [("password", MASK)] * bool(self.password)
        known += [pair for pair in self._options() if pair[0] not in first]
        return " ".join(f"{name}={_quoted(value)}" for name, value in known)

    def _options(self) -> Iterator[tuple[str, str]]:
        for name, value in self.arguments.items():
            if name not in ("host", "port", "user", "password", "dbname"):
                yield name, value if name in _SHOWN else MASK


def parse_postgres(dsn: str) -> PostgresDsn:
    """What a dsn says; raises `ValueError` with words for a person, and no value."""
    dsn = dsn.strip()
    is_url = _URL.match(dsn) is not None
    if not is_url and (_OTHER_URL.match(dsn) or "=" not in dsn):
        raise ValueError(f"must be written as libpq takes it: {_FORMS}")
    if shape := find_placeholder(dsn):
        raise ValueError(f"holds a placeholder that nothing has filled in ({shape})")
    if not (dsn if is_url else " ".join(dsn.split())).isprintable():
        raise ValueError("holds a control character or a line break")
    arguments = _ask_libpq(dsn)
    if arguments is None:
        find = _find_fault_in_url if is_url else _find_fault_in_words
        raise ValueError(find(dsn))
    if is_url and _is_ambiguous(dsn):
        raise ValueError(_UNCLEAR)
    for message in _find_bad_values(arguments):
        raise ValueError(message)
    return PostgresDsn(arguments, is_url)


def _ask_libpq(dsn: str) -> dict[str, str] | None:
    # Here, since a configuration without PostgreSQL needs no driver.
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    try:
        found = conninfo_to_dict(dsn)
    except (psycopg.Error, UnicodeError):
        return None
    return {name: str(value) for name, value in found.items() if value is not None}


def _known_options() -> frozenset[str]:
    from psycopg.pq import Conninfo

    return frozenset(each.keyword.decode() for each in Conninfo.get_defaults())


def _is_ambiguous(url: str) -> bool:
    """Whether an @ stands where libpq reads it as a part of something else.

    libpq ends the login at the first @, and looks for none after the first slash. So an
    unescaped @ or / in a password would send the rest of it as a host.
    """
    rest = url.partition("://")[2]
    before, at, after = rest.partition("@")
    if at and "/" not in before:
        rest = after
    path = rest.partition("?")[0]
    return "@" in path or ("@" in rest and not at)


def _find_fault_in_url(url: str) -> str:
    """Why libpq refuses a URL, as far as that can be told without a value."""
    if _BAD_ESCAPE.search(url):
        return "holds a % that begins no escape: write % itself as %25"
    if "%00" in url:
        return "holds %00, which no value can have"
    if " " in url:
        return "holds a blank: write it as %20"
    rest = url.partition("://")[2]
    before, at, after = rest.partition("@")
    if at and "/" not in before:
        rest = after
    if "@" in rest:
        return _UNCLEAR
    options = rest.partition("?")[2]
    names = [pair.partition("=")[0] for pair in options.split("&")] if options else []
    fault = _find_bad_option(names, may_be_value=False)
    return fault or f"cannot be read: write {_FORMS}; {_ESCAPES}"


def _find_fault_in_words(words: str) -> str:
    """The same for `name=value` pairs."""
    names: list[str] = []
    for match in re.finditer(
        r"\s*([^\s=]*)\s*(=?)\s*('(?:[^'\\]|\\.)*'|(?:[^\s'\\]|\\.)*)(['\\]?)", words
    ):
        name, equals, _, left = match.groups()
        if left:
            return "has a quote or a backslash that nothing ends"
        if name and not equals:
            return (
                "has a word without a value: a value with blanks, or with ' or \\,"
                " needs quotes, as in password='a b', and \\ before ' and \\"
            )
        if name:
            names.append(name)
    # A name here may be the rest of a password that lacks its quotes, so it is hidden.
    fault = _find_bad_option(names, may_be_value=True)
    return fault or f"cannot be read: write {_FORMS}"


def _find_bad_option(names: list[str], *, may_be_value: bool) -> str:
    known = _known_options()
    for name in names:
        if name in known:
            continue
        if not _OPTION.fullmatch(name):
            return "has an option whose name is none"
        is_told = name in _HINTS or not may_be_value
        words = f"has the option {show_word(name) if is_told else hide(name)}"
        near = difflib.get_close_matches(name, known, 1, 0.75)
        hint = _HINTS.get(name) or (f"did you mean {near[0]}?" if near else "")
        return f"{words}, which libpq does not know{hint and f': {hint}'}"
    return ""


def _host_in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host.replace("/", "%2F")


def _find_bad_values(given: Mapping[str, str]) -> Iterator[str]:
    hosts = given.get("host", given.get("hostaddr", "")).split(",")
    ports = given["port"].split(",") if "port" in given else []
    if any(port and not 0 < _number(port) < 65536 for port in ports):
        yield f"has a port that is none; {_ESCAPES}"
    if len(ports) > 1 and len(ports) != len(hosts):
        yield "must have one port, or one for each host"
    if any(c in host for host in hosts for c in "@?#= "):
        yield f"has a host that is none; {_ESCAPES}"
    if "://" in given.get("dbname", "") or "=" in given.get("dbname", ""):
        yield "has a dbname that is a dsn itself"
    for name, choices in _CHOICES.items():
        value = given.get(name, choices[0])
        # libpq takes these in any case of letters, and empty.
        if choices is _TLS_VERSIONS:
            is_known = value.lower() in ("", *map(str.lower, choices))
        else:
            is_known = value in choices
        if not is_known:
            yield f"{name} must be one of {', '.join(choices)}"
    yield from _find_bad_security(given)
    if not all(map(_is_address, given.get("hostaddr", "").split(","))):
        yield "hostaddr must be an IP address; a name goes into host"
    if given.get("replication", "").lower() in ("true", "on", "yes", "1", "database"):
        yield "replication is for those who copy a database, and takes no queries"
    for name in _NUMBERS:
        if name in given and not re.fullmatch(r"\s*-?[0-9]{1,9}\s*", given[name]):
            yield f"{name} must be a whole number"


def _find_bad_security(given: Mapping[str, str]) -> Iterator[str]:
    """What libpq would refuse only when it connects: too weak, or unknown."""
    sslmode = given.get("sslmode", "prefer")
    if given.get("sslnegotiation") == "direct" and sslmode not in _STRONG:
        yield f"sslnegotiation=direct needs an sslmode of {', '.join(_STRONG)}"
    if given.get("sslrootcert") == "system" and given.get("sslmode") not in _FULL:
        yield "sslrootcert=system needs sslmode=verify-full"
    if methods := given.get("require_auth", ""):
        words = methods.split(",")
        if not all(word.removeprefix("!") in _AUTH for word in words):
            yield f"require_auth must be made of {', '.join(_AUTH)}"
        if len({word.startswith("!") for word in words}) > 1:
            yield "require_auth must have ! before all of its methods, or before none"


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.strip().partition("%")[0])
    except ValueError:
        return not text
    return True


def _number(text: str) -> int:
    return int(text) if _PORT.fullmatch(text) else 0


def _quoted(value: str) -> str:
    if value and not any(c in value for c in " '\\"):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
