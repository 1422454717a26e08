"""English: numbers, units and abbreviations as they are spoken."""
