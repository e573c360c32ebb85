"""The queue: what carries accepted sends from the API to the workers.

It stores, orders and hands out jobs; it must not know what a job means, who
sends it, or when a retry is due.

`redis_stream.py` and `sql.py` are the two queues. Beside each stand what hands out
its jobs (`redis_reader.py`, `sql_claim.py`), its operator's side and its connection.
`codec.py` and `rules.py` are the same for both; `rates.py`, `tokens.py` and `uids.py`
are what workers agree on beside the jobs.
"""
