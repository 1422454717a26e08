"""The command line: words typed by a user -> a checked `Config` -> one verb, files and printed lines."""
