"""The output of a CTC net in each of its frames, on the best path of a transcript: targets for criterion=ce."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from asr.align.network import GARBAGE
from asr.align.pronouncing import Pronouncing
from asr.criteria import ctc_forced_align
from asr.data.alignments import TABLE, write_alignments
from asr.data.transcript import Demands
from asr.errors import InputError
from asr.evaluation.transcribed import transcribed
from asr.manifest import Utterance
from asr.recognizer.recognizer import Recognizer


@dataclass(frozen=True)
class Written:
    """How many utterances have got a path, and how many were named and left out."""

    count: int
    set_aside: int

    def table(self) -> str:
        return f"paths of CTC for {self.count} utterances; {self.set_aside} set aside\n"


def write_ctc_paths(
    path: str | Path, recognizer: Recognizer, pronouncing: Pronouncing, utterances: Sequence[Utterance]
) -> Written:
    """Writes the paths of utterances with texts, spelled as for a training with CTC, and the net's tokens beside them.

    Raises InputError if no utterance has a path.
    """
    found: dict[str, NDArray[np.int32]] = {}
    utterances = transcribed(utterances)
    pronouncing.learn(word for u in utterances for word in u.transcript.split())
    texts = {u.id: u.transcript for u in utterances}
    with tqdm(total=len(utterances), unit="utt", desc="align") as bar:
        for batch in recognizer.score_utterances(utterances, bar):
            for id, log_probs, _ in batch:
                try:
                    found[id] = best_path(recognizer, pronouncing, texts[id], log_probs)
                except InputError as e:
                    bar.write(f"set aside utterance '{id}': {e}")
            bar.update(len(batch))
    if not found:
        raise InputError(f"none of the {len(utterances)} utterances could be aligned; see the reasons above")
    write_alignments(path, {u.id: found[u.id] for u in utterances if u.id in found}, recognizer.frame_s)
    recognizer.tokens.write(Path(path).with_name(TABLE))
    return Written(len(found), len(utterances) - len(found))


def best_path(
    recognizer: Recognizer, pronouncing: Pronouncing, text: str, log_probs: NDArray[np.float32]
) -> NDArray[np.int32]:
    """The output of each frame (F,), blanks among them, on the most probable alignment with log-probs (F, V) of the
    text, each word in its first pronunciation. Raises InputError for a text that the net cannot say, or too long."""
    target = torch.tensor([_tokens(recognizer, pronouncing, text)], dtype=torch.int64)  # (1, L)
    frames, size = len(log_probs), target.shape[1]
    if frames:
        paths, _ = ctc_forced_align(torch.from_numpy(log_probs)[:, None], target, [frames], [size])
    if not frames or paths[0, 0] < 0:
        raise InputError(f"it is too short for its text: {frames} frames, {size} tokens")
    edge = round(recognizer.cfg.decoder.pad_s / recognizer.frame_s)  # frames of the silence that was added
    return paths[0, edge : frames - edge].numpy().astype(np.int32)


def _tokens(recognizer: Recognizer, pronouncing: Pronouncing, text: str) -> list[int]:
    unit = recognizer.cfg.tokens.unit
    if unit != "phone":
        units, faults = Demands(unit, recognizer.tokens).examine(text, None)
        if faults:
            raise InputError("; ".join(faults.values()))
        return recognizer.tokens.encode(units)
    spelled = {word: pronouncing.spellings(word)[0].tokens for word in text.split()}
    if unknown := next((word for word, tokens in spelled.items() if tokens[0] == GARBAGE), None):
        raise InputError(f"'{unknown}' has no pronunciation; lexicon=FILE gives it one")
    return [token for word in text.split() for token in spelled[word]]
