from tocsin.cli.config_meaning import describe_config
from tocsin.config import Config


def lines(**sections: object) -> dict[str, str]:
    return dict(describe_config(Config.model_validate(sections)))


def test_named_keys_are_told_with_their_limits() -> None:
    """By name, what they may call and how often; no key and no hash of one."""
    keys = [
        {"name": "billing", "key": "hunter2hunter2"},
        {
            "name": "phones",
            "key_sha256": "ab" * 32,
            "methods": ["device_*", "Info"],
            "rate": "6000/m",
        },
    ]
    told = lines(
        http_api={"keys": keys}, grpc_api={"key": "hunter3hunter3", "keys": keys[:1]}
    )
    assert (
        "named keys: billing (all methods), phones (device_* Info 6000/m)"
        in (told["HTTP"])
    )
    assert "key set, named keys: billing (all methods)" in told["gRPC API"]
    assert "hunter" not in str(told)
    assert "abab" not in str(told)
    assert "no key set: every call is refused" in lines()["gRPC API"]


def test_many_keys_are_told_by_the_first_of_them() -> None:
    """The line stays readable."""
    keys = [{"name": f"k{number}", "key": f"key-{number}"} for number in range(12)]
    assert "k9 (all methods) and 2 more" in lines(http_api={"keys": keys})["HTTP"]
