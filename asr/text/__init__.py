"""Text and units: cleaning of raw text, numbers and abbreviations as they are spoken, and the lexicon.

Takes text files and manifests as they are found, and lexicons. Passes clean sentences to `asr.lm` and the manifests,
each word's pronunciations (`Lexicon`) to `asr.graph` and `asr.search`, and the units of a transcript (`to_units`) to
training. English rules are in `en`, Korean rules in `ko`.
"""
