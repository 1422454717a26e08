"""Search graphs: everything from a lexicon and a language model to the graph that the decoder searches.

In: a token table, a lexicon, and a grammar (ARPA n-gram, word list, phrase grammar). Out: a folder with a static graph
(graph.bin: HLG, or LG whose topology the search adds) or a dynamic one (tree.bin and lm.ngram, composed during the
search); `asr.graph.opened.Graph` maps either for the decoder. H is the CTC topology, L the lexicon, G the grammar.
"""

from asr.graph.compile import Build, GraphOptions, GraphStats, compile_graph, word_graph

__all__ = ["Build", "GraphOptions", "GraphStats", "compile_graph", "word_graph"]
