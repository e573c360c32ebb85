"""The worker's mind: expands, sends and settles jobs; reaches no technology."""
