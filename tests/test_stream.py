"""Streams, batches and skipped blanks against the search of whole utterances."""

from math import inf, log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_graphs import make_arrays, random_arrays, random_log_probs, to_graph

from asr.errors import InputError
from asr.search import endpoint
from asr.search.decoder import BestPath, Decoder, Partial
from asr.search.endpoint import Rule

LOOP = [(0, 1, 0, 0.0, 0), (0, 2, 7, 0.5, 0)]  # one state: blank, or token 1 with label 7


def same(a: BestPath, b: BestPath) -> bool:
    return (
        (a.labels, a.label_frames, a.cost, a.complete) == (b.labels, b.label_frames, b.cost, b.complete)
        and a.alignment.tolist() == b.alignment.tolist()
    )  # fmt: skip


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_chunks_of_any_size_give_the_same_result(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 9999)))
    graph = to_graph(random_arrays(rng, 12, 50, 6))
    frames = data.draw(st.integers(0, 30))
    log_probs = random_log_probs(rng, frames, 6)
    decoder = Decoder(graph, beam=data.draw(st.sampled_from([2.0, 8.0, inf])), blank_skip=0.3)
    cuts = sorted(data.draw(st.lists(st.integers(0, frames), max_size=5)))
    stream = decoder.stream()
    stable: list[int] = []
    for begin, end in zip([0, *cuts], [*cuts, frames], strict=True):
        stream.accept(log_probs[begin:end])
        partial = stream.partial()
        now = partial.path.labels[: partial.num_stable]
        assert now[: len(stable)] == stable  # stable labels do not change
        assert len(partial.path.alignment) == end
        stable = now
    path = stream.finish()
    assert path.labels[: len(stable)] == stable
    assert same(path, decoder.decode(log_probs))
    with pytest.raises(InputError, match="finished"):
        stream.accept(log_probs)


def test_labels_shared_by_all_paths_are_stable():
    arcs = [(0, 2, 5, 0.0, 1), (1, 2, 6, 0.0, 1), (1, 3, 7, 0.0, 1)]
    stream = Decoder(to_graph(make_arrays(0, {1: 0.5}, 2, arcs)), beam=inf).stream()
    stream.accept(np.log([[0.1, 0.8, 0.1], [0.2, 0.4, 0.4]]))
    partial = stream.partial()
    assert partial.path.labels[0] == 5 and len(partial.path.labels) == 2
    assert partial.num_stable == 2  # a state keeps one path, so one of the two labels is decided
    assert partial.final_cost == pytest.approx(0.5)


def test_skipped_blank_frames_keep_their_cost_and_place():
    rng = np.random.default_rng(3)
    graph = to_graph(make_arrays(0, {0: 0.0}, 1, LOOP))
    blank = np.log([[0.999, 0.001]])
    token = np.log([[0.01, 0.99]])
    frames = [token, token, blank, blank, blank, token, blank, blank]
    log_probs = np.concatenate(frames) + rng.normal(0, 1e-6, (8, 2))
    options = {"acoustic_scale": 1.3, "blank_penalty": 0.2}
    whole = Decoder(graph, **options).decode(log_probs)
    skipped = Decoder(graph, blank_skip=0.9, **options).decode(log_probs)
    assert skipped.alignment.tolist() == whole.alignment.tolist() == [1, 1, 0, 0, 0, 1, 0, 0]
    assert skipped.label_frames == whole.label_frames
    assert skipped.cost == pytest.approx(whole.cost, abs=1e-5)


def test_a_bad_frame_is_refused_even_if_it_would_be_skipped():
    log_probs = np.log(np.full((4, 2), [0.999, 0.001]))
    log_probs[2, 1] = np.nan
    with pytest.raises(InputError, match="frame 2"):
        Decoder(to_graph(make_arrays(0, {0: 0.0}, 1, LOOP)), blank_skip=0.9).decode(log_probs)


