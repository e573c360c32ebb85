"""Rows of what happened to each push, in SQL or ClickHouse; a leaf."""
