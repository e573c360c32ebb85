"""Generated messages, and codecs for frames, JSON and deltas; pure, without sockets."""
