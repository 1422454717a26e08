"""Neural language models: an LSTM over words, characters or pieces, and causal models of Hugging Face's transformers.

Takes sentences from text files and manifests. Passes scorers, which give texts their costs in nats, to `asr.search`.
"""
