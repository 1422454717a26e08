"""Hidden Markov models: the classical chain from monophones to a net trained on their alignments.

In: transcribed speech and a pronunciation lexicon. Out: a run folder whose model scores HMM states (`train/`, with
`hmm.json`), and an alignment of each training utterance. The steps, each in its file:

    topology.py     the states of a phone and the steps between them, as data
    model.py        an HMM per phone: topologies, and the trees that choose a state's output by its context
    graph.py        LG with each phone replaced by its HMM in context: what the search passes through
    alignment.py    the best path through the HMMs of a transcript; equal shares for the start
    loose.py        the transcript of a long recording, of which words and sound may be skipped
    mixtures.py     Gaussian mixtures: expectation maximisation, splitting
    questions.py    sets of similar phones, found by clustering
    tree.py         decision trees over these questions
    corpus.py       features and transcripts of the training set
    training.py     the rounds: align, re-estimate, split, align again
    lattice_free.py the paths of LF-MMI: of a transcript, and of all phone sequences

The net of the mixtures is asr.models.mixtures; the search (csrc/decoder) takes HMMs and CTC alike.
"""
