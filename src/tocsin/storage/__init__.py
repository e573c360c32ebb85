"""The cellar: devices, topics and uids in SQL; imports no corridor and no queue."""
