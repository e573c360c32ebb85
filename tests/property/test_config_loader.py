import json
import random
import tempfile
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tocsin.cli.config_meaning import describe_config
from tocsin.config import Config, ConfigError, load_config
from tocsin.config.durations import format_duration, parse_duration
from tocsin.config.names import env_name, renamed
from tocsin.config.root import built

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["30s", "fcm", "redis", "h:1", "postgresql://h/x", "true", "1"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.text(max_size=8), inner, max_size=3),
    ),
    max_leaves=6,
)
NAMES = st.one_of(
    st.sampled_from(sorted(built())),
    st.sampled_from(sorted(renamed())),
    st.sampled_from(["database", "push_notifications.queue", "client", "proxies"]),
    st.text(max_size=12),
)


def nest(flat: dict[str, Any]) -> dict[str, Any]:
    root: dict[str, Any] = {}
    for name, value in flat.items():
        *parents, last = name.split(".")
        node: Any = root
        for parent in parents:
            below = node.get(parent)
            if not isinstance(below, dict):
                below = node[parent] = {}
            node = below
        node[last] = value
    return root


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(NAMES, VALUES, max_size=6))
def test_any_file_is_a_config_or_a_list_of_faults(flat: dict[str, Any]) -> None:
    """Whatever a file holds, the loader ends with a Config or with its own error."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "c.json"
        path.write_text(json.dumps(nest(flat)))
        try:
            loaded = load_config(str(path), environ={})
        except ConfigError as error:
            assert error.faults  # noqa: PT017 - either end is right
            assert len(str(error).splitlines()) == len(error.faults)  # noqa: PT017
        else:
            assert isinstance(loaded.config, Config)
            json.dumps(loaded.config.redacted())


VARIABLES = st.one_of(
    st.sampled_from(sorted(env_name(key) for key in built())),
    st.sampled_from(sorted(env_name(key) for key in renamed())),
    st.sampled_from(["PUSH_NOTIFICATIONS", "GRPC_API_TLS"]),
    st.text(alphabet="ABC_01", max_size=12),
)


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(
        st.tuples(st.sampled_from(["TOCSIN_", "CENTRIFUGO_", "X_"]), VARIABLES),
        st.one_of(st.text(max_size=20), VALUES.map(json.dumps)),
        max_size=5,
    )
)
def test_any_environment_is_a_config_or_a_list_of_faults(
    variables: dict[tuple[str, str], str],
) -> None:
    """Whatever variables are set, the loader ends with a Config or its own error."""
    environ = {prefix + name: text for (prefix, name), text in variables.items()}
    try:
        loaded = load_config(None, environ=environ)
    except ConfigError as error:
        assert error.faults  # noqa: PT017 - either end is right
    else:
        assert isinstance(loaded.config, Config)


@given(st.integers(min_value=0, max_value=10**6 * 3600 * 10**3))
@example(1_186_831_514_083)
def test_a_shown_duration_reads_back(milliseconds: int) -> None:
    """What the program prints as a duration is what it would read."""
    seconds = milliseconds / 1000
    assert parse_duration(format_duration(seconds)) == seconds


# From a seed: a secret of zeros would be no secret.
RAW = st.builds(
    lambda seed, size: random.Random(seed).randbytes(size),
    st.integers(0, 2**32),
    st.integers(24, 48),
)
SECRETS = st.one_of(
    RAW.map(lambda raw: b64encode(raw).decode()),
    RAW.map(lambda raw: urlsafe_b64encode(raw).decode()),
    RAW.map(bytes.hex),
)
FORMS: list[Callable[[str], object]] = [
    lambda s: s,
    lambda s: f"postgresql://user:{s}@host/db",
    lambda s: f"postgresql://user@host/db?{s}=1",
    lambda s: f"redis://:{s}@host:6379",
    lambda s: f"http://user:{s}@host:8123",
    lambda s: f"host=h password={s} dbname=x",
    lambda s: f"-----BEGIN PRIVATE KEY-----\n{s}\n-----END PRIVATE KEY-----",
    lambda s: f'{{"private_key": "{s}"}}',
    lambda s: [s],
    lambda s: {s: 1},
    lambda s: [{"identifier": s, "provider": s, "name": s}],
]


@settings(max_examples=200, deadline=None)
@given(SECRETS, st.sampled_from(FORMS), st.sampled_from(sorted(built())))
def test_no_message_repeats_a_secret(
    secret: str, form: Callable[[str], object], key: str
) -> None:
    """Whichever key it was written to, in whatever form."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "c.json"
        path.write_text(json.dumps({key: form(secret)}))
        try:
            loaded = load_config(str(path), environ={})
        except ConfigError as error:
            told = str(error).replace(folder, "")
        else:
            told = "\n".join(loaded.warnings).replace(folder, "")
            told += "".join(f"{n} {text}" for n, text in describe_config(loaded.config))
    for start in range(4, len(secret) - 8):
        assert secret[start : start + 8] not in told
