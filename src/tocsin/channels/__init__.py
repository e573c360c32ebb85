"""The realtime corridor decides here: rules, permissions, publishing."""
