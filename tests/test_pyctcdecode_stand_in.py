"""Wav2Vec2ProcessorWithLM with our decoder, in processes of their own: a process keeps what it imported."""

import subprocess
import sys

import pytest
from test_graph import write_arpa

from asr.errors import InputError
from asr.integrations.transformers import BeamSearchDecoderCTC, build_ctcdecoder

SETUP = """
import json, os, sys
import numpy as np
from asr.integrations.transformers import build_ctcdecoder, replace_pyctcdecode
"""
PROCESSOR = """
replace_pyctcdecode()
from transformers import Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2ProcessorWithLM
import pyctcdecode
vocabulary = ["<pad>", "<s>", "</s>", "<unk>", "|", "A", "B", "C"]
json.dump({x: i for i, x in enumerate(vocabulary)}, open("vocab.json", "w"))
tokenizer = Wav2Vec2CTCTokenizer("vocab.json")
decoder = pyctcdecode.build_ctcdecoder(vocabulary, "lm.arpa")
processor = Wav2Vec2ProcessorWithLM(Wav2Vec2FeatureExtractor(), tokenizer, decoder)
peaks = 4.0 * np.eye(8)[[5, 5, 0, 6, 4, 0, 7, 5, 0]]
one = processor.decode(peaks, output_word_offsets=True, n_best=1, hotwords=["CA"], hotword_weight=2.0, alpha=0.4)
assert one.text == "AB CA", one
assert one.word_offsets == [
    {"word": "AB", "start_offset": 0, "end_offset": 4},
    {"word": "CA", "start_offset": 6, "end_offset": 8},
], one
assert one.logit_score < 0 and one.lm_score != one.logit_score
padded = np.stack([peaks, np.full_like(peaks, -100.0)])
padded[1, :4] = peaks[:4]
two = processor.batch_decode(padded, num_processes=1, n_best=2, output_word_offsets=True)
assert [texts[0] for texts in two.text] == ["AB CA", "AB"], two
assert len(two.logit_score[0]) == 2
processor.save_pretrained("saved")
assert sorted(os.listdir("saved/language_model")) == ["attrs.json", "lm.arpa", "unigrams.txt"]
again = Wav2Vec2ProcessorWithLM(
    Wav2Vec2FeatureExtractor(), tokenizer, pyctcdecode.BeamSearchDecoderCTC.load_from_dir("saved")
)
assert again.decode(peaks).text == "AB CA"
assert again.decode(peaks, alpha=0.4, hotwords=["CA"], hotword_weight=2.0).lm_score == one.lm_score
"""


def run(code, folder):
    return subprocess.run([sys.executable, "-c", SETUP + code], cwd=folder, capture_output=True, text=True)


@pytest.fixture
def folder(tmp_path):
    ngrams = {(w,): (p, 0.0) for w, p in [("<s>", -9.0), ("</s>", -1.0), ("<unk>", -3.0), ("AB", -0.5), ("CA", -0.7)]}
    write_arpa({**ngrams, ("<s>", "AB"): (-0.2, 0.0)}, tmp_path / "lm.arpa")
    return tmp_path


def test_the_processor_of_transformers_runs(folder):
    pytest.importorskip("transformers")
    done = run(PROCESSOR, folder)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("alphabet.json", "[", "alphabet.json"),
        ("alphabet.json", "{}", "a list 'labels'"),
        ("language_model/attrs.json", '{"alpha": 1}', "expected the fields alpha, beta"),
        (
            "language_model/attrs.json",
            '{"alpha": "1", "beta": 1, "unk_score_offset": 0, "score_boundary": true}',
            "alpha is '1'",
        ),
        ("language_model/other.arpa", "", "there is lm.arpa, other.arpa"),
    ],
)
def test_a_folder_of_another_form_is_refused(name, content, message, folder):
    build_ctcdecoder(["<pad>", "|", "A", "B", "C"], folder / "lm.arpa").save_to_dir(folder / "saved")
    (folder / "saved" / name).write_text(content)
    with pytest.raises(InputError, match=message):
        BeamSearchDecoderCTC.load_from_dir(folder / "saved")
    with pytest.raises(InputError, match="exists; save the decoder to another folder"):
        build_ctcdecoder(["<pad>", "A"]).save_to_dir(folder / "saved")


def test_what_is_imported_as_pyctcdecode_is_ours(folder):
    code = """
replace_pyctcdecode()
replace_pyctcdecode()
import importlib.util
from pyctcdecode import BeamSearchDecoderCTC
from pyctcdecode.constants import DEFAULT_BEAM_WIDTH
from pyctcdecode.decoder import build_ctcdecoder as build
assert build is build_ctcdecoder and DEFAULT_BEAM_WIDTH == 100
assert isinstance(build(["<pad>", "a"]), BeamSearchDecoderCTC)
assert importlib.util.find_spec("pyctcdecode") is not None
"""
    done = run(code, folder)
    assert done.returncode == 0, done.stderr


def test_the_real_pyctcdecode_is_not_replaced_behind_its_users(folder):
    (folder / "pyctcdecode.py").write_text("class BeamSearchDecoderCTC: ...\n")
    done = run("import pyctcdecode\nreplace_pyctcdecode()", folder)
    assert "InputError: pyctcdecode is imported already" in done.stderr


def test_no_third_package_is_needed(folder):
    code = "assert not {'transformers', 'pyctcdecode', 'kenlm', 'torch'} & set(sys.modules)"
    done = run(code, folder)
    assert done.returncode == 0, done.stderr
