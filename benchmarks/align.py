"""Forced alignment: word and phone boundaries against hand-made ones, speed, and a long recording cut into utterances.

    python benchmarks/align.py timit MODEL.asr ...       # recognisers of English, such as exp/english/model.asr
    python benchmarks/align.py timit exp/timit_hmm-half   # or run folders of HMMs, as recipes/timit/timit_hmm.py makes
    python benchmarks/align.py chapters MODEL.asr         # or a run folder of HMMs

TIMIT: the 160 sentences of ../shared/data/timit_en with hand-made boundaries, aligned with their words. The sentences
of every second speaker chose the constants of asr.align.times and asr.align.changes; the others are the test. Beside
them stands the path of torchaudio's forced_align through the first pronunciations, with the frames of its tokens.

Chapters: the chapters of ../shared/data/libri_en joined to one recording (the one that constants were chosen on is left
out), with their text in which words and passages are deleted, replaced and inserted. A word's right place is where the
same model finds it in its own utterance with the right text.

One thread. Prints the figures and writes them to benchmarks/results/align.json.
"""

import json
import math
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import soundfile
import torch
from tqdm import tqdm

import asr
from asr import manifest
from asr.align.aligner import Aligner
from asr.align.changes import Changes
from asr.align.ctc_aligner import GARBAGE_COST, CtcAligner, emissions, spoken
from asr.align.manifests import align_utterances, scored
from asr.align.network import Network, Slot
from asr.align.pronouncing import Pronouncing
from asr.align.recordings import align_recording
from asr.align.run import open_aligner
from asr.align.times import LEAD_S, TAIL_S, Clock, Edges
from asr.align.trellis import best_path
from asr.config import Config, G2pConfig
from asr.features import audio
from asr.files import atomic_write
from asr.manifest import Utterance
from asr.recognizer.recognizer import Recognizer
from asr.search.word_times import Segment, segments
from asr.states import HMM_FILE

RESULT = Path(__file__).parent / "results/align.json"
DATA = Path(os.environ.get("ASR_DATA", Path(__file__).parents[2] / "shared/data"))
RATE_HZ, SEED = 16000, 1
CHOSEN_ON = ("26", "496")  # the chapter left out
CHANGED, PASSAGES, PASSAGE = 0.02, 4, 30  # share of words of each kind of change; passages and their words
NEAR_S = 0.2
# TIMIT's phones as those of the CMU dictionary; closures belong to the stop behind them.
FOLDED = {
    "ax": "ah", "ax-h": "ah", "ix": "ih", "axr": "er", "ux": "uw", "hv": "hh", "em": "m", "en": "n", "nx": "n",
    "eng": "ng", "el": "l", "dx": "t",
}  # fmt: skip
SILENCES = {"h#", "pau", "epi", "q"}
Span = tuple[float, float, str]


@dataclass
class Sentence:
    """A sentence of TIMIT: what a person heard, and what the aligner found."""

    utterance: Utterance
    duration_s: float
    found: list[tuple[str, list[Segment]]]  # words and their segments
    naive: list[Span]  # words by the frames of torchaudio's path
    changes: Changes | None


def timit() -> list[Utterance]:
    """The sentences with clean texts of the words that the person heard."""
    found = manifest.read(DATA / "timit_en/manifest.jsonl")
    for utterance in found:
        utterance.text = " ".join(word for _, _, word in utterance.extra["words"])
    return found


@cache
def speakers() -> list[str]:
    return sorted({u.speaker or "" for u in manifest.read(DATA / "timit_en/manifest.jsonl")})


def is_tuning(utterance: Utterance) -> bool:
    return speakers().index(utterance.speaker or "") % 2 == 0


