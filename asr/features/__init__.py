"""Audio files, streams and arrays -> samples (T,) -> features (N, F, D) as tensors; stored features -> arrays."""
