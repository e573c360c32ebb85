"""What rooms with SQL tables share: how a schema is reached, how dialects differ."""
