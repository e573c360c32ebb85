"""The ports of Tocsin with their contracts: atomicity, order, and empty answers.

Each port has one test file in `tests/contracts/` that runs on every
implementation. Nothing here knows a technology.
"""
