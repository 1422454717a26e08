"""Storing the features that HMMs score, adapted to each speaker, so that any net can be trained and decoded on them.

Kaldi's recipes for nets dump fMLLR features in the same way. Training, dev and test set are treated alike: the
transform of a speaker follows from the words of a first pass, never from the transcripts of the manifest.
"""

import glob
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from asr import manifest
from asr.errors import InputError
from asr.files import atomic_write, keep_inputs, paths_in, refuse_foreign
from asr.locks import locked
from asr.manifest import Utterance
from asr.models.acoustic import AcousticModel
from asr.models.mixtures import MixtureNet
from asr.recognizer.speakers import recognizers_of, scored

if TYPE_CHECKING:
    from asr.recognizer.recognizer import Recognizer


def write_features(recognizer: "Recognizer", source: str | Path, output: str | Path) -> Path:
    """Write the manifest `output`: the utterances of `source` with their features in the folder named like `output`
    without its suffix. Those that cannot be read are named and left out.

    Raises InputError if the model has no mixtures, if the folder holds other files, if an input would be overwritten,
    or if no utterance is left.
    """
    output = Path(output)
    folder = output.with_suffix("")
    if folder == output:
        raise InputError(f"{output} has no suffix; name the manifest to write, such as {output}.jsonl")
    if not (isinstance(recognizer.model, AcousticModel) and isinstance(recognizer.model.net, MixtureNet)):
        raise InputError(f"{recognizer.cfg.out} holds no mixtures; set out= to a run folder of `asr hmm train`")
    utterances = manifest.read(source)
    paths = paths_in(folder, [u.id for u in utterances], ".npy", "rename one of them")
    keep_inputs([output, *paths.values()], [source, *(u.audio or u.features for u in utterances)])
    with locked(folder):
        if not output.exists():
            own = {glob.escape(path.relative_to(folder).parts[0]) for path in paths.values()}  # ids may name folders
            refuse_foreign(folder, ["*.npy", *own], "asr hmm features")
        output.unlink(missing_ok=True)  # so that no manifest names the features of two models
        with tqdm(total=len(utterances), unit="utt", desc="features") as bar:
            stored = {
                u.id: replace(
                    u, audio=None, features=str(paths[u.id]), start_s=0.0, duration_s=duration_s, channel=None
                )
                for u, duration_s in _stored(recognizer, utterances, paths, bar)
            }
        if not stored:
            raise InputError(f"no utterance of {source} could be read; see the reasons above")
        manifest.write(output, [stored[u.id] for u in utterances if u.id in stored])
    return output


def _stored(
    recognizer: "Recognizer", utterances: Sequence[Utterance], paths: Mapping[str, Path], bar: tqdm
) -> Iterator[tuple[Utterance, float]]:
    """Write the features of each utterance to its path; yields it with its seconds."""
    for adapted_to, own in recognizers_of(recognizer, utterances, bar):
        for utterance in own:
            bar.update()
            try:
                x = scored(adapted_to, utterance)  # (F, D)
                if not len(x):
                    raise InputError("too short for one frame")
            except InputError as e:
                bar.write(f"set aside utterance '{utterance.id}': {e}")
                continue
            with atomic_write(paths[utterance.id], "wb") as file:
                np.save(file, x.numpy())
            yield utterance, utterance.duration_s or len(x) * recognizer.frame_s
