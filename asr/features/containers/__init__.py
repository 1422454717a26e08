"""What a sound file holds: its kind by its first bytes, its recordings, and how far each of them reaches."""
