import pytest

from tocsin.core.api_methods import (
    ADMIN_METHODS,
    ADMIN_RPCS,
    API_METHODS,
    RPCS,
    find_methods,
    snake_case,
)
from tocsin.protocol import admin_pb2, api_pb2


def test_the_names_are_those_of_the_schema() -> None:
    """A new RPC fails here until rights can be given for it by name."""
    api = api_pb2.DESCRIPTOR.services_by_name["CentrifugoApi"]
    assert sorted(RPCS) == sorted(rpc.name for rpc in api.methods)
    admin = admin_pb2.DESCRIPTOR.services_by_name["AdminApi"]
    assert sorted(ADMIN_RPCS) == sorted(rpc.name for rpc in admin.methods)


def test_snake_case() -> None:
    """The name in the schema becomes that of routes and batch fields."""
    assert snake_case("RPC") == "rpc"
    assert snake_case("SendPushNotification") == "send_push_notification"


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("device_register", {"device_register"}),
        ("DeviceRegister", {"device_register"}),
        ("RPC", {"rpc"}),
        ("presence*", {"presence", "presence_stats"}),
        ("{un,}block_user", {"block_user", "unblock_user"}),
        ("*", API_METHODS),
        ("push_funnel", {"push_funnel"}),
        ("admin.*", ADMIN_METHODS),
        ("admin.list_dead_letters", {"admin.list_dead_letters"}),
        ("admin.ListDeadLetters", {"admin.list_dead_letters"}),
        ("list_dead_letters", set()),
        ("Device*", set()),
        ("DEVICE_REGISTER", set()),
        ("publish ", set()),
        ("admin.publish", set()),
        ("[", set()),
        ("", set()),
    ],
)
def test_a_pattern_means_methods(pattern: str, found: set[str]) -> None:
    """A name, a pattern of names, or the name in the schema."""
    assert find_methods(pattern) == found
