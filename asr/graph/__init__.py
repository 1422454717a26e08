"""Search graphs: H (topology), L (lexicon), G (grammar), and HLG compiled from them."""

from asr.graph.compile import GraphStats, compile_graph, word_graph

__all__ = ["GraphStats", "compile_graph", "word_graph"]
