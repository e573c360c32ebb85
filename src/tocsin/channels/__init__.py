"""Decides what may happen in channels: rules, permissions, tokens, publishing."""
