"""The doors for clients: one state machine under every transport."""
