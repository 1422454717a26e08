"""The worst utterances: their errors, their sound, and where their words are."""

import sys
from collections.abc import Callable

import numpy as np
from tqdm import tqdm

from asr.align.alignment import AlignedWord
from asr.align.manifests import scored
from asr.align.run import open_aligner
from asr.config import Config, GraphConfig
from asr.data.scenes.codecs import encode
from asr.errors import InputError
from asr.evaluation.score import Counts, Edit, UtteranceScore
from asr.features import audio
from asr.hypothesis import Hypothesis
from asr.manifest import Utterance
from asr.report.alignment_picture import Placed, draw
from asr.report.html import Html, data_uri, join, tag
from asr.report.run import Run

HIGHEST_HZ = 16000  # sample rate of the sounds
MOST_PICTURE = 2**20  # characters; the wave of a long utterance has a tenth of it, the rest are words
_NAMES = {"S": "substituted", "D": "deleted", "I": "inserted", "C": "correct"}


def worst(run: Run, count: int) -> list[UtteranceScore]:
    """The utterances with the most errors: of words, or in Korean of characters without spaces."""
    wrong = [u for u in run.score.utterances if _counts(run, u).errors]
    return sorted(wrong, key=lambda u: (-_counts(run, u).errors, -_counts(run, u).rate, u.id))[:count]


def _counts(run: Run, utterance: UtteranceScore) -> Counts:
    return utterance.letters if run.score.lang == "ko" else utterance.words


def show_worst(run: Run, chosen: list[UtteranceScore], limit_bytes: int) -> Html:
    """A part per utterance. Sounds that together exceed `limit_bytes` are left out, which their utterances say."""
    wanted = [run.utterances[u.id] for u in chosen]
    aligned, fault = _align(run, wanted)
    parts = [tag("p", "Above the sound stands each word of the text where the net hears it, below it each word of the "
                      "hypothesis; errors are red; grey words are not as they were compared.")]  # fmt: skip
    parts += [tag("p", f"The words of the texts are not placed: {fault}", class_="missing")] if fault else []
    left = limit_bytes
    for scored_utterance, utterance in zip(chosen, wanted, strict=True):
        sound, picture, left = _heard(run, scored_utterance, utterance, aligned.get(utterance.id, []), left)
        c = scored_utterance.words
        counts = f"{_number(c.errors, 'error')} in {_number(c.reference, 'word')}"
        speaker = f", speaker {utterance.speaker}" if utterance.speaker else ""
        parts.append(tag("article", tag("h3", f"{utterance.id}: {counts}{speaker}"), edits(scored_utterance.edits),
                         sound, picture))  # fmt: skip
    return join(parts)


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def edits(columns: list[Edit]) -> Html:
    """Text and hypothesis below each other, errors marked."""
    cells = [
        tag("span", tag("b", e.ref or "·"), tag("i", e.hyp or "·"), class_=_NAMES[e.op], title=_NAMES[e.op])
        for e in columns
    ]
    return tag("div", *cells, class_="edits")


def _align(run: Run, utterances: list[Utterance]) -> tuple[dict[str, list[AlignedWord]], str | None]:
    """The words of each text with their times, by the model of the run; or why there are none."""
    found: dict[str, list[AlignedWord]] = {}
    try:
        has_features = any(u.features for u in utterances)
        spelled = GraphConfig(lexicon=run.cfg.graph.lexicon)
        cfg = Config(out=run.cfg.out, bundle=run.cfg.out, data=run.cfg.data, graph=spelled)
        aligner, recognizer = open_aligner(cfg, has_features=has_features)
    except InputError as e:
        return found, str(e)
    with tqdm(total=len(utterances), unit="utt", desc="align", file=sys.stderr) as bar:
        for batch in scored(recognizer, utterances, bar):
            for id, log_probs, duration_s, changes in batch:
                try:
                    text = run.utterances[id].transcript
                    found[id] = list(aligner.align(id, text, log_probs, duration_s, changes).words)
                except InputError as e:
                    bar.write(f"utterance '{id}' is not aligned: {e}")
            bar.update(len(batch))
    return found, None


def _heard(
    run: Run, score: UtteranceScore, utterance: Utterance, words: list[AlignedWord], left: int
) -> tuple[Html, Html, int]:
    """The sound, the picture, and how many bytes of sound are left."""
    try:
        if utterance.audio is None:
            raise InputError("the manifest has stored features and no recording")
        rate_hz = min(HIGHEST_HZ, audio.info(utterance.audio).sample_rate_hz)
        channel = run.cfg.data.channel if utterance.channel is None else utterance.channel
        limit_s = run.cfg.data.max_audio_s
        x = audio.load(utterance.audio, utterance.start_s, utterance.duration_s, rate_hz, limit_s, channel)
    except InputError as e:
        return tag("p", f"No sound: {e}", class_="missing"), Html(), left
    picture = tag("div", _picture(run.hypotheses.get(utterance.id), x, rate_hz, score.edits, words), class_="wide")
    if len(picture) > MOST_PICTURE:
        picture = tag("p", f"No picture: it would have {len(picture):,} characters.", class_="missing")
    data, _ = encode(x, rate_hz, "opus")
    if len(data) > left:
        return tag("p", "No sound: the limit report.sound_mb is reached.", class_="missing"), picture, left
    return tag("audio", controls="", src=data_uri("audio/ogg", data)), picture, left - len(data)


def _picture(
    hypothesis: Hypothesis | None, x: np.ndarray, rate_hz: int, columns: list[Edit], words: list[AlignedWord]
) -> Html:
    reference = [(w.word, w.start_s, w.end_s) for w in words]
    heard = [(w.word, w.start_s, w.end_s) for w in hypothesis.words if w.accepted] if hypothesis else []
    return draw(
        x,
        rate_hz,
        _placed(reference, columns, lambda e: e.ref),
        _placed(heard, columns, lambda e: e.hyp),
    )


def _placed(words: list[tuple[str, float, float]], columns: list[Edit], side: Callable[[Edit], str]) -> list[Placed]:
    """Words with the marks of their errors; without marks if they are not one by one those that were compared."""
    wrong: list[bool | None] = [e.op != "C" for e in columns if side(e)]
    marks = wrong if len(wrong) == len(words) else [None] * len(words)
    return [Placed(*word, mark) for word, mark in zip(words, marks, strict=True)]
