"""Analytics room: rows of what became of each push, written apart from the sending."""
