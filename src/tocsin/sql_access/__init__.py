"""What rooms with SQL tables share: how a database gets this release's schema."""
