"""Ways to Redis: one server, a Sentinel's primary, a cluster. Ground room."""
