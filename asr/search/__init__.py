"""Search: from a net's log-probs to words.

In: log-probs (F, V), a graph, and per request boosted phrases and new words. Out: the best path, a word lattice, words
with times and confidences, and partial results and endpoints of a stream. The search itself is in csrc/decoder.
"""
