from __future__ import annotations

import pytest

from tocsin.api.legacy import NUMBERS, LegacyCommand, read_commands
from tocsin.api.methods.table import COMMANDS
from tocsin.protocol.json_text import JsonFault

# As the pages of the API and its oldest clients have them.
PUBLISHED = {
    0: "publish",
    1: "broadcast",
    2: "unsubscribe",
    3: "disconnect",
    4: "presence",
    5: "presence_stats",
    6: "history",
    7: "history_remove",
    8: "channels",
    9: "info",
    10: "rpc",
    11: "subscribe",
    12: "refresh",
    14: "connections",
    22: "device_register",
    23: "device_update",
    24: "device_remove",
    25: "device_list",
    26: "device_topic_list",
    27: "device_topic_update",
    28: "user_topic_list",
    29: "user_topic_update",
    30: "send_push_notification",
    31: "update_push_status",
    32: "cancel_push",
    33: "map_publish",
    38: "map_clear",
    39: "shared_poll_publish",
}


def test_numbers() -> None:
    """Every method has one number, the published one; 13 belongs to none."""
    assert {number: NUMBERS[number] for number in PUBLISHED} == PUBLISHED
    assert sorted(NUMBERS.values()) == sorted(COMMANDS)
    assert set(NUMBERS) == set(range(40)) - {13}


def test_params_are_kept_as_text() -> None:
    """What a command wants is not looked into before it runs."""
    (command,) = read_commands(b' {"params": { "a": 1 } , "METHOD":"Info","Id":3} ')
    assert command == LegacyCommand(3, "info", b'{ "a": 1 }')
    (command,) = read_commands(b'{"method":9}')
    assert command == LegacyCommand(0, "info", None)
    (command,) = read_commands(b'{"method":77,"params":null,"more":[]}')
    assert command == LegacyCommand(0, 77, b"null")


@pytest.mark.parametrize("between", ["", " ", "\n", "\r\n \t"])
def test_commands_follow_each_other(between: str) -> None:
    """White space between commands is free; text inside may hold braces."""
    body = between.join(['{"id":1,"params":"}{"}', '{"id":2}', "null", '{"id":4}'])
    commands = read_commands(body.encode())
    assert [command.id for command in commands] == [1, 2, 0, 4]
    assert commands[0].params == b'"}{"'


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"", "not JSON"),
        (b'{"id":1}\n{"id":', "not JSON"),
        (b'{"id":1},{"id":2}', "not JSON"),
        (b'{"id":1}\n{"params":NaN}', "not JSON"),
        (b'{"id":1}\n' + b"9" * 6000, "not JSON: a number is too long"),
        (b'{"id":1}\n' + b"[" * 100_000, "nested too deep"),
        (b'{"id":1}\n\xff', "not UTF-8"),
        (b'{"id":1.0}', "id: must be a whole number"),
        (b'{"id":1e999}', "id: cannot be read"),
        (b'{"method":"secret"}', "method: must be the name or number of a method"),
        (b"{}" * 10_001, "must hold at most 10000 commands"),
        (b"{}\n[]", "must be an object"),
    ],
)
def test_faults_of_form(body: bytes, fault: str) -> None:
    """A body with one fault is refused as a whole; the fault repeats nothing."""
    with pytest.raises(JsonFault) as caught:
        read_commands(body)
    assert str(caught.value).startswith(fault)
    assert "secret" not in str(caught.value)
