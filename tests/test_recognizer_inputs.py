"""Inputs of `transcribe`: those it accepts, those it refuses with one sentence, and bad items of a list."""

import io
import tempfile

import numpy as np
import pytest
import soundfile
import torch
from tiny import TOKENS, config, graph_dir, model, noise

import asr
from asr.errors import InputError
from asr.hypothesis import Hypothesis
from asr.recognizer import bundle
from asr.recognizer.inputs import samples_of
from asr.recognizer.recognizer import Recognizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("inputs")


@pytest.fixture(scope="module")
def recognizer(folder):
    cfg = config()
    bundle.write(folder / "model.asr", model(cfg), cfg, TOKENS, graph_dir(folder / "graph"), "# tiny")
    return asr.load(folder / "model.asr", max_audio_s=5)


@pytest.fixture(scope="module")
def wav(folder):
    soundfile.write(folder / "w.wav", noise(1.3), 16000, subtype="PCM_16")
    return folder / "w.wav"


@pytest.fixture(scope="module")
def samples(wav):
    return soundfile.read(wav, dtype="int16")[0]


class PathLike:
    def __init__(self, path):
        self.path = path

    def __fspath__(self):
        return str(self.path)


class Pipe(io.RawIOBase):
    """Bytes that cannot be sought, as from a socket."""

    def __init__(self, data):
        self.file = io.BytesIO(data)

    def readable(self):
        return True

    def readinto(self, buffer):
        return self.file.readinto(buffer)


def test_open_files_and_paths_of_any_kind(recognizer, wav):
    want = recognizer.transcribe(wav)
    data = wav.read_bytes()
    with wav.open("rb") as file, tempfile.NamedTemporaryFile() as named, tempfile.SpooledTemporaryFile() as spooled:
        for temporary in (named, spooled):
            temporary.write(data)
            temporary.seek(0)
        behind = io.BytesIO(b"before" + data)
        behind.seek(6)
        forms = [
            bytearray(data),
            memoryview(data),
            file,
            io.BytesIO(data),
            Pipe(data),
            named,
            spooled,
            behind,
            PathLike(wav),
        ]
        found = recognizer.transcribe(forms)
    assert all(h.words == want.words and h.duration_s == want.duration_s for h in found)
    assert [h.id for h in found] == ["0", "1", "2", "3", "4", "5", "6", "7", "w"]
    assert [h.words for h in recognizer.transcribe((wav, wav))] == [want.words] * 2
    assert recognizer.transcribe(()) == recognizer.transcribe([]) == []


def test_arrays_and_tensors_as_torchaudio_gives_them(recognizer, wav, samples):
    torchaudio = pytest.importorskip("torchaudio")
    want = recognizer.transcribe(wav).words
    real = samples.astype(np.float32) / 32768
    forms = [samples.astype(np.int32) << 16, real.astype(np.float64), real[None], np.stack([real, real])]
    forms += [torch.from_numpy(x) for x in (real, real[None], samples, samples[None])]
    forms += [torch.from_numpy(real).requires_grad_(), torch.stack([torch.from_numpy(real)] * 3).double()]
    try:
        forms.append(torchaudio.load(wav)[0])
    except (ImportError, RuntimeError):  # newer releases need torchcodec
        pass
    for form in (*forms, real[None].view(np.matrix)):
        assert recognizer.transcribe(form, 16000).words == want
    assert recognizer.transcribe(real, np.int64(16000)).words == recognizer.transcribe(real, 16000.0).words == want
    assert recognizer.transcribe(samples[::-1], 16000).duration_s == 1.3  # a view with negative strides
    assert recognizer.transcribe(samples.astype(">i2"), 16000).words == want  # of another byte order
    for form in (real.astype(np.float16), torch.from_numpy(real).bfloat16(), torch.from_numpy(real).half()):
        assert isinstance(recognizer.transcribe(form, 16000), Hypothesis)


