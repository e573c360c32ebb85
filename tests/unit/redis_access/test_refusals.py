"""What answers of Redis mean, in whatever form the client brings them."""

from __future__ import annotations

import pytest
from redis import exceptions as foreign
from redis._parsers.base import BaseParser

from tocsin.redis_access.pooling import WrongServer
from tocsin.redis_access.refusals import find_words, is_refusal

REFUSED = [
    "READONLY You can't write against a read only replica.",
    "READONLY You can't write against a read only replica. script: 5ca1, on @user:3.",
    "ERR Error running script (call to f_5ca1): @user_script:5: -READONLY You can't",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "LOADING Redis is loading the dataset in memory",
    "CLUSTERDOWN The cluster is down",
    "NOREPLICAS Not enough good replicas to write.",
    "NOREPLICAS Not enough good replicas to write. script: on @user_script:1.",
    "TRYAGAIN Multiple keys request during rehashing of slot",
    "UNBLOCKED force unblock, instance state changed (master -> replica?)",
]
NOT_REFUSED = [
    "MISCONF Redis is configured to save RDB snapshots, but it's unable to persist",
    "OOM command not allowed when used memory > 'maxmemory'.",
    "NOAUTH Authentication required.",
    "WRONGPASS invalid username-password pair or user is disabled.",
    "NOPERM User x has no permissions to run the 'set' command",
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL",
    "ERR max number of clients reached",
    "MOVED 3999 127.0.0.1:6381",
]
SILENT = [
    "ERR unknown command 'READONLY', with args beginning with: ",
    "WRONGTYPE Operation against a key holding the wrong kind of value",
    "UNBLOCKED the stream key no longer exists",
    "NOSCRIPT No matching script.",
    "BUSYGROUP Consumer Group name already exists",
    "my READONLY x",
]


@pytest.mark.parametrize("answer", REFUSED)
def test_a_refusal_is_told_from_an_error(answer: str) -> None:
    """Nothing was done, another server may do it; a person is told in words."""
    error = BaseParser.parse_error(answer)
    assert is_refusal(error)
    assert find_words(error) or answer.startswith(("TRYAGAIN", "UNBLOCKED"))


@pytest.mark.parametrize("answer", REFUSED[:7])
def test_a_refusal_among_several_is_found(answer: str) -> None:
    """The client writes before it which command it was."""
    error = BaseParser.parse_error(answer)
    error.args = (f"Command # 1 (SET a 1) of pipeline caused error: {error.args}",)
    assert is_refusal(error)


@pytest.mark.parametrize("answer", NOT_REFUSED)
def test_another_server_is_no_help(answer: str) -> None:
    """It is this server that needs a hand, and the words say which."""
    error = BaseParser.parse_error(answer)
    assert not is_refusal(error)
    assert find_words(error)


@pytest.mark.parametrize("answer", SILENT)
def test_errors_of_a_command_are_its_own(answer: str) -> None:
    """They say nothing about the server."""
    error = BaseParser.parse_error(answer)
    assert not is_refusal(error)
    assert find_words(error) == ""


@pytest.mark.parametrize(
    "error", [OSError("READONLY x"), TimeoutError(), foreign.ConnectionError("gone")]
)
def test_what_was_lost_is_not_refused(error: Exception) -> None:
    """It may have been done."""
    assert not is_refusal(error)
    assert find_words(error) == ""


def test_a_dialled_replica_is_a_refusal() -> None:
    """Before anything was sent."""
    assert is_refusal(WrongServer("x"))
