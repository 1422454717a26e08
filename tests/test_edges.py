"""decoder.pad_s: quiet noise around a recording, and times in the recording itself."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import TOKENS, config, model, noise, write_bundle

import asr
from asr.errors import InputError
from asr.hypothesis import Hypothesis, Word
from asr.recognizer import edges
from asr.recognizer.recognizer import Recognizer


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("edges")
    return write_bundle(folder / "model.asr")


def test_a_padded_recording_is_recognised_as_if_the_noise_were_in_the_file(path):
    plain, padded = asr.load(path), asr.load(path, pad_s=0.5)
    x = noise(1.0, 4)
    around = edges.pad(x, 0.5, 16000)
    assert len(around) == len(x) + 16000 and np.array_equal(around[8000:-8000], x)
    assert np.array_equal(padded.log_probs([x])[0], plain.log_probs([around])[0])
    found, truth = padded.transcribe(x, 16000), plain.transcribe(around, 16000)
    assert found.text == truth.text and found.duration_s == 1.0 and found.words
    for own, other in zip(found.words, truth.words, strict=True):
        assert own.confidence == other.confidence
        assert own.start_s == pytest.approx(np.clip(other.start_s - 0.5, 0, 1), abs=1e-3)
        assert own.end_s == pytest.approx(np.clip(other.end_s - 0.5, 0, 1), abs=1e-3)


def test_the_result_does_not_depend_on_the_others_in_the_list(path):
    padded = asr.load(path, pad_s=0.3)
    recordings = [noise(seconds, number) for number, seconds in enumerate((0.4, 1.1, 0.7))]
    for found, x in zip(padded.transcribe(recordings, 16000), recordings, strict=True):
        assert found.words == padded.transcribe(x, 16000).words


def test_noise_is_quiet_and_follows_the_level(path):
    x = noise(1.0, 2)
    around = edges.pad(x, 0.5, 16000)
    assert 20 * np.log10(np.abs(x).max() / around[:8000].std()) == pytest.approx(50, abs=0.5)
    assert np.allclose(edges.pad(x / 10, 0.5, 16000), around / 10, atol=1e-7)
    assert not edges.pad(np.zeros(1000, np.float32), 0.5, 16000).any()
    assert edges.pad(x, 0.0, 16000) is x and not len(edges.pad(x[:0], 0.5, 16000))


def test_partial_results_have_the_times_of_the_recording(path):
    stream = asr.load(path, pad_s=0.5).stream(endpoint=asr.EndpointOptions(vad="net"))
    stream.accept(noise(1.2, 4), 16000)
    words = stream.partial().words
    assert words and all(0 <= word.start_s <= word.end_s <= 1.2 for word in words)
    assert stream.finish().words == asr.load(path, pad_s=0.5).transcribe(noise(1.2, 4), 16000).words


@given(st.floats(0, 3), st.lists(st.tuples(st.floats(0, 9), st.floats(0, 9)), max_size=4))
def test_times_stay_in_the_recording_and_in_order(pad_s, times):
    words = [Word("w", min(pair), max(pair), 0.5) for pair in sorted(times)]
    for word in edges.unpad(Hypothesis("", "", words, 0.0, 3.0, True), pad_s).words:
        assert 0 <= word.start_s <= word.end_s <= (3.0 if pad_s else 9.0)


def test_stored_features_cannot_be_padded():
    cfg = config()
    cfg.features.kind, cfg.decoder.pad_s = "stored", 0.5
    with pytest.raises(InputError, match="stored features"):
        Recognizer(model(config()), cfg, TOKENS)


def test_words_to_remove_are_a_list_of_words(path):
    assert list(asr.load(path, remove=("um",)).cfg.decoder.remove) == ["um"]
    for wrong in ("um", [1], 2):
        with pytest.raises(InputError, match="must be a list of words"):
            asr.load(path, remove=wrong)
