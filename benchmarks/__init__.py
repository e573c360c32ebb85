"""Measured runs beside peers; not part of the tests. `make bench` runs them all."""
