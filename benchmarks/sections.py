"""Every section of RESULTS.md: its name on the command line, and what measures it."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.markdown import table, verdicts
from benchmarks.realtime_sections import (
    measure_hostile,
    measure_processes,
    measure_publish,
    measure_start,
    measure_websocket,
)


def measure_engine() -> str:
    """The fan-out engine beside other HTTP clients."""
    from benchmarks import engine

    result = engine.run()
    ours = result["figures"]["engine"]["per_second"]
    rows = [
        (
            name,
            f"{figure['per_second']:,.0f}",
            f"{figure['cpu_us']:.1f}",
            f"{ours / figure['per_second']:.2f} x",
        )
        for name, figure in result["figures"].items()
    ]
    return (
        "## The engine beside other HTTP clients\n\n"
        f"Sink {result['sink']}, TLS, {result['body_bytes']}-byte FCM body,"
        f" {result['in_flight']} in flight, each client a process of its own;"
        f" {result['rounds']} alternating rounds of {result['seconds']:g} s, medians."
        " Statuses and bodies are checked. aiohttp speaks HTTP/1.1 over 100"
        " connections.\n\n"
        + table(("client", "requests/s", "CPU µs per request", "engine is"), rows)
        + "\n\n"
        + verdicts(result["verdicts"])
    )


def measure_sends() -> str:
    """A broadcast end to end, and the worker's memory at five times the devices."""
    from benchmarks import end_to_end

    runs = [end_to_end.run(devices=200_000) for _ in range(3)]
    runs.sort(key=lambda run: run["pushes_per_s"])
    median = runs[1]
    large = end_to_end.run(devices=1_000_000)
    workers = ("worker 1", "worker 2")
    rows = [
        (
            f"{run['devices']:,}",
            f"{run['pushes_per_s']:,.0f}",
            f"{run['cpu_us_per_push']:.1f}",
            f"{run['answered_ms']:.1f}",
            *(f"{run['peak_mb'][n]:.0f}" for n in ("server", *workers)),
        )
        for run in (median, large)
    ]
    growth = max(
        large["peak_mb"][n] - median["peak_mb"][n] for n in ("worker 1", "worker 2")
    )
    return (
        "## A broadcast, end to end\n\n"
        "Devices on one topic in PostgreSQL (fsync on), Redis Streams (AOF everysec),"
        f" one server, two workers, sink {median['sink']} on the same cores. One send"
        " over gRPC, measured until every push is answered and counted. CPU is that"
        " of server and workers. Median of three runs at 200,000; one at 1,000,000."
        "\n\n"
        + table(
            (
                "devices",
                "pushes/s",
                "CPU µs per push",
                "send answered, ms",
                "peak MB server",
                "worker 1",
                "worker 2",
            ),
            rows,
        )
        + f"\n\nA worker's peak grew by {growth:+.1f} MB from 200,000 to 1,000,000"
        " devices. Wanted: at least 10,000 pushes/s, at most 10 MB growth, under 200"
        " MB."
    )


def measure_webpush() -> str:
    """Web Push beside a pywebpush loop."""
    from benchmarks import webpush

    result = webpush.run()
    ours = result["figures"]["tocsin"]["per_second"]
    rows = [
        (
            name,
            f"{figure['per_second']:,.0f}",
            f"{figure['cpu_us']:.0f}",
            f"{ours / figure['per_second']:.2f} x",
        )
        for name, figure in result["figures"].items()
    ]
    return (
        "## Web Push beside pywebpush\n\n"
        f"Sink {result['sink']}, TLS, {result['payload_bytes']}-byte payload, 1,000"
        " browsers with keys of their own, one process each;"
        f" {result['rounds']} alternating rounds of {result['seconds']:g} s, medians."
        " pywebpush has one requests session and a parsed key; it signs each message"
        " but in the row that says so. Encryption alone has no network.\n\n"
        + table(("client", "messages/s", "CPU µs per message", "tocsin is"), rows)
        + "\n\n"
        + verdicts(result["verdicts"])
    )


def measure_apns() -> str:
    """APNs beside an aioapns loop."""
    from benchmarks import apns

    result = apns.run()
    ours = result["figures"]["tocsin"]["per_second"]
    rows = [
        (
            name,
            f"{figure['per_second']:,.0f}",
            f"{figure['cpu_us']:.1f}",
            f"{ours / figure['per_second']:.2f} x",
        )
        for name, figure in result["figures"].items()
    ]
    return (
        "## APNs beside aioapns\n\n"
        f"Sink {result['sink']}, TLS, {result['payload_bytes']}-byte payload, 1,000"
        f" device tokens, one connection, {result['in_flight']} in flight, one process"
        f" each; {result['rounds']} alternating rounds of {result['seconds']:g} s,"
        " medians.\n\n"
        + table(("client", "pushes/s", "CPU µs per push", "tocsin is"), rows)
        + "\n\n"
        + verdicts(result["verdicts"])
    )