def align_sentences(recognizer: Recognizer) -> tuple[list[Sentence], float, float]:
    """The sentences, and the CPU seconds of the net and of the alignment."""
    aligner = CtcAligner(recognizer, Pronouncing(recognizer, None, G2pConfig()))
    utterances = {u.id: u for u in timit()}
    aligner.pronouncing.learn(word for u in utterances.values() for word in u.transcript.split())
    found, started, net_s, align_s = [], time.process_time(), 0.0, 0.0
    for batch in scored(recognizer, list(utterances.values()), tqdm(disable=True)):
        net_s += time.process_time() - started
        for id, log_probs, duration_s, changes in batch:
            started = time.process_time()
            aligner.align(id, utterances[id].transcript, log_probs, duration_s, changes)
            align_s += time.process_time() - started
            words = utterances[id].transcript.split()
            network = Network([Slot(word, aligner.pronouncing.spellings(word)) for word in words])
            path = best_path(network, emissions(log_probs, aligner.gaps, GARBAGE_COST))
            assert path is not None
            heard = [(words[slot], parts) for slot, _, parts in spoken(network, path, log_probs)]
            naive = torchaudio_words(aligner, words, log_probs, recognizer.frame_s)
            found.append(Sentence(utterances[id], duration_s, heard, naive, changes))
        started = time.process_time()
    return found, net_s, align_s


def torchaudio_words(aligner: CtcAligner, words: Sequence[str], log_probs: np.ndarray, frame_s: float) -> list[Span]:
    """Words by torchaudio's forced_align through their first pronunciations."""
    from torchaudio.functional import forced_align

    spelled = [aligner.pronouncing.spellings(word)[0].tokens for word in words]
    if any(token < 0 for tokens in spelled for token in tokens):
        return []
    targets = torch.tensor([[token for tokens in spelled for token in tokens]])
    path, _ = forced_align(torch.from_numpy(log_probs)[None], targets)
    parts = segments(path[0].numpy(), log_probs)
    spans, at = [], 0
    for word, tokens in zip(words, spelled, strict=True):
        own = parts[at : at + len(tokens)]
        spans.append((own[0].start * frame_s, own[-1].end * frame_s, word))
        at += len(tokens)
    return spans


def word_errors(sentence: Sentence, words: Sequence[Span]) -> list[float]:
    """Seconds by which the starts and ends of words are late."""
    truth = sentence.utterance.extra["words"]
    if len(truth) != len(words):
        return []
    pairs = zip(truth, words, strict=True)
    return [late for (start, end, _), (s, e, _) in pairs for late in (s - start, e - end)]


def folded(phones: Sequence[Sequence]) -> list[tuple[float, str]]:
    """(start in s, phone of the CMU dictionary) of hand-made phones."""
    found: list[tuple[float, str]] = []
    closure_s = None
    for number, (start_s, _, label) in enumerate(phones):
        if label in SILENCES:
            closure_s = None
        elif label.endswith("cl"):
            following = phones[number + 1][2] if number + 1 < len(phones) else ""
            stop = label.removesuffix("cl")
            closure_s = start_s
            if following not in (stop, {"d": "jh", "t": "ch"}.get(stop)):
                found.append((start_s, stop))
                closure_s = None
        else:
            found.append((start_s if closure_s is None else closure_s, FOLDED.get(label, label)))
            closure_s = None
    return found


def phone_errors(truth: list[tuple[float, str]], found: list[tuple[float, str]]) -> list[float]:
    """Seconds by which the phones that both have (by the least edit distance) begin late."""
    size = len(truth) + 1, len(found) + 1
    cost = np.zeros(size)
    cost[:, 0], cost[0] = np.arange(size[0]), np.arange(size[1])
    for i in range(1, size[0]):
        for j in range(1, size[1]):
            same = cost[i - 1, j - 1] + (truth[i - 1][1] != found[j - 1][1])
            cost[i, j] = min(same, cost[i - 1, j] + 1, cost[i, j - 1] + 1)
    late, (i, j) = [], (size[0] - 1, size[1] - 1)
    while i and j:
        is_same = truth[i - 1][1] == found[j - 1][1]
        if cost[i, j] == cost[i - 1, j - 1] + (not is_same):
            i, j = i - 1, j - 1
            late += [found[j][0] - truth[i][0]] if is_same else []
        elif cost[i, j] == cost[i - 1, j] + 1:
            i -= 1
        else:
            j -= 1
    return late


