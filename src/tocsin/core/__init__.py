"""Nouns, rules and seams of Tocsin; standard library only, no I/O."""
