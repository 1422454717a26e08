"""An n-gram of tokens in torch, a batch of utterances at once, against greedy search: phone errors, and time per beam.

    python benchmarks/token_search.py MODEL.asr LEXICON TEXT DEV TEST ...    # a model of phones; manifests

The n-gram is of the pronunciations of TEXT with `<space>` between words. Its weight and the penalty per token are
chosen on DEV at beam 16. References are the pronunciations of the transcripts; utterances with words outside the
lexicon are left out, and `<space>` is no error. Time is of the search alone, on one thread, in batches of 32.
"""

import sys
import time
from itertools import groupby, islice

import numpy as np
import torch
from tqdm import tqdm

import asr
from asr import manifest
from asr.evaluation.comparison import paired_bootstrap
from asr.evaluation.score import Counts, error_counts
from asr.lm.texts import sentences
from asr.search.token_search import TokenSearch
from asr.text.lexicon import Lexicon
from asr.tokens import BLANK_ID, SPACE, Tokens
from asr.training import token_lm

ORDER, SENTENCES, BATCH = 4, 20_000, 32
WEIGHTS, PENALTIES = (0.2, 0.35, 0.5, 0.7), (-1.0, -0.5, 0.0)
Data = list[tuple[str, np.ndarray]]


class Spelling:
    """Texts as phones."""

    def __init__(self, lexicon: Lexicon, tokens: Tokens):
        self.lexicon, self.tokens = lexicon, tokens

    def knows(self, text: str) -> bool:
        return all(word in self.lexicon.pronunciations for word in text.split())

    def target(self, text: str) -> list[int]:
        units = [unit for word in text.split() for unit in (SPACE, *self.lexicon.pronounce(word))]
        return self.tokens.encode(units[1:])

    def phones(self, found: list[int]) -> str:
        return " ".join(unit for unit in (self.tokens.symbols[token] for token in found) if unit != SPACE)


def decoded(search: TokenSearch, data: Data, spelling: Spelling) -> tuple[list[str], float]:
    """The phones, and CPU seconds of the search."""
    found, spent_s = [], 0.0
    for at in range(0, len(data), BATCH):
        arrays = [torch.from_numpy(log_probs) for _, log_probs in data[at : at + BATCH]]
        lengths, padded = torch.tensor([len(x) for x in arrays]), torch.nn.utils.rnn.pad_sequence(arrays, True)
        began_s = time.process_time()
        paths = search.decode(padded, lengths)
        spent_s += time.process_time() - began_s
        found += [spelling.phones(path.tokens) for path in paths]
    return found, spent_s


def counts(data: Data, found: list[str]) -> list[Counts]:
    return [error_counts(ref, each, "wer") for (ref, _), each in zip(data, found, strict=True)]


def main(bundle: str, lexicon: str, text: str, dev: str, *tests: str) -> None:
    recognizer = asr.load(bundle)
    spelling = Spelling(Lexicon.read(lexicon), recognizer.tokens)
    texts = islice((line for line in sentences([text]) if spelling.knows(line)), SENTENCES)
    model = token_lm.estimate([spelling.target(line) for line in texts], len(recognizer.tokens), ORDER)
    print(f"{len(model.log_final):,} histories of {len(recognizer.tokens)} outputs")

    def scored(path: str) -> Data:
        utterances = {u.id: u for u in manifest.read(path) if spelling.knows(u.transcript)}
        with tqdm(total=len(utterances)) as bar:
            batches = list(recognizer.score_utterances(list(utterances.values()), bar))
        references = {id: spelling.phones(spelling.target(u.transcript)) for id, u in utterances.items()}
        return [(references[id], log_probs) for batch in batches for id, log_probs, _ in batch]

    held = scored(dev)
    errors = {}
    for point in ((weight, penalty) for weight in WEIGHTS for penalty in PENALTIES):
        found, _ = decoded(TokenSearch(model, 16, *point), held, spelling)
        errors[point] = sum(counts(held, found), Counts()).errors
    best = min(errors, key=lambda point: errors[point])
    print(f"weight {best[0]}, penalty {best[1]}, chosen on {dev}")
    for path in (dev, *tests):
        data = held if path == dev else scored(path)
        audio_s = sum(len(log_probs) for _, log_probs in data) * recognizer.frame_s
        alone = [[token for token, _ in groupby(x.argmax(1).tolist()) if token != BLANK_ID] for _, x in data]
        greedy = counts(data, [spelling.phones(each) for each in alone])
        print(f"{path}: {len(data)} utterances, greedy {sum(greedy, Counts()).rate:.2%}")
        for beam in (1, 4, 16, 64):
            found, spent_s = decoded(TokenSearch(model, beam, *best), data, spelling)
            b = paired_bootstrap(counts(data, found), greedy)
            print(f"  beam {beam:2}: {b.first:.2%}, {b.difference:+.2%} ({b.interval[0]:+.2%} to "
                  f"{b.interval[1]:+.2%}); {1000 * spent_s / audio_s:.2f} CPU ms per s", flush=True)  # fmt: skip


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
