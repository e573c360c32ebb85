"""The door of both corridors: gRPC and HTTP in, core nouns inward, replies out.

It decides nothing about pushes or channels and opens no store.
"""
