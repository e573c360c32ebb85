"""The doors for clients: sockets and frames under the sessions."""