def errors_of(
    sentences: Sequence[Sentence], recognizer: Recognizer, lead_s: float, tail_s: float, has_changes: bool = True
) -> tuple[list[float], list[float]]:
    """Errors of words and of phones."""
    words: list[float] = []
    phones: list[float] = []
    for sentence in sentences:
        parts = [parts for _, parts in sentence.found]
        changes = sentence.changes if has_changes else None
        edges = Edges.of(parts, Clock.of(recognizer), sentence.duration_s, lead_s, tail_s, changes)
        words += word_errors(sentence, [(*span, "") for span in edges.words])
        labels = [recognizer.tokens[part.token].lower() for _, parts in sentence.found for part in parts]
        starts = [start_s for token_spans in edges.tokens for start_s, _ in token_spans]
        phones += phone_errors(folded(sentence.utterance.extra["phones"]), list(zip(starts, labels, strict=True)))
    return words, phones


def figures(late_s: Sequence[float]) -> dict[str, float]:
    late = np.array(late_s)
    size = np.abs(late)
    return {
        "boundaries": len(late),
        "within_20_ms": round(float((size <= 0.02).mean()), 4),
        "within_50_ms": round(float((size <= 0.05).mean()), 4),
        "median_ms": round(1000 * float(np.median(size)), 1),
        "median_late_ms": round(1000 * float(np.median(late)), 1),
    }


def measure_timit(model: str) -> dict[str, object]:
    recognizer = asr.load(model)
    sentences, net_s, align_s = align_sentences(recognizer)
    rows: dict[str, dict[str, object]] = {}
    halves = {"test": [s for s in sentences if not is_tuning(s.utterance)],
              "tuning half": [s for s in sentences if is_tuning(s.utterance)]}  # fmt: skip
    for name, half in halves.items():
        for kind, has_changes in (("", True), (", peaks alone", False)):
            words, phones = errors_of(half, recognizer, LEAD_S, TAIL_S, has_changes)
            rows[name + kind] = {"words": figures(words)}
            if "AA" in recognizer.tokens:  # the phones of the CMU dictionary
                rows[name + kind]["phones"] = figures(phones)
    test = halves["test"]
    rows["torchaudio"] = {"words": figures([late for s in test for late in word_errors(s, s.naive)])}
    seconds = sum(s.duration_s for s in sentences)
    return {"rows": rows, "seconds": round(seconds, 1), "net_times_real_time": round(seconds / net_s, 1),
            "align_times_real_time": round(seconds / align_s)}  # fmt: skip


def measure_hmms(folder: str) -> dict[str, object]:
    """As `measure_timit`, of the HMMs in a run folder."""
    aligner, recognizer = open_aligner(Config(bundle=folder))
    sentences = timit()
    started = time.process_time()
    aligned = align_utterances(recognizer, aligner, sentences)
    took_s = time.process_time() - started
    late: dict[str, tuple[list[float], list[float]]] = {"test": ([], []), "tuning half": ([], [])}
    for utterance, found in aligned.found:
        words, phones = late["tuning half" if is_tuning(utterance) else "test"]
        sentence = Sentence(utterance, found.duration_s, [], [], None)
        words += word_errors(sentence, [(word.start_s, word.end_s, word.word) for word in found.words])
        starts = [(token.start_s, token.token.lower()) for word in found.words for token in word.tokens]
        phones += phone_errors(folded(utterance.extra["phones"]), starts)
    rows = {name: {"words": figures(words), "phones": figures(phones)} for name, (words, phones) in late.items()}
    seconds = sum(found.duration_s for _, found in aligned.found)
    return {"rows": rows, "seconds": round(seconds, 1), "times_real_time": round(seconds / took_s, 1)}


def chapters() -> list[Utterance]:
    found = manifest.read(DATA / "libri_en/manifest.jsonl")
    return [u for u in found if (u.speaker, u.extra["chapter"]) != CHOSEN_ON]


def changed(texts: Sequence[Sequence[str]], rng: np.random.Generator) -> list[tuple[str, tuple[int, int] | None]]:
    """The words of utterances with changes: (word, its utterance and number there), None if it is not spoken."""
    words = [(word, (u, n)) for u, text in enumerate(texts) for n, word in enumerate(text)]
    vocabulary = sorted({word for word, _ in words})
    foreign = iter(rng.choice(vocabulary, len(words)).tolist())
    found: list[tuple[str, tuple[int, int] | None]] = []
    for item in words:
        kind = rng.random()
        if kind > CHANGED:  # below: deleted
            found.append((next(foreign), None) if kind < 2 * CHANGED else item)
            found += [(next(foreign), None)] if kind > 1 - CHANGED else []
    for place in sorted(rng.integers(0, len(found) - 2 * PASSAGE, PASSAGES).tolist(), reverse=True):
        del found[place : place + PASSAGE]
    for place in sorted(rng.integers(0, len(found), PASSAGES).tolist(), reverse=True):
        found[place:place] = [(next(foreign), None) for _ in range(PASSAGE)]
    return found


