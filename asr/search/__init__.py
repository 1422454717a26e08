"""Log-probs (F, V) and a graph -> paths, lattices and words with confidences; phrases and new words per request."""
