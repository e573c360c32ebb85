"""Edges of the push corridor: one adapter per push service behind `PushProvider`.

They say what a service answered, as outcomes; what follows is never decided here.
"""