def measure_chapters(model: str) -> dict[str, object]:
    cfg = Config(bundle=model)
    cfg.data.max_audio_s = math.inf
    aligner, recognizer = open_aligner(cfg)
    utterances = chapters()
    text = changed([u.transcript.split() for u in utterances], np.random.default_rng(SEED))
    with tempfile.TemporaryDirectory() as folder:
        path, starts_s = Path(folder, "chapters.wav"), []
        with soundfile.SoundFile(path, "w", RATE_HZ, 1) as file:
            for utterance in utterances:
                starts_s.append(file.tell() / RATE_HZ)
                file.write(audio.load(utterance.audio or "", sample_rate_hz=RATE_HZ))
        cpu, before_mb = time.process_time(), peak_mb()
        words = [word for word, _ in text]
        found = align_recording(recognizer, aligner, str(path), words, longest_s=15.0, min_score=0.0)
        cpu, peak = time.process_time() - cpu, peak_mb()
    places = {
        (u, n): starts_s[u] + at_s
        for u, times in alone(recognizer, aligner, utterances)
        for n, at_s in enumerate(times)
    }
    placed = {
        u.extra["first_word"] - 1 + n: u.start_s + word.start_s
        for u, a in found.found
        for n, word in enumerate(a.words)
    }
    spoken_at = {n: places[source] for n, (_, source) in enumerate(text) if source in places}
    foreign = [n for n, (_, source) in enumerate(text) if source is None]
    right = {n for n, at_s in spoken_at.items() if n in placed and abs(placed[n] - at_s) <= NEAR_S}
    chapter = {n: utterances[text[n][1][0]].extra["chapter"] for n in spoken_at}
    words_of = {name: [n for n in chapter if chapter[n] == name] for name in dict.fromkeys(chapter.values())}
    by_chapter = {name: round(sum(n in right for n in own) / len(own), 4) for name, own in words_of.items()}
    near = len(right)
    return {
        "seconds": round(found.duration_s, 1), "utterances": len(found.found), "spoken_words": len(spoken_at),
        "placed_within_0.2_s": round(near / len(spoken_at), 4),
        "placed_elsewhere": round(sum(n in placed for n in spoken_at) / len(spoken_at) - near / len(spoken_at), 4),
        "placed_by_chapter": by_chapter, "foreign_words": len(foreign),
        "foreign_words_left_out": round(sum(n not in placed for n in foreign) / len(foreign), 4),
        "times_real_time": round(found.duration_s / cpu, 1), "peak_mb": peak, "peak_before_mb": before_mb,
    }  # fmt: skip


def alone(
    recognizer: Recognizer, aligner: Aligner, utterances: Sequence[Utterance]
) -> Iterator[tuple[int, list[float]]]:
    """The number of each utterance, and the starts of its words, aligned by itself with its right text."""
    numbers = {u.id: number for number, u in enumerate(utterances)}
    for batch in scored(recognizer, utterances, tqdm(disable=True)):
        for id, log_probs, duration_s, changes in batch:
            text = utterances[numbers[id]].transcript
            yield numbers[id], [word.start_s for word in aligner.align(id, text, log_probs, duration_s, changes).words]


def peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> None:
    if len(sys.argv) < 3 or sys.argv[1] not in ("timit", "chapters"):
        raise SystemExit(__doc__)
    torch.set_num_threads(1)
    what, models = sys.argv[1], sys.argv[2:]
    result = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    for model in models:
        measure = measure_hmms if Path(model, "train", HMM_FILE).exists() else measure_timit
        found = measure_chapters(model) if what == "chapters" else measure(model)
        place = Path(model).resolve()
        result[f"{what} {place.name if place.is_dir() else place.parent.name}"] = found
        print(json.dumps(found, indent=1))
    with atomic_write(RESULT) as file:
        json.dump(result, file, indent=1)


if __name__ == "__main__":
    main()
