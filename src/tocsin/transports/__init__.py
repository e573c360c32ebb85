"""The doors for clients: sockets, HTTP and frames, which sessions run on."""
