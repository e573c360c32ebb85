"""The server API over gRPC and HTTP: turns requests into calls of services, and back.

It decides nothing about pushes or channels and opens no store.
"""
