"""Ranking the readings of a search anew: error rates, perplexities and time.

    python benchmarks/rescoring.py lists MODEL.asr LISTS.jsonl MANIFEST     # the 100 best readings of each utterance
    python benchmarks/rescoring.py rank LM DEV.jsonl TEST.jsonl ...         # with files of `lists`
    python benchmarks/rescoring.py lattices MODEL.asr LM DEV TEST ...       # readings against lattices; manifests
    python benchmarks/rescoring.py missed MODEL.asr LM MANIFEST             # how often each way misses the cheapest
    python benchmarks/rescoring.py perplexity NGRAM.arpa NEURAL DEV TEST ... # manifests

The share and the penalty are chosen on DEV, by the fewest errors, and then used for the others. Differences have 95 %
intervals by a paired bootstrap over utterances. Korean is scored by characters without spaces. The weight of the
linear mixture of two models is found on DEV by expectation maximisation.
"""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import torch
from tqdm import tqdm

import asr
from asr import manifest
from asr.evaluation.comparison import paired_bootstrap
from asr.evaluation.score import Counts, comparable, error_counts, lang_of, usual_rate
from asr.evaluation.tune_second_pass import PENALTIES, PIECE_PENALTIES, SHARES
from asr.lm import score
from asr.lm.neural import file, scorer
from asr.search.lattice import Lattice
from asr.search.rescoring import WordScorer
from asr.search.searchers import make_decoder
from asr.search.second_pass import Listed, PathScorer, SecondPass, TextScorer, open_scorer, tree

Utterance = dict[str, object]


class Free:
    """A language model that costs nothing, so that lists can be made without one."""

    def costs(self, texts: Sequence[str]) -> list[float]:
        return [0.0] * len(texts)


def lists(bundle: str, path: str, source: str) -> None:
    recognizer = asr.load(bundle)
    space, cfg = recognizer.space, recognizer.cfg.decoder
    assert space is not None
    decoder, second = make_decoder(space.graph, cfg), SecondPass(Free(), word_penalty=cfg.word_penalty)
    utterances = {u.id: u for u in manifest.read(source)}
    with open(path, "w") as out, tqdm(total=len(utterances)) as bar:
        for batch in recognizer.score_utterances(list(utterances.values()), bar):
            for id, log_probs, duration_s in batch:
                lattice = decoder.decode_lattice(log_probs).lattice
                found = [asdict(r) | {"text": space.text(r.labels)} for r in second.listed(lattice, space)]
                text = utterances[id].transcript
                json.dump({"text": text, "seconds": duration_s, "pieces": space.of_pieces, "readings": found}, out)
                out.write("\n")
                bar.update()


class Ranked:
    """The lists of a set with the costs of another language model."""

    def __init__(self, path: str, model: TextScorer):
        self.path = path
        with open(path) as lines:
            self.utterances = [json.loads(line) for line in lines]
        lang = lang_of(u["text"] for u in self.utterances)
        self.rate = usual_rate(lang)
        self.of_pieces = any(u["pieces"] for u in self.utterances)
        self.known: dict[tuple[int, str], Counts] = {}
        self.times_s = []
        for utterance in self.utterances:
            utterance["ref"] = comparable(utterance["text"], lang)
            began_s = time.process_time()
            costs = model.costs([reading["text"] for reading in utterance["readings"]])
            self.times_s.append(time.process_time() - began_s)
            utterance["listed"] = [
                (Listed(r["labels"], r["fixed"], r["language"], cost), r["text"])
                for r, cost in zip(utterance["readings"], costs, strict=True)
            ]

    def counts(self, share: float, penalty: float) -> list[Counts]:
        found = []
        for number, utterance in enumerate(self.utterances):
            _, text = min(utterance["listed"], key=lambda pair: pair[0].cost(share, penalty))
            if (number, text) not in self.known:
                self.known[number, text] = error_counts(utterance["ref"], text, self.rate)
            found.append(self.known[number, text])
        return found

    def oracle(self) -> Counts:
        best = (
            min((error_counts(u["ref"], text, self.rate) for _, text in u["listed"]), key=lambda c: c.errors)
            for u in self.utterances
        )
        return sum(best, Counts())


