from tocsin.app.push_limits import prepare_limits, read_limits
from tocsin.config import Config

LIMITS = {
    "token_length": 1,
    "topic_length": 2,
    "topics_per_device": 3,
    "page_size": 4,
    "payload_size": 5,
}


def test_every_limit_is_taken_when_it_is_said() -> None:
    """The object stays, since services have it."""
    limits = read_limits(Config())
    fresh = Config.model_validate({"push_notifications": {"limits": LIMITS}})
    take = prepare_limits(limits, fresh)
    assert limits == read_limits(Config())
    take()
    assert limits == read_limits(fresh)
    assert {name: getattr(limits, name) for name in LIMITS} == LIMITS
