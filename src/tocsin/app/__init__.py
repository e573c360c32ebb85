"""Composition: the only room that joins services with what they stand on."""
