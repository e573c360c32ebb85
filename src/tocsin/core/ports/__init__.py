"""Every seam of Tocsin with its contract: what is atomic, ordered, or empty.

Each port has one test file in `tests/contracts/` that runs on every
implementation. Nothing here knows a technology.
"""
