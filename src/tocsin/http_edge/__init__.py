"""HTTP edge: the one room that knows how aiohttp works inside. Ground room."""
