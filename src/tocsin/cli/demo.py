"""`tocsin demo`: shows the main job on a terminal. It prints, and decides nothing."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tocsin.cli.configuration import add_log_config, read_log_level

if TYPE_CHECKING:  # asyncio and gRPC cost more than all of `--help` may
    from tocsin.app.demo import DemoStage, SendSummary
    from tocsin.app.lifecycle import Stopper
    from tocsin.protocol.api_pb2 import (
        DeviceRegisterRequest,
        SendPushNotificationRequest,
    )

EXAMPLES = Path(__file__).parents[3] / "examples"
"""Those of a checkout."""
API = "centrifugal.centrifugo.api.CentrifugoApi"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument(
        "--devices",
        type=Path,
        metavar="FILE",
        help="DeviceRegister requests as JSON, one a line",
    )
    parser.add_argument(
        "--message",
        type=Path,
        metavar="FILE",
        help="one SendPushNotification request as JSON",
    )
    parser.add_argument(
        "--keep", action="store_true", help="leave it running, with lines to try"
    )
    add_log_config(parser)


def run(args: argparse.Namespace) -> int:
    """Play the demo; exit code 1 when it could not be played to its end.

    2 when a file that it was to play is missing or wrong.
    """
    level = read_log_level(args, "error")
    if level is None:
        return 2
    from tocsin.app.demo import DemoError, DemoInputError
    from tocsin.app.lifecycle import run as run_loop
    from tocsin.telemetry.logs import configure_logging

    configure_logging(level, stream=sys.stderr)
    try:
        return run_loop(lambda stopper: _play(args, stopper))
    except DemoError as error:
        print(f"tocsin demo: {error}", file=sys.stderr)
        return 2 if isinstance(error, DemoInputError) else 1


async def _play(args: argparse.Namespace, stopper: Stopper) -> int:
    from tocsin.app.demo import read_devices, read_message
    from tocsin.app.lifecycle import unless_stopped

    devices = read_devices(args.devices or _example("devices.jsonl"))
    message = read_message(args.message or _example("message.json"))
    show = Showing(devices, message, stopper, keep=args.keep)
    await unless_stopped(show.run(), stopper)
    if not show.is_over:
        print("stopped before the end")
        return 1
    return 0


class Showing:
    """One run of the demo; `is_over` once its summary is printed."""

    def __init__(
        self,
        devices: list[DeviceRegisterRequest],
        message: SendPushNotificationRequest,
        stopper: Stopper,
        *,
        keep: bool,
    ) -> None:
        self._devices = devices
        self._message = message
        self._stopper = stopper
        self._keep = keep
        self.is_over = False

    async def run(self) -> None:
        """Play it in a folder of its own, which is gone at the end."""
        from tocsin.app.demo import play, stage

        with tempfile.TemporaryDirectory(prefix="tocsin-demo-") as folder:
            async with stage(Path(folder), self._stopper) as on:
                print(
                    "Tocsin in one process: gRPC server, SQLite, queue, worker, and"
                    f" local push services at {on.simulator.origin}"
                )
                print_summary(await play(on, self._devices, self._message, Ticker()))
                self.is_over = True
                if self._keep:
                    print_lines_to_try(on)
                    await self._stopper.wait()


def _example(name: str) -> Path:
    """Where an installed package has it, else a checkout."""
    for path in (Path(__file__).with_name("examples") / name, EXAMPLES / name):
        if path.exists():
            return path
    from tocsin.app.demo import DemoInputError

    option = "--devices" if name.startswith("devices") else "--message"
    raise DemoInputError(f"{name} is not installed: pass {option} FILE")


class Ticker:
    """Progress as one line that moves on a terminal, else a line a second."""

    def __init__(self) -> None:
        self._what = ""
        self._began = 0.0
        self._shown = 0.0
        self._live = sys.stdout.isatty()

    def progress(self, what: str, done: int, total: int) -> None:
        """See `Show.progress`."""
        now = time.monotonic()
        if what != self._what:
            self._what, self._began, self._shown = what, now - 0.1, 0.0
        complete = bool(total) and done >= total
        if not (self._live or complete or now - self._shown >= 1):
            return
        self._shown = now
        rate = done / (now - self._began)
        of = f" of {total:,}" if total else ""
        line = f"  {what:<11} {done:>7,}{of}   {rate:>8,.0f}/s"
        if self._live:
            print(f"\r{line}   ", end="\n" if complete else "", flush=True)
        else:
            print(line, flush=True)


def print_summary(summary: SendSummary) -> None:
    """The end of the demo: every recipient accounted for."""
    send_s = max(summary.send_s, 0.001)
    failed = sum(summary.failed.values())
    print(
        f"\n\nregistered   {summary.registered:>7,} devices over gRPC"
        f" in {summary.register_s:.1f} s"
        f"\naccepted     {summary.recipients:>7,} recipients in one send"
        f"\ndelivered    {summary.delivered:>7,} over HTTP/2 in {summary.send_s:.1f} s"
        f" ({summary.delivered / send_s:,.0f}/s)"
    )
    for provider, count in summary.by_provider.most_common():
        print(f"  {provider:<21} {count:>7,}")
    print(
        f"retried      {summary.retried:>7,} answers that asked to try again"
        f"\nfailed       {failed:>7,}"
    )
    for code, count in summary.failed.most_common():
        print(f"  {code:<21} {count:>7,}")
    print(
        f"removed      {summary.removed:>7,} devices whose token is dead"
        f"\ndead letters {summary.dead_letters:>7,}"
        "\nfrom accept to the provider's answer:"
        f" p50 {summary.latency_ms(0.5):,} ms, p99 {summary.latency_ms(0.99):,} ms"
    )
    if (online := summary.online) is not None:
        print(
            f"\nonline       {online.users:>7,} users over WebSocket"
            f" in {online.connect_s:.1f} s"
            f"\nreached      {online.heard:>7,} of them by a second send with"
            f" online_first, the last after {online.last_heard_ms:,.0f} ms"
            f"\nnot pushed   {summary.spared:>7,} devices of theirs"
        )


def print_lines_to_try(on: DemoStage) -> None:
    """Commands that work against the running demo."""
    from tocsin.app.demo_online import CHANNEL

    grpc = f"127.0.0.1:{on.listening.grpc_port}"
    http = f"http://127.0.0.1:{on.listening.http_port}"
    call = f"grpcurl -plaintext -H 'authorization: apikey {on.key}'"
    post = f"curl -sS -H 'X-API-Key: {on.key}'"
    few = '{"limit": 3, "include_topics": true}'
    count = (
        '{"filter": {"topics": ["santos"]}, "limit": 1, "include_total_count": true}'
    )
    body = '{"fcm": {"message": {"notification": {"title": "Goal"}}}}'
    send = f'{{"recipient": {{"topics": ["santos"]}}, "notification": {body}}}'
    publication = f'{{"channel": "{CHANNEL}", "data": {{"score": "1:0"}}}}'
    print(
        f"""
It keeps running until Ctrl-C. Try:

{call} {grpc} list
{call} -d '{few}' {grpc} {API}/DeviceList
{call} -d '{count}' {grpc} {API}/DeviceList

{post} {http}/api/send_push_notification -d '{send}'
{post} {http}/api/publish -d '{publication}'

curl {http}/health
curl {http}/ready
curl -s {http}/metrics | grep push_notification_count
curl -s --cacert {on.simulator.ca_file} {on.simulator.origin}/control/stats
""",
        flush=True,
    )
