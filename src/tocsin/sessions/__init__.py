"""The client protocol: one state machine under every transport, without a socket."""
