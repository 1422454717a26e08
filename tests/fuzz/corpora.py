"""The readers of texts, tables, lexicons and corpora as fuzz targets."""

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import soundfile

from asr import hypothesis, manifest
from asr.data import importers
from asr.data.importers import pipes
from asr.evaluation.texts import read_pair, read_texts
from asr.graph import lists
from asr.recognizer import sources
from asr.search import lattice_files, new_words, phrases
from asr.text import repair
from asr.text.lexicon import Lexicon
from asr.textfiles import lines
from asr.tokens import Tokens
from fuzz.registry import target

NEXT = b"\n%%%%\n"  # between the files of an input that stands for several

target("list", "yes\nturn on\t2.5\n거실\t1e-3\n".encode())(lists.read_list)
target(
    "lexicon",
    b"a AA1 B\na(2) AA B\nb B #c\n# x\n",
    b"a 0.5 AA\nb 0.1 0.2 0.3 B\n",
    b"a 0.99 0.5 1.2 0.8 AA B\nb 0.2 0.1 1.0 1.1 B\n",
    b'"A" nil 1 (((aa b) 1))\n("b" nil (b iy))\n',
    b"a+a [a] aa b\nb+b [b] b\n",
    b"<s> [] sil\na [A] 0.7 aa\n",
    b"a\t0.25\tAA B\na\t1.5\tAA\n",
    b"A  1 AA B\nA  2 AA\n",
)(Lexicon.read)
target(
    "tokens",
    b"<blk>\n<space>\na\nb\n",
    b"<eps> 0\na 1\nb 2\n#0 3\n",
    b'{"<pad>": 0, "|": 1, "a": 2, "\\u00e9": 3}',
    b"<pad>\na\n<unk>\n",
)(Tokens.read)
target("phrases", b"new york\t3.5\na b\n")(lambda path: phrases.read_phrases(path, 3.0))
target("new_words", b"word\ta b\t<name>\t0.5\nx\n")(new_words.read_new_words)
target(
    "texts",
    b'a\tx y\n{"id": "b", "text": "c", "speaker": null}\n',
    b"u1 x y\nu2\n",
    b'[{"audio_filepath": "a.wav", "text": "x", "pred_text": "y"}]',
    b'{"text": "x", "segments": []}',
    b"id,text\na,b\n",
)(read_texts)
target("texts_trn", b"x { a / b / @ } (y) (spk-u1)\nx (spk-u2)\n")(read_texts)
target("texts_ctm", b";; c\na 1 0.5 0.1 x 0.9\na 1 * * <ALT_BEGIN>\na 1 0.6 .1 y NA\nb A 1. 1 z\n")(read_texts)
target("texts_stm", b'a 1 s 0.0 1.5 <o,f0> x y\na 1 s 2 3. IGNORE_TIME_SEGMENT_IN_SCORING\nb 1 t 0.5 1 <"> z\n')(
    read_texts
)


@target(
    "texts_pair", b"a 1 s 0.0 1.5 ignore_time_segment_in_scoring" + NEXT + b"a 1 0.5 0.1 x\n", b"a x" + NEXT + b"a y"
)
def _read_pair(path: Path) -> None:
    for name, data in zip(("ref", "hyp"), _files(path, 2), strict=True):
        (path.parent / name).write_bytes(data)
    read_pair(path.parent / "ref", path.parent / "hyp")


target("repairs", b"teh\tthe\na b\tc\n")(repair.table)
target(
    "hypotheses",
    json.dumps({"id": "a", "text": "x", "words": [], "complete": True, "cost": 1.5, "duration_s": 1.0}).encode(),
    json.dumps({
        "id": "a", "text": "x", "cost": -2.5, "complete": False, "duration_s": 1, "alternatives": [["y", 2.0]],
        "words": [{"word": "x", "start_s": 0.1, "end_s": 0.2, "confidence": 0.5, "tokens": [["x", 0.1, 0.2]]}],
    }).encode(),
)(hypothesis.read)  # fmt: skip


@target("sources", b'{"manifest": "../data/test.jsonl", "sha256": "abc"}')
def _read_source(path: Path) -> None:
    """The record beside hypotheses of the manifest that they were made from."""
    hypotheses = path.parent / "hyp.jsonl"
    hypotheses.touch()
    sources._record(hypotheses).write_bytes(path.read_bytes())
    sources.check(hypotheses, str(path), "")


@target("lattice", b"u1\n0 1 3 0.5,1.5,1_2\n1 2 4 1,2,3\n2 0,1,\n\nu2\n0 0,0,1\n\n")
def _read_lattice(path: Path) -> None:
    for lattice in lattice_files.read_kaldi(path).values():
        lattice.nbest(3)
        lattice.posteriors()


@target(
    "manifest",
    b'{"id": "a", "audio": "a.wav", "start_s": 0.5, "duration_s": 1, "text": "x", "lang": "en", "k": [1]}\n'
    b'{"id": "b", "features": "f.ark:12", "speaker": null}\n',
    suffix=".jsonl",
)
def _read_manifest(path: Path) -> None:
    manifest.write(path.with_suffix(".out"), manifest.read(path))


