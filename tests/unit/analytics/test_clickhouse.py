from __future__ import annotations

from tocsin.analytics.clickhouse import ClickHouseSettings, build_schema


def test_schema_has_the_documented_columns() -> None:
    """Existing dashboards read them by these names and types."""
    (table,) = build_schema(ClickHouseSettings())
    for name in ("uid", "type", "recipient", "user", "msg_id", "error_code"):
        assert f"`{name}` String" in table
    assert "`time` DateTime" in table
    assert "PARTITION BY toYYYYMMDD(time)\nORDER BY time\nTTL time" in table
