"""Figures of this process for a scrape: CPU, memory, files. Part of `telemetry`.

It must not fail where `/proc` is missing: it then shows what the standard library has.
"""

from __future__ import annotations

import gc
import os
import platform
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tocsin.telemetry.series import Counter, Gauge, Series

_PROC = Path("/proc/self")
_STARTED_AT = time.time()


def process_series() -> Iterator[Series]:
    """Fresh standard metrics, under their usual names without prefix."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    yield _value(
        Counter("process_cpu_seconds_total", "User and system CPU time, in seconds."),
        usage.ru_utime + usage.ru_stime,
    )
    yield _value(
        Gauge("process_start_time_seconds", "Start of the process, Unix seconds."),
        _STARTED_AT,
    )
    yield _value(
        Gauge("process_max_resident_memory_bytes", "Peak resident memory, in bytes."),
        # Linux counts in KiB, macOS in bytes.
        usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
    )
    yield from _from_proc()
    collected = Counter(
        "python_gc_collections_total", "Runs of the collector.", ["generation"]
    )
    for generation, stats in enumerate(gc.get_stats()):
        collected.add(stats["collections"], str(generation))
    yield collected
    info = Gauge("python_info", "The Python at work.", ["implementation", "version"])
    info.set(1, platform.python_implementation(), platform.python_version())
    yield info


def _from_proc() -> Iterator[Series]:
    try:
        pages = (_PROC / "statm").read_text().split()
        open_files = len(os.listdir(_PROC / "fd"))  # noqa: PTH208 - a count, no paths
    except OSError:
        return
    page_size = resource.getpagesize()
    yield _value(
        Gauge("process_virtual_memory_bytes", "Virtual memory, in bytes."),
        int(pages[0]) * page_size,
    )
    yield _value(
        Gauge("process_resident_memory_bytes", "Resident memory, in bytes."),
        int(pages[1]) * page_size,
    )
    yield _value(Gauge("process_open_fds", "Open file descriptors."), open_files)
    yield _value(
        Gauge("process_max_fds", "Most file descriptors that may be open."),
        resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    )


def _value(series: Counter | Gauge, value: float) -> Series:
    series.add(value)
    return series
