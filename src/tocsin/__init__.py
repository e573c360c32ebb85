"""Tocsin, a notification service: see ARCHITECTURE.md for the rooms."""

__version__ = "0.1.0"
