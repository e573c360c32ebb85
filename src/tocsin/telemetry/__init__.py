"""Logs and metrics; it knows no role and no other room but the ground."""
