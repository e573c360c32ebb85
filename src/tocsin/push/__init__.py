"""The first room of the push corridor: accepts devices, topics and sends.

It knows core nouns and ports only: no wire format, no database, no queue engine.
"""
