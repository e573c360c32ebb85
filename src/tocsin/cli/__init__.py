"""The command line: one file per verb; talks to people, decides nothing."""
