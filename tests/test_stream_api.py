"""`Recognizer.stream`: the same words however the sound is cut, with times from the stream's beginning."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import TOKENS, config, graph_dir, model, noise

import asr
from asr.errors import InputError
from asr.recognizer import bundle


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stream")
    cfg = config()
    bundle.write(folder / "model.asr", model(cfg), cfg, TOKENS, graph_dir(folder / "graph"), "# tiny")
    return asr.load(folder / "model.asr")


def pieces(x, cuts):
    return np.split(x, sorted(round(cut * len(x)) for cut in cuts))


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    cuts=st.lists(st.floats(0, 1), max_size=8), seed=st.integers(0, 5), rate_hz=st.sampled_from([8000, 16000, 44100])
)
def test_any_chunks_give_the_words_of_transcribe(recognizer, cuts, seed, rate_hz):
    x = noise(2.3, seed, rate_hz)
    stream = recognizer.stream()
    for part in pieces(x, cuts):
        stream.accept(part, rate_hz)
        stream.partial()
    assert stream.heard_s == pytest.approx(2.3)
    expected = recognizer.transcribe(x, rate_hz)
    found = stream.finish()
    assert (found.words, found.text, found.cost) == (expected.words, expected.text, expected.cost)
    assert len(found.words) > 3


def test_times_count_from_the_beginning_of_the_stream(recognizer):
    stream = recognizer.stream()
    for seed in range(3):
        x = noise(1.5, seed)
        stream.accept(x, 16000)
        partial = stream.partial()
        expected = recognizer.transcribe(x, 16000).words
        assert [w.start_s for w in partial.words] == pytest.approx([w.start_s + 1.5 * seed for w in expected])
        found = stream.finalize()
        assert found.id == str(seed) and found.duration_s == 1.5
        assert [w.word for w in found.words] == [w.word for w in expected]
        assert [w.end_s for w in found.words] == pytest.approx([w.end_s + 1.5 * seed for w in expected])


def test_a_finished_stream_takes_no_more_sound(recognizer):
    stream = recognizer.stream()
    assert stream.finish().text == ""
    for use in (stream.finalize, stream.finish, lambda: stream.accept(noise(0.1), 16000)):
        with pytest.raises(InputError, match="finished"):
            use()


@pytest.mark.parametrize(
    ("samples", "rate_hz", "message"),
    [
        (np.full(100, np.nan, np.float32), 16000, "NaN"),
        (np.full(100, 1000.0), 16000, "outside"),
        (np.zeros((2, 100), np.float32), 16000, "shape"),
        (np.zeros(100, np.int64), 16000, "dtype"),
        (np.array(["a"]), 16000, "dtype"),
        ([1.0, 2.0], 16000, "arrays or tensors"),
        (b"1234", 16000, "frombuffer"),
        (np.zeros(100), 0, "sample_rate_hz"),
        (np.zeros(100), None, "sample_rate_hz"),
    ],
)
def test_bad_sound_is_refused_and_the_stream_goes_on(recognizer, samples, rate_hz, message):
    x = noise(1.5)
    stream = recognizer.stream()
    stream.accept(x[:7000], 16000)
    with pytest.raises(InputError, match=message):
        stream.accept(samples, rate_hz)
    stream.accept(np.zeros(0, np.float32), 16000)
    stream.accept(x[7000:], 16000)
    assert stream.finish().words == recognizer.transcribe(x, 16000).words


def test_integers_are_scaled(recognizer):
    x = (noise(1.5) * 32767).astype(np.int16)
    stream = recognizer.stream()
    stream.accept(x, 16000)
    assert stream.finish().words == recognizer.transcribe(x, 16000).words


def test_wrong_options_are_refused(recognizer):
    with pytest.raises(InputError, match="DecodingOptions"):
        recognizer.stream({"beam": 3})
    with pytest.raises(InputError, match="EndpointOptions"):
        recognizer.stream(endpoint=3)


def test_silence_ends_an_utterance(recognizer):
    stream = recognizer.stream(
        endpoint=asr.EndpointOptions((asr.search.endpoint.Rule(False, 0.0, utterance_s=2.0, name="x"),))
    )
    stream.accept(noise(1.9), 16000)
    assert stream.endpoint() is None
    stream.accept(noise(0.1), 16000)
    assert stream.endpoint().rule == "x"
