"""What operators ask and do, whether by RPC or by command: one decider for both.

It must not know a door or a technology, nor work on jobs.
"""