def test_values_and_channels_are_those_of_files(folder):
    both = np.stack([noise(0.1, 1), noise(0.1, 2)])  # (2, T)
    soundfile.write(folder / "stereo.wav", both.T, 16000, subtype="PCM_U8")
    integers = np.round(both * 128 + 128).clip(0, 255).astype(np.uint8)
    heard, _ = soundfile.read(folder / "stereo.wav", dtype="float32")
    assert np.abs(samples_of(integers, 16000, 16000) - heard.mean(axis=1)).max() <= 1 / 128
    assert np.allclose(samples_of(both, 16000, 16000), both.mean(axis=0))
    for whole, peak in ((np.int16, 2**15), (np.int32, 2**31)):
        assert samples_of(np.array([-peak, peak // 2], whole), 16000, 16000).tolist() == [-1.0, 0.5]
    assert samples_of(np.array([0, 128, 192], np.uint8), 16000, 16000).tolist() == [-1.0, 0.0, 0.5]


ONE = np.zeros(100, np.float32)
BAD = [
    (None, 16000, "not NoneType; give one of these"),
    (5, 16000, "not int; give one of these"),
    ({"a": 1}, 16000, "not dict; give one of these"),
    (iter(["a.wav"]), None, "or a list of them"),
    (io.StringIO("text"), None, "gives text, not bytes; open it with mode 'rb'"),
    (io.BytesIO(b""), None, "empty"),
    (io.BytesIO(b"this is text"), None, "not audio"),
    (ONE.reshape(1, 10, 10), 16000, r"shape \(T,\) or \(channels, T\)"),
    (np.float32(1.0), 16000, "not float32; give"),
    (np.array(1.0), 16000, "shape"),
    (np.zeros((1, 0), np.float32), 16000, "shape"),
    (torch.zeros(0), 16000, "shape"),
    (torch.zeros(100, 2), 16000, r"transpose \(T, channels\)"),
    (ONE > 0, 16000, "dtype"),
    (ONE.astype(complex), 16000, "dtype"),
    (np.array(["a", "b"]), 16000, "dtype"),
    (np.array([None, 1]), 16000, "dtype"),
    (torch.zeros(100, dtype=torch.int64), 16000, "dtype"),
    (torch.full((1, 100), torch.nan), 16000, "NaN"),
    (torch.full((100,), torch.inf, dtype=torch.float64), 16000, "NaN or samples far outside"),
    (np.full(100, 1e300), 16000, "NaN or samples far outside"),
    (torch.zeros(100, device="meta"), 16000, "give a dense one"),
    (torch.zeros(100).to_sparse(), 16000, "give a dense one"),
    (torch.zeros(100), None, "give sample_rate_hz="),
    (np.zeros((2, 16000 * 6), np.float32), 16000, "lasts 6.0 s, more than 5 s"),
]


@pytest.mark.parametrize(("x", "rate", "says"), BAD)
@pytest.mark.filterwarnings("ignore:Sparse")
def test_other_inputs_are_refused_in_a_sentence(recognizer, x, rate, says):
    with pytest.raises(InputError, match=says):
        recognizer.transcribe(x, rate)


def test_files_that_cannot_be_read_are_refused_in_a_sentence(recognizer, wav, folder):
    file = wav.open("rb")
    file.close()
    with pytest.raises(InputError, match="cannot be read .*closed.*mode 'rb'"):
        recognizer.transcribe(file)
    with wav.open(encoding="utf-8") as text, pytest.raises(InputError, match="mode 'rb'"):
        recognizer.transcribe(text)
    with (folder / "new.wav").open("wb") as written, pytest.raises(InputError, match="cannot be read"):
        recognizer.transcribe(written)
    with pytest.raises(InputError, match="is not a file"):
        recognizer.transcribe(folder)


@pytest.mark.parametrize("rate", [0, -16000, 0.5, float("nan"), float("inf"), "16000", True, [16000], 10**9])
def test_rates_that_no_recording_has_are_refused(recognizer, wav, rate):
    for x in (ONE, torch.zeros(1, 100), str(wav), [ONE]):
        with pytest.raises(InputError, match="sample_rate_hz=.* must be a number from 1000 to 768000"):
            recognizer.transcribe(x, rate, errors="return")


@pytest.mark.parametrize(
    ("path", "options", "says"),
    [
        (None, {}, "takes the path of a bundle or of a run folder, not None"),
        (b"model.asr", {}, "takes the path of a bundle"),
        (["model.asr"], {}, "takes the path of a bundle"),
        ("", {}, "takes the path of a bundle"),
        ("model.asr", {"device": None}, "device=None is unknown; choose cpu or cuda"),
        ("model.asr", {"device": "gpu"}, "device=gpu is unknown"),
        ("model.asr", {"max_audio_s": "60"}, "max_audio_s='60' must be a number of seconds above 0"),
        ("model.asr", {"max_audio_s": None}, "leave it out for no limit"),
        ("model.asr", {"max_audio_s": float("nan")}, "must be a number of seconds"),
        ("model.asr", {"g2p": None}, "g2p=None must be"),
        ("model.asr", {"beam": "wide"}, "beam='wide' must be a number"),
        ("model.asr", {"beam": None}, "beam=None must be a number"),
        ("model.asr", {"nbest": 1.5}, "nbest=1.5 must be a whole number"),
        ("model.asr", {"kind": 5}, "kind=5 must be a string"),
    ],
)
def test_load_refuses_wrong_arguments_in_a_sentence(folder, recognizer, path, options, says):
    with pytest.raises(InputError, match=says):
        asr.load(folder / path if path == "model.asr" else path, **options)


def test_load_takes_numbers_of_any_kind(folder, recognizer):
    options = {"device": torch.device("cpu"), "max_audio_s": np.float32(5), "nbest": np.int64(2), "beam": 12}
    assert asr.load(folder / "model.asr", lattice_beam=None, blank_skip=None, **options).device == "cpu"


def test_other_methods_refuse_wrong_arguments_in_a_sentence(recognizer):
    for call, says in (
        (lambda: recognizer.with_list(5), "entries of the list must be a list of strings, not 5"),
        (lambda: recognizer.with_list([None]), "it holds None"),
        (lambda: recognizer.with_grammar(None), "a grammar is a path or the text of one, not None"),
        (lambda: recognizer.with_decoder({"beam": 3}), "with_decoder takes an asr.config.DecoderConfig, not dict"),
        (lambda: recognizer.log_probs(noise(1.0)), r"log_probs\(\[samples\]\)"),
    ):
        with pytest.raises(InputError, match=says):
            call()
    x = noise(1.0)
    for form in (x.astype(np.float64), torch.from_numpy(x), list(x)):
        assert np.array_equal(recognizer.log_probs([form])[0], recognizer.log_probs([x])[0])


def test_a_bad_item_does_not_affect_the_others(recognizer, wav, samples, folder):
    (folder / "text.wav").write_text("not audio")
    bad = {1: folder / "text.wav", 3: 7, 4: np.full(100, np.nan), 6: b"", 8: torch.zeros(16000 * 6), 9: "gone.wav"}
    good = [wav, samples, wav.read_bytes(), torch.from_numpy(samples)]
    items, fresh = [], iter(good)
    for number in range(10):
        items.append(bad[number] if number in bad else next(fresh))
    found = recognizer.transcribe(items, 16000, errors="return")
    assert len(found) == 10 and {n for n, x in enumerate(found) if isinstance(x, InputError)} == set(bad)
    want = recognizer.transcribe(wav)
    assert all(found[n].words == want.words for n in range(10) if n not in bad)
    assert [found[n].id for n in range(10) if n not in bad] == ["w", "2", "5", "7"]
    for number, part in {1: "text.wav", 3: "not int", 4: "NaN", 6: "empty", 8: "lasts 6.0 s", 9: "gone.wav"}.items():
        assert str(found[number]).startswith(f"recording {number} of the list: ") and part in str(found[number])
    with pytest.raises(InputError, match="recording 1 of the list: .*text.wav"):
        recognizer.transcribe(items, 16000)
    with pytest.raises(InputError, match="recording 1 of the list: a recording is a path"):
        recognizer.transcribe([wav, [wav]])
    alone = recognizer.transcribe("gone.wav", errors="return")
    assert isinstance(alone, InputError) and "gone.wav" in str(alone)
    with pytest.raises(InputError, match="errors='ignore' must be"):
        recognizer.transcribe(wav, errors="ignore")


def test_a_recording_that_the_search_refuses_does_not_affect_the_others(recognizer, wav, monkeypatch):
    """As an utterance that would outgrow a dynamic graph."""
    found = recognizer.searcher.search

    def search(log_probs, phrases=None):
        if len(log_probs) > 20:
            raise InputError("it would outgrow the graph")
        return found(log_probs, phrases)

    monkeypatch.setattr(recognizer.searcher, "search", search)
    first, second = recognizer.transcribe([wav, noise(0.3)], 16000, errors="return")
    assert isinstance(first, InputError) and isinstance(second, Hypothesis)


def test_stored_features_as_arrays_and_tensors():
    cfg = config(kind="stored")
    recognizer = Recognizer(model(cfg), cfg, TOKENS)
    features = np.random.default_rng(1).normal(size=(200, 8))
    want = recognizer.transcribe(features)
    assert recognizer.transcribe(torch.from_numpy(features)) == want
    bad = [features.astype(str), features.astype(complex), features[0], np.full((9, 8), np.nan), io.BytesIO(b"a"), 3.0]
    found = recognizer.transcribe([*bad, features], errors="return")
    assert [isinstance(x, InputError) for x in found] == [True] * 6 + [False]
    assert found[-1].words == want.words
