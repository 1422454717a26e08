"""Search graphs: H (topology), L (lexicon), G (grammar), and HLG compiled from them."""

from asr.graph.compile import Build, GraphOptions, GraphStats, compile_graph, word_graph

__all__ = ["Build", "GraphOptions", "GraphStats", "compile_graph", "word_graph"]