def measure_hms() -> str:
    """HMS in requests of a thousand tokens beside one-token requests."""
    from benchmarks import hms

    result = hms.run()
    ours = result["figures"]["tocsin"]["per_second"]
    rows = [
        (
            name,
            f"{figure['per_second']:,.0f}",
            f"{figure['requests_per_second']:,.0f}",
            f"{figure['cpu_us']:.1f}",
            f"{ours / figure['per_second']:.1f} x",
        )
        for name, figure in result["figures"].items()
    ]
    return (
        "## HMS in batches beside one token a request\n\n"
        f"Sink {result['sink']} (it reads each body before it answers), TLS, HTTP/1.1,"
        f" {result['message_bytes']}-byte message"
        f" and tokens of 130 characters; {result['batch']} tokens in a request and two"
        " requests in flight, beside aiohttp with 100 requests of one token in flight;"
        f" {result['rounds']} alternating rounds of {result['seconds']:g} s, medians."
        "\n\n"
        + table(
            ("client", "tokens/s", "requests/s", "CPU µs per token", "tocsin is"),
            rows,
        )
    )


def measure_rendered() -> str:
    """Rendered sends beside plain ones, end to end."""
    from benchmarks import end_to_end

    plain, rendered = [], []
    for _ in range(3):
        plain.append(end_to_end.run(devices=100_000))
        rendered.append(end_to_end.run(devices=100_000, templated=True))
    rows, rates = [], []
    for name, runs in (("plain", plain), ("rendered", rendered)):
        runs.sort(key=lambda run: run["pushes_per_s"])
        rates.append(runs[1]["pushes_per_s"])
        rows.append((name, f"{rates[-1]:,.0f}", f"{runs[1]['cpu_us_per_push']:.1f}"))
    verdict = {
        "what": "rendered / plain",
        "is": rates[1] / rates[0],
        "wanted": ">= 0.5",
        "reached": rates[1] >= 0.5 * rates[0],
    }
    return (
        "## A text for each device\n\n"
        "As above with 100,000 devices; the rendered message names each device's user."
        " Median of three alternating runs.\n\n"
        + table(("send", "pushes/s", "CPU µs per push"), rows)
        + "\n\n"
        + verdicts([verdict])
    )


def measure_latency() -> str:
    """One send's way to the provider, acceptance and registration."""
    from benchmarks import latency

    result = latency.run()
    rows = [
        ("one send, answered, p50", f"{result['answered_p50_ms']:.1f} ms"),
        (
            "one send, first byte at the provider, p50",
            f"{result['reached_p50_ms']:.1f} ms",
        ),
        ("the same, p99", f"{result['reached_p99_ms']:.1f} ms"),
        (
            "the same beside a broadcast, p50",
            f"{result['beside_broadcast_p50_ms']:.1f} ms",
        ),
        (
            f"send to a topic of {result['devices']:,} devices, answered",
            f"{result['topic_answered_ms']:.1f} ms",
        ),
        ("devices registered over gRPC", f"{result['registered_per_s']:,.0f}/s"),
        ("sends accepted over gRPC", f"{result['grpc_accepted_per_s']:,.0f}/s"),
        ("sends accepted over HTTP", f"{result['http_accepted_per_s']:,.0f}/s"),
    ]
    wanted = [
        ("one send's way to the provider, p50 ms", "reached_p50_ms", 20.0, False),
        ("a topic of 1,000,000 answered, ms", "topic_answered_ms", 50.0, False),
        (
            "one send beside a broadcast, p50 ms",
            "beside_broadcast_p50_ms",
            100.0,
            False,
        ),
        ("registrations/s, one server process", "registered_per_s", 800.0, True),
    ]
    return (
        "## From the call to the provider\n\n"
        "An idle deployment: PostgreSQL (fsync on), Redis (AOF everysec), one server,"
        " one worker, and the simulator in the measuring process, which notes arrivals."
        " Registration by 64 callers, acceptance by 32, workers sending meanwhile.\n\n"
        + table(("what", "figure"), rows)
        + "\n\n"
        + verdicts(
            {
                "what": what,
                "is": result[key],
                "wanted": f"{'>=' if more else '<='} {limit:g}",
                "reached": (result[key] >= limit) == more,
            }
            for what, key, limit, more in wanted
        )
    )


def measure_mix() -> str:
    """One send to devices of four providers, end to end."""
    from benchmarks import mix

    result = mix.run()
    rows = [
        (name, f"{figure['devices']:,}", f"{figure['finished_s']:.1f}")
        for name, figure in result["providers"].items()
    ]
    return (
        "## One send, four providers\n\n"
        f"As the broadcast above, with {result['devices']:,} devices of FCM, APNs, HMS"
        " and Web Push on one topic, in one send with a message for each; sink"
        f" {result['sink']}. Every push is counted once, none failed.\n\n"
        + table(("provider", "devices", "last one after, s"), rows)
        + f"\n\nTogether {result['pushes_per_s']:,.0f} pushes/s,"
        f" {result['cpu_us_per_push']:.1f} CPU µs per push, encryption for the browsers"
        " included."
    )


ALL: tuple[tuple[str, Callable[[], str]], ...] = (
    ("engine", measure_engine),
    ("sends", measure_sends),
    ("rendered", measure_rendered),
    ("latency", measure_latency),
    ("webpush", measure_webpush),
    ("apns", measure_apns),
    ("hms", measure_hms),
    ("mix", measure_mix),
    ("publish", measure_publish),
    ("websocket", measure_websocket),
    ("processes", measure_processes),
    ("hostile", measure_hostile),
    ("start", measure_start),
)
