"""The release, for whoever tells it to others."""

VERSION = "0.1.0"
