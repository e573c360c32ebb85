"""Local push services for `tocsin demo`, tests and benchmarks; no room needs them.

They speak real TLS and HTTP on a port, and must not import another room's adapters.
"""