def rank(model: str, dev: str, *tests: str) -> None:
    opened = open_scorer(model)
    held = Ranked(dev, opened)
    penalties = PIECE_PENALTIES if held.of_pieces else PENALTIES
    grid = [(0.0, 0.0), *((share, penalty) for share in SHARES for penalty in penalties)]
    totals = {point: sum(held.counts(*point), Counts()).errors for point in grid}
    best = min(grid, key=lambda point: (totals[point], point[0], abs(point[1])))
    print(f"{model}: share {best[0]:g}, penalty {best[1]:g}, chosen on {dev} ({held.rate})")
    for share in (0.0, *SHARES):
        errors = min(total for point, total in totals.items() if point[0] == share)
        print(f"  share {share:g}: {errors} errors at the best penalty")
    for ranked in [held, *(Ranked(path, opened) for path in tests)]:
        first, second = ranked.counts(0.0, 0.0), ranked.counts(*best)
        found = paired_bootstrap(second, first)
        print(
            f"{ranked.path}: {len(first)} utterances, {found.second:.2%} -> {found.first:.2%}, difference "
            f"{found.difference:+.2%} ({found.interval[0]:+.2%} to {found.interval[1]:+.2%}); best of the list "
            f"{ranked.oracle().rate:.2%}; {1000 * np.mean(ranked.times_s):.0f} CPU ms per utterance, "
            f"{np.mean([len(u['readings']) for u in ranked.utterances]):.0f} readings"
        )


def lattices(bundle: str, model: str, dev: str, *tests: str) -> None:
    """Readings against lattices, each with the share and the penalty that are best on DEV, of every other one."""
    recognizer = asr.load(bundle)
    space, cfg, scorer = recognizer.space, recognizer.cfg.decoder, open_scorer(model)
    assert space is not None and isinstance(scorer, PathScorer)
    decoder = make_decoder(space.graph, cfg)
    ways: dict[str, tuple[int, WordScorer | None]] = {f"{n} readings": (n, None) for n in (10, 100)}
    ways |= {f"lattice, order {n}": (0, scorer.along(space.words, n)) for n in (2, 4)}
    penalties = PIECE_PENALTIES if space.of_pieces else PENALTIES
    best: dict[str, tuple[float, float]] = {}
    for source in (dev, *tests):
        utterances = {u.id: u for u in manifest.read(source)}
        lang = lang_of(u.transcript for u in utterances.values())
        with tqdm(total=len(utterances)) as bar:
            scored = [one for batch in recognizer.score_utterances(list(utterances.values()), bar) for one in batch]
        made = [(comparable(utterances[id].transcript, lang), decoder.decode_lattice(x).lattice) for id, x, _ in scored]
        audio_s = sum(duration_s for _, _, duration_s in scored)
        first = [error_counts(ref, space.text(each.nbest(1)[0].labels), usual_rate(lang)) for ref, each in made]
        print(f"{source}: {len(made)} utterances, first pass {sum(first, Counts()).rate:.2%}, "
              f"{np.mean([each.num_arcs for _, each in made]):.0f} arcs", flush=True)  # fmt: skip
        for way, (nbest, paths) in ways.items():
            points = [best[way]] if best.get(way) else [(s, p) for s in SHARES[1::2] for p in penalties[::2]]
            found: dict[tuple[float, float], list[Counts]] = {}
            began_s = time.process_time()
            for share, penalty in points:
                second = SecondPass(scorer, share, penalty, nbest, cfg.word_penalty, paths)
                chosen = [second.apply(each, space).nbest(1)[0].labels for _, each in made]
                pairs = zip(made, chosen, strict=True)
                found[share, penalty] = [error_counts(r, space.text(x), usual_rate(lang)) for (r, _), x in pairs]
            cpu_ms = 1000 * (time.process_time() - began_s) / len(points) / audio_s
            at = best.setdefault(way, min(found, key=lambda point: sum(found[point], Counts()).errors))
            against = paired_bootstrap(found[at], first)
            print(f"  {way:16}: share {at[0]:g}, penalty {at[1]:g}: {against.first:.2%}, {against.difference:+.2%} "
                  f"({against.interval[0]:+.2%} to {against.interval[1]:+.2%}); {cpu_ms:.1f} CPU ms per s",
                  flush=True)  # fmt: skip


