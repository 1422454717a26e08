"""Recordings as other rooms, microphones and channels would have made them: changes of samples for training.

In: samples (T,) and a seeded random generator. Out: samples of the same length in which each word is where it was, so
that alignments stay valid. `asr.data.scenes.scene` draws which changes an utterance gets.
"""
