"""Features: from audio to the tensors that a net reads.

In: audio files, bytes, file objects or sample streams, and feature files of other toolkits. Out: samples (T,) float32
at the rate asked for, and features (N, F, D) with their lengths, normalised; in batches or as a stream.
"""