def missed(bundle: str, model: str, source: str) -> None:
    """How often the reading that each way finds, at share 0.5, is not the cheapest of all found, and by how much."""
    recognizer = asr.load(bundle)
    space, cfg, scorer = recognizer.space, recognizer.cfg.decoder, open_scorer(model)
    assert space is not None and isinstance(scorer, PathScorer)
    decoder = make_decoder(space.graph, cfg)
    ways: dict[str, tuple[int, WordScorer | None]] = {f"{n} readings": (n, None) for n in (10, 100, 1000)}
    ways |= {f"lattice, order {n}": (0, scorer.along(space.words, n)) for n in (2, 3, 4, 6)}
    utterances = list(manifest.read(source))
    with tqdm(total=len(utterances)) as bar:
        scored = [one for batch in recognizer.score_utterances(utterances, bar) for one in batch]
    made = [decoder.decode_lattice(log_probs).lattice for _, log_probs, _ in scored]
    audio_s = sum(duration_s for _, _, duration_s in scored)
    costs: dict[str, np.ndarray] = {}
    cpu_ms: dict[str, float] = {}
    for way, (nbest, paths) in ways.items():
        second, began_s = SecondPass(scorer, 0.5, 0.0, nbest, cfg.word_penalty, paths), time.process_time()
        best = [second.apply(each, space).nbest(1)[0].labels for each in made]
        cpu_ms[way] = 1000 * (time.process_time() - began_s) / audio_s
        # Ranked alone, a reading has its exact cost.
        ranked = SecondPass(scorer, 0.5, 0.0, 1, cfg.word_penalty)
        one = [tree([labels], [cost_in(each, labels)], each) for each, labels in zip(made, best, strict=True)]
        costs[way] = np.array([ranked.apply(each, space).to_end[0] for each in one])
    least = np.min(list(costs.values()), 0)
    for way, found in costs.items():
        above = found - least
        print(f"{way:16}: not the cheapest in {np.mean(above > 0.01):.0%} of {len(above)}, mean {above.mean():.3f}, "
              f"most {above.max():.2f} nats; {cpu_ms[way]:.1f} CPU ms per s", flush=True)  # fmt: skip


def cost_in(lattice: Lattice, labels: Sequence[int]) -> float:
    """The cost of a reading in a lattice."""
    path = lattice.path(labels)
    assert path is not None
    end = int(lattice.arcs["to"][path[-1]]) if path else 0
    return float(lattice.costs[path].sum() + lattice.final_costs[end])


def perplexity(ngram: str, neural: str, *sources: str) -> None:
    net = file.read(neural)
    models = [score.load(ngram), scorer.NeuralScorer(net)]
    weight = None
    for source in sources:
        texts = [u.transcript for u in manifest.read(source) if u.text]
        log10 = np.array([[p for text in texts for p, _, _ in model.full_scores(text)] for model in models])  # (2, W)
        unknown = np.array([[u for text in texts for _, _, u in model.full_scores(text)] for model in models])
        log10[1] -= unknown[1] * np.log10(max(1, net.num_unknown))  # they share <unk>, as when readings are ranked
        probabilities = 10.0**log10
        if weight is None:
            weight = 0.5
            for _ in range(100):
                mixed = weight * probabilities[1] / (weight * probabilities[1] + (1 - weight) * probabilities[0])
                weight = float(mixed.mean())
            print(f"weight of {neural}: {weight:.3f}, found on {source}")
        mixture = np.log10((1 - weight) * probabilities[0] + weight * probabilities[1])
        named = {"n-gram": log10[0], "neural": log10[1], "mixed": mixture}
        shown = ", ".join(f"{name} {10 ** -values.mean():.1f}" for name, values in named.items())
        print(
            f"{source}: {log10.shape[1]} predictions, {shown}; unknown {unknown[0].mean():.2%}, {unknown[1].mean():.2%}"
        )


if __name__ == "__main__":
    torch.set_num_threads(1)
    verbs = {"lists": lists, "rank": rank, "lattices": lattices, "missed": missed, "perplexity": perplexity}
    verbs[sys.argv[1]](*sys.argv[2:])
