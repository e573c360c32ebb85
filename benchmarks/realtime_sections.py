"""The sections of RESULTS.md about the realtime corridor, and about starting."""

from __future__ import annotations

from benchmarks.markdown import table, verdicts


def measure_publish() -> str:
    """Publishing over each door beside empty servers; history and presence."""
    from benchmarks import publish

    result = publish.run()
    rows = [
        (name, f"{figure['per_second']:,.0f}", f"{figure['cpu_us']:.1f}")
        for name, figure in result["figures"].items()
    ]
    return (
        "## Publishing, history and presence\n\n"
        f"{len(publish.DATA)} bytes of data, a history of 100, permissions on, 50"
        " callers on raw connections in a process and on a processor of their own;"
        f" {result['rounds']} alternating rounds of {result['seconds']:g} s, medians."
        " Ratios are medians of each round's. `empty` is a grpc.aio servicer, or an"
        " aiohttp handler, that does nothing."
        f" A batch of {publish.BATCH} counts as {publish.BATCH} calls; on Redis it is"
        " parallel. Redis keeps an append-only file, and shares the processors. Every"
        " answer is read: offsets never repeat, reads are whole.\n\n"
        + table(("call", "per second", "CPU µs of the server each"), rows)
        + "\n\n"
        + verdicts(result["verdicts"])
    )


def measure_websocket() -> str:
    """WebSocket fan-out and idle memory beside a bare aiohttp server."""
    from benchmarks import websocket

    result = websocket.run()
    names = {
        "per_second": ("deliveries/s", ",.0f"),
        "cpu_us": ("CPU µs of the server each", ".2f"),
        "publish_p50_ms": ("publish answered, p50 ms", ".1f"),
        "publish_p99_ms": ("p99 ms", ".1f"),
    }
    rows = [
        (
            f"{each['subscribers']:,}",
            each["publishers"],
            each["rounds"],
            kind,
            *(format(figures[name], form) for name, (_, form) in names.items()),
            f"{each['ratio']:.2f} x" if kind == "ours" else "",
        )
        for each in result["fan_out"]
        for kind, figures in each["figures"].items()
    ]
    idle = [
        (kind, *(f"{value:.1f}" for value in kb.values()))
        for kind, kb in result["idle"]["kb"].items()
    ]
    return (
        "## WebSocket fan-out and idle connections\n\n"
        f"`tocsin serve` with history, presence, recovery and permissions on; `bare` is"
        " aiohttp that only fans out: one frame per publication, built once, and a"
        " connection's writes joined per loop turn."
        f" {result['payload_bytes']}-byte JSON payload; a publisher waits for each"
        " answer. Server and clients on a processor each; medians of alternating"
        " rounds, and the median of the rounds' ratios. Nothing was lost, and each"
        " publisher's order was kept.\n\n"
        + table(
            (
                "subscribers",
                "publishers",
                "rounds",
                "server",
                *(title for title, _ in names.values()),
                "ours is",
            ),
            rows,
        )
        + "\n\nResident KB per idle connection at"
        f" {result['idle']['connections']:,} connections, JSON, no compression:\n\n"
        + table(("server", "connected", "with one subscription"), idle)
        + "\n\n"
        + verdicts(result["verdicts"])
    )


def measure_processes() -> str:
    """One process and two on the same ports."""
    from benchmarks import processes

    result = processes.run()
    rows = [
        (number, *(f"{rate:,.0f}" for rate in figures.values()))
        for number, figures in result["figures"].items()
    ]
    return (
        "## Several processes on one port\n\n"
        "`reuse_port` on gRPC and HTTP, Redis between the processes. Publishes by 50"
        f" callers; deliveries to {result['subscribers']:,} WebSocket subscribers, by"
        f" {result['publishers']} publishers, spread over the processes by the kernel."
        " Callers, processes and Redis share the processors, so two processes gain what"
        f" one leaves free; {result['rounds']} alternating rounds, medians. Nothing was"
        " lost and each publisher's order was kept.\n\n"
        + table(("processes", *processes.WORK), rows)
    )


def measure_hostile() -> str:
    """Latencies of good callers beside floods."""
    from benchmarks import hostile

    results = hostile.run()
    rows = [
        (
            each["connections"],
            each["flood"],
            *(
                f"{each['latency'][door]['p50_ms']:.1f} / {found['p99_ms']:.1f}"
                for door, found in each["latency"].items()
            ),
            f"{each['closed']:,}",
        )
        for each in results
    ]
    beyond = [
        f"{each['flood']} from {each['connections']} over {door}"
        for each in results
        for door, found in each["latency"].items()
        if found["p99_ms"] > hostile.WANTED_P99_MS
    ]
    return (
        "## Hostile clients\n\n"
        "A WebSocket client publishes, a back end does over HTTP and over gRPC, each"
        f" call {hostile.PACE_S * 1000:g} ms after the last was answered, while another"
        " process at the lowest priority floods one door from so many connections for"
        f" {hostile.SECONDS:g} s and opens anew what is closed. Milliseconds until the"
        " answer, p50 / p99.\n\n"
        + table(("connections", "flood", "WebSocket", "HTTP", "gRPC", "closed"), rows)
        + "\n\np99 above"
        f" {hostile.WANTED_P99_MS:g} ms: {', '.join(beyond) or 'none'}."
    )


def measure_start() -> str:
    """From start to ready."""
    from benchmarks import start

    result = start.run()
    rows = [
        (kind, *(f"{value:.2f}" for value in figures.values()))
        for kind, figures in result["figures"].items()
    ]
    return (
        "## Start\n\n"
        "`tocsin serve` on SQLite with warm files, until `/ready` answers 200;"
        f" {result['rounds']} rounds after one that does not count. `tocsin --help`:"
        f" {result['help_s']:.2f} s.\n\n"
        + table(("database", "median, s", "slowest, s", "CPU, s"), rows)
        + "\n\n"
        + verdicts(result["verdicts"])
    )
