from tocsin.telemetry.metrics import Metrics
from tocsin.telemetry.series import Counter, Gauge, Histogram, Series, Summary
from tocsin.telemetry.window import MetricsWindow


def test_counters_tell_what_they_rose_and_gauges_what_they_are() -> None:
    """What did not move is left out; empty labels too."""
    sent = Counter("sent", "", ["type", "namespace"])
    clients, idle = Gauge("clients", ""), Counter("idle", "")
    took, shape = Summary("took", "", ["m"]), Histogram("shape", "", bounds=[1])
    series: list[Series] = [sent, clients, idle, took, shape]
    sent.add(5, "publication", "")
    window = MetricsWindow(lambda: series)
    assert window.items == {"sent.type.publication": 5, "clients": 0}
    sent.add(2, "publication", "")
    sent.add(1, "join", "chat")
    clients.set(7)
    took.observe(0.5, "publish")
    shape.observe(3)
    window.turn()
    assert window.items == {
        "sent.type.publication": 2,
        "sent.type.join.namespace.chat": 1,
        "clients": 7,
        "took.sum.m.publish": 0.5,
        "took.count.m.publish": 1,
        "shape.sum": 3,
        "shape.count": 1,
    }
    window.turn()
    assert window.items == {"clients": 7}


def test_a_node_has_something_to_tell_from_the_start() -> None:
    """Clients of the API expect items whenever there are metrics."""
    assert MetricsWindow(Metrics().all_series).items