@target("is_manifest", b'{"id": "a"}\n')
def _is_manifest(path: Path) -> None:
    manifest.is_manifest(path)


def _packed(folder: Path) -> list[bytes]:
    text = b"a b c\n" * 20
    return [gzip.compress(text), bz2.compress(text), lzma.compress(text), text, b"\xef\xbb\xbfa\r\nb"]


@target("packed", _packed)
def _read_lines(path: Path) -> None:
    """Text files of any kind, plain or compressed."""
    for _ in lines(path, "text", "lines"):
        pass


# Corpora


def _importer(kind: str, *names: str) -> Callable[[Path], object]:
    """Reads a corpus of which the input holds these files, next to recordings a.wav and b.wav."""

    def read(path: Path) -> object:
        folder = _folder(path.parent, kind)
        for name, data in zip(names, _files(path, len(names)), strict=True):
            (folder / name).write_bytes(data)
        is_folder = kind in ("kaldi", "transcripts", "folder")
        return importers.import_corpus(folder if is_folder else folder / names[0], kind, lambda sentence: None)

    return read


@cache
def _folder(parent: Path, kind: str) -> Path:
    folder = parent / kind
    folder.mkdir()
    for name in ("a.wav", "b.wav"):
        soundfile.write(folder / name, np.zeros(160), 16000)
    return folder


def _files(path: Path, count: int) -> list[bytes]:
    parts = path.read_bytes().split(NEXT, count - 1)
    return parts + [b""] * (count - len(parts))


CUT = {
    "id": "c", "start": 0, "duration": 1, "channel": 0,
    "recording": {"id": "r", "sources": [{"type": "file", "channels": [0], "source": "a.wav"}]},
    "supervisions": [{"id": "s", "text": "x", "start": 0, "duration": 1}],
}  # fmt: skip
RECORDING = {"id": "r", "sources": [{"type": "file", "channels": [0], "source": "a.wav"}], "sampling_rate": 16000,
             "num_samples": 160, "duration": 0.01, "channel_ids": [0]}  # fmt: skip
SUPERVISION = {
    "id": "s",
    "recording_id": "r",
    "start": 0.0,
    "duration": 0.01,
    "channel": 0,
    "text": "x",
    "speaker": "k",
}
target("import_nemo", b'{"audio_filepath": "a.wav", "duration": 1.5, "text": "x", "offset": 0}\n')(
    _importer("nemo", "m.json")
)
target("import_wenet", b'{"key": "u", "wav": "a.wav", "txt": "x"}\n')(_importer("wenet", "data.list"))
target("import_lhotse", json.dumps(CUT).encode())(_importer("lhotse", "cuts.jsonl"))
target("import_lhotse_pair", json.dumps(SUPERVISION).encode() + NEXT + json.dumps(RECORDING).encode())(
    _importer("lhotse", "supervisions.jsonl", "recordings.jsonl")
)
target("import_table", b"path,sentence,start,end\na.wav,hello,0,1\n", b"file_name;start_sample;channel\na.wav;8;1\n")(
    _importer("table", "t.csv")
)
target("import_common_voice", b"client_id\tpath\tsentence\n1\ta.mp3\tx\n")(_importer("common_voice", "train.tsv"))
target("import_ljspeech", b"a|X y.|x y\nb|Z\n")(_importer("ljspeech", "metadata.csv"))
target("import_stm", b"a 1 s 0.0 0.005 <o,f0> x y\na 2 s 0.005 0.01 z\n")(_importer("stm", "x.stm"))
target("import_sphinx", b"<s> x(2) ++um++ y </s> (a)\n(b)\n" + NEXT + b"a\nb\n")(
    _importer("sphinx", "x.transcription", "x.fileids")
)
target("import_transcripts", b"a x y\nb z\n", b'( a "x y." )\n')(_importer("transcripts", "transcripts.txt"))
target("import_folder", b"x y\n" + NEXT + b"z")(_importer("folder", "a.txt", "b.txt"))
target(
    "import_kaldi",
    b"u1 a.wav\nu2 b.wav\n" + NEXT + b"u1 x y\n" + NEXT + b"u1 spk\n" + NEXT + b"u1 u1 0 0.01\n" + NEXT + b"u1 1.5\n",
    b"r flac -c -d -s a.flac |\n" + NEXT + b"s x\n" + NEXT + b"s spk\n" + NEXT + b"s r 0.0 0.005\n",
)(_importer("kaldi", "wav.scp", "text", "utt2spk", "segments", "utt2dur"))


@target("pipes", b"sox -t wav a.wav -r 16k -t wav - remix 1 |", b"sph2pipe -f wav -p -c 2 a.sph |",
        b"ffmpeg -i 'a b.m4a' -f wav -ar 16000 - |", b"flac -c -d -s a.flac |", b"cat a.wav|")  # fmt: skip
def _read_pipe(path: Path) -> None:
    pipes.file_of_pipe(path.read_text("utf-8", errors="replace").replace("\n", " "))  # a line of wav.scp