@pytest.mark.parametrize("threads", [1, 2, 5, None])
def test_batches_equal_single_utterances(threads):
    rng = np.random.default_rng(4)
    decoder = Decoder(to_graph(random_arrays(rng, 30, 120, 6)), beam=6.0)
    utterances = [random_log_probs(rng, n, 6) for n in (3, 40, 0, 17, 25)]
    for path, x in zip(decoder.decode_batch(utterances, threads), utterances, strict=True):
        assert same(path, decoder.decode(x))
    utterances[3][5, 2] = np.nan
    with pytest.raises(InputError, match="utterance 3 of the batch: frame 5"):
        decoder.decode_batch(utterances, threads)


@pytest.mark.parametrize("skip", [0.0, -0.1, 1.5])
def test_blank_skip_out_of_range(skip):
    with pytest.raises(InputError, match="blank_skip"):
        Decoder(to_graph(make_arrays(0, {0: 0.0}, 1, LOOP)), blank_skip=skip)


def partial_of(alignment, labels=(), final_cost=inf) -> Partial:
    return Partial(BestPath(list(labels), [0] * len(labels), np.array(alignment, np.int32), 1.0, False), 0, final_cost)


@pytest.mark.parametrize(
    ("partial", "rule"),
    [
        (partial_of([0] * 124), None),
        (partial_of([0] * 125), endpoint.RULES[0]),  # 5 s of blanks
        (partial_of([3] + [0] * 13, [1], 1.9), endpoint.RULES[1]),
        (partial_of([3] + [0] * 13, [1], 2.1), None),
        (partial_of([3] + [0] * 12, [1], 0.0), None),  # 0.48 s
        (partial_of([3] + [0] * 25, [1], 7.0), endpoint.RULES[2]),
        (partial_of([3] + [0] * 50, [1]), endpoint.RULES[3]),
        (partial_of([3, 4] * 250, [1]), endpoint.RULES[4]),
    ],
)
def test_endpoints(partial, rule):
    assert endpoint.reached(partial, 0.04) == rule


def test_rules_are_data():
    rules = (Rule(speech=True, silence_s=0.08),)
    assert endpoint.reached(partial_of([1, 0, 0], [1]), 0.04, rules) == rules[0]
    assert endpoint.reached(partial_of([1, 0, 0], []), 0.04, rules) is None


def test_an_hour_takes_bounded_memory():
    """90,000 frames: the records of one path, not of all paths tried."""
    rng = np.random.default_rng(5)
    decoder = Decoder(to_graph(random_arrays(rng, 40, 200, 6)), beam=10.0)
    stream = decoder.stream()
    block = random_log_probs(rng, 1000, 6)
    for _ in range(90):
        stream.accept(block)
    partial = stream.partial()
    assert len(partial.path.alignment) == 90_000
    assert np.isfinite(partial.path.cost) and partial.path.cost > 90 * -log(0.99)


def test_a_failed_stream_accepts_no_frames():
    arcs = [(0, 1, 0, 0.0, 1), (1, 0, 0, -1.0, 2), (2, 0, 0, -1.0, 1)]  # a cycle of negative cost after a frame
    stream = Decoder(to_graph(make_arrays(0, {0: 0.0}, 3, arcs)), lattice_beam=5.0).stream()
    with pytest.raises(InputError, match="negative cost"):
        stream.accept(np.zeros((1, 1), np.float32))
    for use in (lambda: stream.accept(np.zeros((1, 1), np.float32)), stream.partial, stream.lattice, stream.finish):
        with pytest.raises(InputError, match="failed before"):
            use()
    with pytest.raises(InputError, match="negative cost"):
        Decoder(to_graph(make_arrays(1, {0: 0.0}, 3, arcs))).stream()


def test_refused_log_probs_leave_the_stream_intact():
    stream = Decoder(to_graph(make_arrays(0, {0: 0.0}, 1, [(0, 1, 4, 0.5, 0)]))).stream()
    stream.accept(np.zeros((1, 1), np.float32))
    with pytest.raises(InputError, match="frame 1"):
        stream.accept(np.full((1, 1), np.nan, np.float32))
    stream.accept(np.zeros((1, 1), np.float32))
    assert stream.finish().labels == [4, 4]
