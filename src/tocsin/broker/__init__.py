"""Pub/sub, history, presence and the control bus, in memory and in Redis."""
