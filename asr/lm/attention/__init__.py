"""Models of texts given their sound: Whisper's encoder and decoder, which rank the best readings of a search anew.

`asr lm convert data/whisper-base heard.safetensors lang=ko text=lm.txt` makes one. It takes recordings and texts, and
passes the costs of the texts to `asr.search`:

    scorer = AttentionScorer(file.read("heard.safetensors"))
    scorer.heard(samples).costs(["a text", "another"])
"""
