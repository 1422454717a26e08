"""Text side of the house: units the net outputs, and the lexicon that spells words in them."""
