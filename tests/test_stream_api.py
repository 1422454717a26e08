"""`Recognizer.stream`: the same words however the sound is cut, with times from the stream's beginning."""

import pickle
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import TOKENS, config, graph_dir, model, noise

import asr
from asr.errors import InputError
from asr.recognizer import bundle, rescored, streamed, utterance
from asr.recognizer.streamed import can_stream
from asr.search.endpoint import Rule

# Nets that stream, and models of whole recordings (the last two)
KINDS = {
    "cnn": (dict(kind="cnn", lookahead=2), "none", 0),
    "lstm": (dict(kind="lstm", bidirectional=False, lookahead=3), "causal", 2),
    "fc": (dict(kind="fc"), "causal", 0),
    "whole": (dict(kind="lstm"), "utterance", 0),
    "speech": (dict(kind="cnn"), "speech", 0),
}


def make(kind, folder):
    net, cmvn, deltas = KINDS[kind]
    cfg = config(cmvn=cmvn, deltas=deltas)
    for name, value in net.items():
        setattr(cfg.model, name, value)
    bundle.write(folder / "model.asr", model(cfg), cfg, TOKENS, graph_dir(folder / "graph"), "# tiny")
    return asr.load(folder / "model.asr")


@pytest.fixture(scope="module", params=KINDS)
def recognizer(request, tmp_path_factory):
    found = make(request.param, tmp_path_factory.mktemp(request.param))
    assert can_stream(found.model) == (request.param not in ("whole", "speech"))
    return found


