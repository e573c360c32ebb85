"""How each fault of a plan is done to a stage, and how it is undone."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import redis
from tests.disaster.schedule import Fault
from tests.disaster.stage import DRAIN_S, Stage
from tests.disaster.witness import Witness

Act = Callable[[Stage, Fault], None]

_COPIES: dict[int, Path] = {}
"""Copies of stores by the fault that is to put them back."""


def begin(stage: Stage, fault: Fault) -> None:
    """Let it happen."""
    _ACTS[fault.kind][0](stage, fault)


def end(stage: Stage, fault: Fault) -> None:
    """Let it be over; what it did to data stays."""
    _ACTS[fault.kind][1](stage, fault)


def ahead_s(fault: Fault) -> float:
    """How long before its beginning it has to be prepared."""
    if fault.kind not in _PREPARED:
        return 0.0
    return _number(fault.how)


def prepare(stage: Stage, fault: Fault) -> None:
    """Take the copy, or leave the replica behind, that it will bring in."""
    _PREPARED[fault.kind](stage, fault)


def _number(text: str) -> float:
    found = re.search(r"[\d.]+", text)
    return float(found[0]) if found else 0.0


def _nothing(stage: Stage, fault: Fault) -> None:
    """What lasts no time has no end."""


# -- processes ----------------------------------------------------------------


def _end_process(stage: Stage, fault: Fault) -> None:
    stage.children[fault.target].end(signal.Signals[fault.how])


def _start_process(stage: Stage, fault: Fault) -> None:
    child = stage.children[fault.target]
    child.wait_ended(DRAIN_S + 4)
    child.start()


def _pause(stage: Stage, fault: Fault) -> None:
    _signal(stage, fault.target, signal.SIGSTOP)


def _go_on(stage: Stage, fault: Fault) -> None:
    _signal(stage, fault.target, signal.SIGCONT)


def _signal(stage: Stage, target: str, number: signal.Signals) -> None:
    if target == "redis":
        if stage.redis.is_running:
            os.kill(stage.redis.pid, number)
    else:
        stage.children[target].tell(number)


def _step_clock(stage: Stage, fault: Fault) -> None:
    if clock := stage.clocks.get(fault.target):
        clock.step(fault.how)


def _set_clock(stage: Stage, fault: Fault) -> None:
    if clock := stage.clocks.get(fault.target):
        clock.step("+0 s")


# -- stores -------------------------------------------------------------------


def _take_away(stage: Stage, fault: Fault) -> None:
    if fault.target == "provider":
        stage.switch.off()
        return
    server = stage.redis if fault.target == "redis" else stage.postgres
    if fault.how == "killed":
        server.kill()
    else:
        server.stop()


def _bring_back(stage: Stage, fault: Fault) -> None:
    if fault.target == "provider":
        stage.switch.on()
        return
    server = stage.redis if fault.target == "redis" else stage.postgres
    if not server.is_running:
        server.start_again()


def _fill_disk(stage: Stage, fault: Fault) -> None:
    if fault.target == "redis":
        stage.limit_files(4096)
    else:
        stage.fill_tables()


def _empty_disk(stage: Stage, fault: Fault) -> None:
    if fault.target == "redis":
        stage.limit_files(None)
    else:
        stage.empty_tables()


def _lose_redis(stage: Stage, fault: Fault) -> None:
    stage.redis.kill()
    shutil.rmtree(stage.redis.directory / "appendonlydir")


def _cut_redis(stage: Stage, fault: Fault) -> None:
    stage.redis.kill()
    with contextlib.suppress(ValueError):  # it has less than that
        stage.redis.cut_log(int(_number(fault.how) * 1024))


def _leave_replica_behind(stage: Stage, fault: Fault) -> None:
    stage.start_replica()
    replica = stage.replica
    assert replica is not None
    with redis.Redis(port=replica.port) as client:
        end = time.monotonic() + 5
        while client.info("replication").get("master_link_status") != "up":
            if time.monotonic() > end:
                raise TimeoutError("the replica of Redis is not in step")
            time.sleep(0.01)
        # In step at this moment; from now on it hears no more of the primary.
        client.execute_command("REPLICAOF", "NO", "ONE")


def _lose_primary(stage: Stage, fault: Fault) -> None:
    stage.redis.kill()


def _lead_to_replica(stage: Stage, fault: Fault) -> None:
    replica, line = stage.replica, stage.line
    assert replica is not None
    assert line is not None
    stage.redis, stage.replica = replica, stage.redis
    line.lead_to(replica.port)


def _copy_store(stage: Stage, fault: Fault) -> None:
    copy = stage.copy_redis() if fault.target == "redis" else stage.copy_postgres()
    _COPIES[id(stage)] = copy


def _put_back(stage: Stage, fault: Fault) -> None:
    copy = _COPIES.pop(id(stage))
    if fault.target == "redis":
        stage.redis.kill()
        stage.put_back_redis(copy)
    else:
        stage.postgres.stop()
        stage.put_back_postgres(copy)


# -- the provider -------------------------------------------------------------


def _answer(stage: Stage, fault: Fault) -> None:
    stage.tell_provider(lambda it: it.faults.change({"send": {"fault": fault.how}}))


def _answer_well(stage: Stage, fault: Fault) -> None:
    stage.tell_provider(lambda it: it.faults.change({"send": None}))


def _forget_tokens(stage: Stage, fault: Fault) -> None:
    stage.tell_provider(Witness.expire_access_tokens)


def _refuse_tokens(stage: Stage, fault: Fault) -> None:
    status, _, error = fault.how.partition(" ")
    wish = {"token": {"status": int(status), "error": error, "times": 50}}

    def refuse(it: Witness) -> None:
        it.faults.change(wish)
        it.expire_access_tokens()

    stage.tell_provider(refuse)


def _grant_tokens(stage: Stage, fault: Fault) -> None:
    stage.tell_provider(lambda it: it.faults.change({"token": None}))


def _say_goodbye(stage: Stage, fault: Fault) -> None:
    stage.tell_provider(lambda it: it.faults.change({"goaway_after": 20}))


def _stay(stage: Stage, fault: Fault) -> None:
    stage.tell_provider(lambda it: it.faults.change({"goaway_after": 0}))


class _Garbage(threading.Thread):
    """Answers every connection of a port with bytes that mean nothing."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self._listener = socket.create_server(("127.0.0.1", port))
        self._listener.settimeout(0.05)
        self._is_over = threading.Event()

    def run(self) -> None:
        while not self._is_over.is_set():
            with contextlib.suppress(OSError):
                peer, _ = self._listener.accept()
                with peer:
                    peer.sendall(b"\x15\x03garbage\x00\xff" * 20)

    def end(self) -> None:
        self._is_over.set()
        self.join()
        self._listener.close()


