"""Words and tokens of transcribed speech: where each begins and ends, and how well it fits.

Takes a recogniser and utterances with their texts, or a long recording and its text. Hands on `Alignment`s, files in
the formats of other programs, and utterances cut from long recordings.
"""