@pytest.fixture(scope="module")
def streaming(tmp_path_factory):
    return make("cnn", tmp_path_factory.mktemp("streaming"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return make("whole", tmp_path_factory.mktemp("whole"))


def pieces(x, cuts):
    return np.split(x, sorted(round(cut * len(x)) for cut in cuts))


OPTIONS = {
    "plain": None,
    "nbest": asr.DecodingOptions(nbest=3, beam=12.0),
    "mbr": asr.DecodingOptions(mbr=True, confusion=True),
    "phrases": asr.DecodingOptions(phrases={"a b": 2.0}),
    "rejected": asr.DecodingOptions(reject_below=0.6),
    "list": asr.DecodingOptions(word_list=["a b a b a", "b"]),
    "grammar": asr.DecodingOptions(grammar="#JSGF V1.0;\ngrammar g;\npublic <g> = (a | b)+;\n"),
}


@pytest.mark.parametrize("name", OPTIONS)
@settings(max_examples=4, deadline=None, derandomize=True)
@given(
    cuts=st.lists(st.floats(0, 1), max_size=8), seed=st.integers(0, 5), rate_hz=st.sampled_from([8000, 16000, 44100])
)
def test_any_chunks_give_the_words_of_transcribe(recognizer, name, cuts, seed, rate_hz):
    x = noise(2.3, seed, rate_hz)
    stream, stable = recognizer.stream(OPTIONS[name]), []
    for part in pieces(x, cuts):
        stream.accept(part, rate_hz)
        partial = stream.partial()
        words = [word.word for word in partial.words]
        assert words[: len(stable)] == stable
        stable = words[: partial.num_stable]
    assert stream.heard_s == pytest.approx(2.3)
    found, expected = stream.finish(), recognizer.transcribe(x, rate_hz, OPTIONS[name])
    assert (found.text, found.complete) == (expected.text, expected.complete)
    assert found.duration_s == pytest.approx(expected.duration_s)
    assert [w.word for w in found.words][: len(stable)] == stable
    for mine, its in zip(found.words, expected.words, strict=True):
        assert (mine.word, mine.start_s, mine.end_s, mine.accepted) == (its.word, its.start_s, its.end_s, its.accepted)
        if name != "phrases":  # their confidences rest on alignments of readings, which may tie
            assert mine.confidence == pytest.approx(its.confidence, abs=2e-3)
    assert [other.text for other in found.alternatives] == [other.text for other in expected.alternatives]


@settings(max_examples=5, deadline=None, derandomize=True)
@given(cuts=st.lists(st.floats(0, 1), max_size=8))
def test_chunks_give_the_same_bits(streaming, cuts):
    results = []
    for parts in ([noise(1.9)], pieces(noise(1.9), cuts)):
        stream = streaming.stream()
        for part in parts:
            stream.accept(part, 16000)
        results.append(stream.finish())
    assert results[0] == results[1] and results[0].words


def test_greedy_searches_stream(recognizer):
    greedy = recognizer.with_decoder(replace(recognizer.cfg.decoder, kind="greedy"))
    x = noise(2.3, 4)
    stream, stable = greedy.stream(), []
    for part in np.split(x, 10):
        stream.accept(part, 16000)
        words = [word.word for word in stream.partial().words]
        assert words[: len(stable)] == stable
        stable = words[: stream.partial().num_stable]
    assert stream.finish().text == greedy.transcribe(x, 16000).text


def test_times_count_from_the_beginning_of_the_stream(recognizer):
    stream = recognizer.stream()
    for seed in range(3):
        x = noise(1.5, seed)
        stream.accept(x, 16000)
        partial = stream.partial()
        expected = recognizer.transcribe(x, 16000).words
        assert all(1.5 * seed <= w.start_s < w.end_s <= 1.5 * seed + 1.53 for w in partial.words)
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


@pytest.mark.parametrize("kind", ["streaming", "whole"])
def test_long_utterances_are_cut(kind, request, monkeypatch):
    """In bounded memory; the words before a cut stay, whatever the chunks."""
    for module, limits in (
        (rescored, {"LONGEST_S": 2.0, "SHORTEST_S": 1.0}),
        (streamed, {"LONGEST_S": 1.5, "MOST_S": 2.0}),
    ):
        for name, value in limits.items():
            monkeypatch.setattr(module, name, value)
    recognizer, x, found = request.getfixturevalue(kind), noise(9.0, 3), []
    for chunk in (1600, 5001):
        stream, stable, held = recognizer.stream(), [], []
        for start in range(0, len(x), chunk):
            stream.accept(x[start : start + chunk], 16000)
            partial = stream.partial()
            words = [word.word for word in partial.words]
            assert words[: len(stable)] == stable
            stable = words[: partial.num_stable]
            held.append(len(pickle.dumps(vars(stream._utterance).get("_rest"))))
        assert max(held) < 4 * 2.5 * 16000
        found.append(stream.finish())
        assert stable and [w.word for w in found[-1].words][: len(stable)] == stable
        edges = [t for w in found[-1].words for t in (w.start_s, w.end_s)]
        assert edges == sorted(edges) and edges[-1] <= 9.0 + recognizer.frame_s
        assert found[-1].duration_s == pytest.approx(9.0)
    assert found[0] == found[1]


@pytest.mark.parametrize("kind", ["streaming", "whole"])
def test_memory_does_not_grow_with_the_stream(kind, request):
    stream, held = request.getfixturevalue(kind).stream(), []
    tracemalloc.start()
    try:
        for seed in range(9):
            for part in np.split(noise(1.5, seed), 5):
                stream.accept(part, 16000)
            stream.endpoint()
            stream.finalize()
            held.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert held[-1] - held[3] < 150_000  # bytes; the sound of five utterances would take 480,000


def test_a_list_is_not_cut(recognizer, monkeypatch):
    monkeypatch.setattr(utterance, "CLOSED_S", 1.0)
    stream = recognizer.stream(asr.DecodingOptions(word_list=["a", "b"]))
    stream.accept(noise(0.9), 16000)
    with pytest.raises(InputError, match="at most 1 s in a stream"):
        stream.accept(noise(0.2), 16000)
    assert stream.finalize().duration_s == 0.9
    stream.accept(noise(0.9), 16000)
    assert stream.finish().id == "1"


def test_a_rule_ends_an_utterance(recognizer):
    rule = Rule(speech=False, silence_s=0.0, utterance_s=2.0, name="long")
    stream = recognizer.stream(endpoint=asr.EndpointOptions((rule,)))
    stream.accept(noise(1.9), 16000)
    assert stream.endpoint() is None
    stream.accept(noise(0.2), 16000)
    assert stream.endpoint().rule == "long" and 0 <= stream.endpoint().at_s <= 2.1
    stream.finalize()
    assert stream.endpoint() is None


def speech_with_pauses(seconds=6.0):
    """Loud noise for 1 s, soft noise for 0.8 s, and so on."""
    x = noise(seconds, 5)
    quiet = np.arange(len(x)) % round(1.8 * 16000) > 16000
    return np.where(quiet, 0.003 * x, x).astype(np.float32)


@pytest.mark.parametrize("vad", ["net", "energy"])
def test_endpoints_do_not_depend_on_partial_results(recognizer, vad):
    pause = Rule(speech=False, silence_s=0.25, utterance_s=0.5, name="pause")
    rules = (pause, Rule(speech=False, silence_s=0.0, utterance_s=1.7, name="long"))
    x, rng, found = speech_with_pauses(), np.random.default_rng(1), []
    for share in (0.0, 0.3, 1.0):  # of the steps after which a partial result is asked for
        stream, ended = recognizer.stream(endpoint=asr.EndpointOptions(rules, vad)), []
        for start in range(0, len(x), 1600):
            stream.accept(x[start : start + 1600], 16000)
            if rng.random() < share:
                stream.partial()
            if end := stream.endpoint():
                ended.append((stream.heard_s, end, stream.finalize().words))
        found.append((ended, stream.finish().words))
    assert found[0] == found[1] == found[2]
    assert len(found[0][0]) >= 3


def test_speech_is_not_scored_before_someone_wants_its_words(whole, monkeypatch):
    scored = []
    score = type(whole.model).score
    monkeypatch.setattr(
        type(whole.model), "score", lambda self, batch: scored.append(len(batch[0])) or score(self, batch)
    )
    x = speech_with_pauses()
    stream = whole.stream(endpoint=asr.EndpointOptions((Rule(speech=False, silence_s=0.4, utterance_s=0.5),), "energy"))
    for start in range(0, len(x), 1600):
        stream.accept(x[start : start + 1600], 16000)
        if stream.endpoint():
            stream.finalize()
    assert 3 <= len(scored) <= 12, scored  # 20 hops, and an end every 1.8 s


def babble(seconds):
    """Loud and soft by turns: voice activity hears speech."""
    x = noise(seconds)
    return x * (0.01 + (np.arange(len(x)) // 3200 % 2)).astype(np.float32)


@pytest.mark.parametrize("kind", ["streaming", "whole"])
def test_noise_between_utterances_is_no_word(kind, request):
    recognizer = request.getfixturevalue(kind)
    hiss = (0.003 * np.random.default_rng(5).standard_normal(5 * 16000)).astype(np.float32)
    stream, unguarded = recognizer.stream(), recognizer.stream(endpoint=asr.EndpointOptions(vad="net"))
    sounds = [(babble(3.0), True), (hiss[:32000], False), (hiss, False), (0 * hiss, False), (babble(2.0), True)]
    for x, is_speech in sounds:
        words = []
        for part in np.split(x, 10):
            for each in (stream, unguarded):
                each.accept(part, 16000)
            words.append(stream.partial().words)
            stream.endpoint()
        expected = unguarded.finalize()
        found = stream.finalize()
        assert expected.words and found.duration_s == expected.duration_s
        assert (found.text, found.words) == ((expected.text, expected.words) if is_speech else ("", []))
        assert any(words) == is_speech


def test_noise_without_words_ends_by_its_rule(recognizer):
    """Words that the net finds in noise do not put off the end of an utterance without speech."""
    stream = recognizer.stream()
    stream.accept(babble(3.0), 16000)
    stream.finalize()
    stream.accept((0.003 * np.random.default_rng(5).standard_normal(6 * 16000)).astype(np.float32), 16000)
    assert stream.endpoint().rule == "no speech"


def test_the_rate_may_change(recognizer):
    parts = [(noise(1.0, 1, 8000), 8000), (noise(1.0, 2, 44100), 44100), (noise(1.0, 3), 16000)]
    stream = recognizer.stream()
    for x, rate_hz in parts:
        stream.accept(x, rate_hz)
    whole = np.concatenate([soxr.resample(x, rate_hz, 16000) for x, rate_hz in parts])
    assert [w.word for w in stream.finish().words] == [w.word for w in recognizer.transcribe(whole, 16000).words]
    assert stream.heard_s == pytest.approx(3.0)


def test_streams_of_many_threads_share_a_recogniser(recognizer):
    def words(seed):
        stream = recognizer.stream()
        for part in np.array_split(noise(1.3, seed), 7):
            stream.accept(part, 16000)
            stream.partial()
        return stream.finish().words

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(words, range(8))) == [recognizer.transcribe(noise(1.3, s), 16000).words for s in range(8)]