_GARBAGE: dict[int, _Garbage] = {}


def _talk_garbage(stage: Stage, fault: Fault) -> None:
    stage.switch.off()
    port = int(stage.witness.origin.rpartition(":")[2])
    _GARBAGE[id(stage)] = talker = _Garbage(port)
    talker.start()


def _talk_sense(stage: Stage, fault: Fault) -> None:
    if talker := _GARBAGE.pop(id(stage), None):
        talker.end()
        stage.switch.on()


_PREPARED: dict[str, Act] = {
    "fails over": _leave_replica_behind,
    "restored": _copy_store,
}
_ACTS: dict[str, tuple[Act, Act]] = {
    "ended": (_end_process, _start_process),
    "paused": (_pause, _go_on),
    "clock steps": (_step_clock, _set_clock),
    "away": (_take_away, _bring_back),
    "disk full": (_fill_disk, _empty_disk),
    "comes back empty": (_lose_redis, _bring_back),
    "log cut": (_cut_redis, _bring_back),
    "fails over": (_lose_primary, _lead_to_replica),
    "restored": (_put_back, _bring_back),
    "answers": (_answer, _answer_well),
    "forgets tokens": (_forget_tokens, _nothing),
    "grants no token": (_refuse_tokens, _grant_tokens),
    "says goodbye": (_say_goodbye, _stay),
    "talks garbage": (_talk_garbage, _talk_sense),
}
