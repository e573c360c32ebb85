"""Hypothesis in this folder: no deadline, because the machine may be busy."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("suite", deadline=None, database=None)
settings.load_profile("suite")
