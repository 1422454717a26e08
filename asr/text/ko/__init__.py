"""Korean: numbers, units and counters as they are spoken, and marks of transcripts."""
