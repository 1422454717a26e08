"""Questions of the decision trees: sets of phones that sound alike, found by clustering.

Phones are merged two by two, always the pair whose union costs the least likelihood, until one set is left. Each set on
the way is a question, so no phonetics of the language is needed (Kaldi finds its questions alike: cluster-phones).
"""

import numpy as np

from asr.hmm.tallies import log_likelihood


def find_questions(tallies: dict[int, np.ndarray], floor: np.ndarray) -> list[frozenset[int]]:
    """The sets of phones, the single ones first, then as they are merged; the set of all phones is none.

    tallies: per phone, those of its S states (S, 1 + 2 D). The cost of a union is summed over the states.
    """
    sets = {frozenset([phone]): states for phone, states in sorted(tallies.items())}
    questions = list(sets)
    while len(sets) > 2:
        names = list(sets)
        stacked = np.stack(list(sets.values()))  # (N, S, 1 + 2 D)
        own = log_likelihood(stacked, floor).sum(1)  # (N,)
        unions = log_likelihood(stacked[:, None] + stacked[None], floor).sum(2)  # (N, N)
        loss = own[:, None] + own[None] - unions
        loss[np.tril_indices(len(names))] = np.inf
        one, other = np.unravel_index(np.argmin(loss), loss.shape)
        merged = names[one] | names[other]
        sets[merged] = sets.pop(names[one]) + sets.pop(names[other])
        questions.append(merged)
    return questions
