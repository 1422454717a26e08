"""The recogniser: an acoustic model with its search.

It takes recordings (paths, bytes, open files, arrays, tensors), manifests, and the options of a call, and returns
`Hypothesis` objects: words with times and confidences. It also reads and writes the bundle file (`*.asr`).
"""
