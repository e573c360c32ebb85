"""The queue: what carries accepted sends from the API to the workers.

It stores, orders and hands out jobs; it must not know what a job means, who
sends it, or when a retry is due.
"""
