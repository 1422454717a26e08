"""Alignments in files.

| format | content |
|---|---|
| jsonl | the manifest with the field `alignment`: words, their tokens, scores, remarks |
| ctm | `id channel start duration label score` per word or token, sorted by id, as Kaldi and NIST's sclite read it |
| textgrid | a folder with a TextGrid of Praat for each utterance, with the tiers `words` and `tokens` |
| npz | the HMM state or CTC output of each frame (asr.data.alignments), for criterion=ce; by the suffix of the file |

Times count from the start of the utterance. Words without a pronunciation have the score 0 and no tokens.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from asr import manifest
from asr.align.alignment import AlignedToken, AlignedWord, Alignment
from asr.data.alignments import write_alignments
from asr.errors import InputError
from asr.files import atomic_write, paths_in
from asr.manifest import Utterance
from asr.recognizer.formats import SUFFIXES, textgrid

_log = logging.getLogger(__name__)
FORMATS = ("jsonl", "ctm", "textgrid")
SUSPICIOUS = "suspicious.tsv"


def format_of(format: str, output: str, level: str = "words") -> str:
    """The format of `output`: `format`, or if that is auto, by the suffix; a folder holds TextGrids.

    Raises InputError for a format that alignments do not have, for a suffix that tells none, and for another `level`
    than words in a format that has words and tokens.
    """
    found = _format_of(format, output)
    if level != "words" and found != "ctm":
        raise InputError(f"align.level={level} is for a CTM; {found} has the words and their tokens, leave it out")
    return found


def _format_of(format: str, output: str) -> str:
    by_suffix = {SUFFIXES[name].lower(): name for name in FORMATS} | {".npz": "npz"}
    is_folder = names_folder(output)
    if format == "auto":
        if not is_folder and Path(output).suffix.lower() not in (".jsonl", ".ctm", ".npz"):
            raise InputError(f"output={output}: alignments are written as FILE.jsonl, FILE.ctm or FOLDER/ of "
                             "TextGrids, and outputs of frames as FILE.npz")  # fmt: skip
        return "textgrid" if is_folder else by_suffix[Path(output).suffix.lower()]
    if format not in FORMATS:
        raise InputError(f"format={format}: alignments are written as {', '.join(FORMATS)}")
    if (format == "textgrid") != is_folder:
        wanted = "a folder: output=FOLDER/" if format == "textgrid" else f"a file: output=FILE{SUFFIXES[format]}"
        raise InputError(f"format={format} is written to {wanted}, not {output}")
    return format


def names_folder(output: str) -> bool:
    """Whether `output` names a folder: it is one, ends in a slash or has no suffix."""
    return output.endswith("/") or Path(output).is_dir() or not Path(output).suffix


def targets(output: str, format: str, utterances: Sequence[Utterance]) -> dict[str, Path]:
    """The file of each utterance's alignment; see `paths_in` for the errors."""
    ids = [utterance.id for utterance in utterances]
    if format == "textgrid":
        return paths_in(Path(output), ids, SUFFIXES[format], "set output=FILE.jsonl")
    if format == "ctm":
        named: dict[str, str] = {}
        for id in ids:
            if (other := named.setdefault(_ctm_id(id), id)) != id:
                raise InputError(f"'{other}' and '{id}' are one name in a CTM, which has no spaces; change one")
    return dict.fromkeys(ids, Path(output))


def report_path(output: str) -> Path:
    """Where the suspicious utterances are listed."""
    return Path(output, SUSPICIOUS) if names_folder(output) else Path(f"{output}.{SUSPICIOUS}")


def write(output: str, format: str, found: Sequence[tuple[Utterance, Alignment]], level: str = "words") -> None:
    """Write the alignments; `level`, words or tokens, is what the lines of a CTM are."""
    if format == "jsonl":
        manifest.write(output, (replace(u, extra=u.extra | {"alignment": a.as_dict()}) for u, a in found))
        return
    if format == "npz":
        write_alignments(output, {u.id: a.states for u, a in found if a.states is not None})
        return
    if format == "ctm":
        with atomic_write(output) as file:
            for utterance, alignment in sorted(found, key=lambda pair: pair[1].id):
                file.writelines(_ctm(alignment, utterance.channel or 0, level))
        return
    paths = targets(output, format, [utterance for utterance, _ in found])
    replaced = []
    for _, alignment in found:
        path, text = paths[alignment.id], textgrid_of(alignment)
        if path.exists() and path.read_bytes() != text.encode():
            replaced.append(path)
        with atomic_write(path) as file:
            file.write(text)
    if replaced:
        _log.warning("replaced %d files in %s, which had other content, such as %s", len(replaced), output, replaced[0])


def write_suspicious(path: str | Path, alignments: Sequence[Alignment]) -> None:
    """Tab-separated lines: id, score, remark; one per remark."""
    with atomic_write(path) as file:
        file.write("id\tscore\tremark\n")
        file.writelines(f"{_ctm_id(a.id)}\t{a.score:.4f}\t{remark}\n" for a in alignments for remark in a.remarks)


def textgrid_of(alignment: Alignment) -> str:
    tiers = {
        "words": [(word.start_s, word.end_s, word.word) for word in alignment.words],
        "tokens": [(t.start_s, t.end_s, t.token) for word in alignment.words for t in word.tokens],
    }
    return textgrid(tiers, alignment.duration_s)


def _ctm(alignment: Alignment, channel: int, level: str) -> Iterator[str]:
    parts: list[tuple[str, AlignedWord | AlignedToken]] = [(word.word, word) for word in alignment.words]
    if level == "tokens":
        parts = [(token.token, token) for word in alignment.words for token in word.tokens]
    for label, part in parts:
        seconds = f"{part.start_s:.3f} {part.end_s - part.start_s:.3f}"
        yield f"{_ctm_id(alignment.id)} {channel + 1} {seconds} {label} {part.score:.4f}\n"


def _ctm_id(id: str) -> str:
    return "_".join(id.split())
