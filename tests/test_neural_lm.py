"""Neural language models: probabilities against a slow reference, training, resuming, and files."""

import math
import random

import numpy as np
import pytest
import torch

from asr.config import LmConfig
from asr.errors import InputError
from asr.lm import arpa
from asr.lm.compare import compare
from asr.lm.model import Vocabulary
from asr.lm.neural import file, training
from asr.lm.neural.file import NeuralModel
from asr.lm.neural.net import CLUSTERS, END_ID, Net, Shape, clusters
from asr.lm.neural.scorer import NeuralScorer
from asr.lm.neural.texts import LONGEST, batches, encode
from asr.lm.training import train
from asr.words import END, UNKNOWN

WORDS = [END, UNKNOWN, "a", "b", "c", "d", "e"]


def model(words=WORDS, layers=2, unknown=5, seed=1):
    torch.manual_seed(seed)
    shape = Shape(len(words), 6, layers)
    net = Net(shape).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(std=0.6)
    return NeuralModel(net, shape, Vocabulary(list(words)), unknown)


def distribution(net, ids):
    """The log-probs (V,) of the word after `ids`, by the equations of the LSTM and of the adaptive softmax."""
    state = {name: tensor.double().numpy() for name, tensor in net.state_dict().items()}
    layers, hidden = net.lstm.num_layers, net.lstm.hidden_size
    h, c = np.zeros((layers, hidden)), np.zeros((layers, hidden))
    for id in ids:
        x = state["embedding.weight"][id]
        for k in range(layers):
            gates = sum(state[f"lstm.weight_{n}_l{k}"] @ v + state[f"lstm.bias_{n}_l{k}"] for n, v in
                        (("ih", x), ("hh", h[k])))  # fmt: skip
            i, f, g, o = gates.reshape(4, hidden)
            c[k] = c[k] / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
            x = h[k] = np.tanh(c[k]) / (1 + np.exp(-o))
    log_softmax = lambda y: y - np.log(np.exp(y).sum())  # noqa: E731
    head = log_softmax(state["out.head.weight"] @ x)
    first = clusters(len(state["embedding.weight"]))
    found = [head[: first[0]]]
    for k in range(len(first)):
        inner = log_softmax(state[f"out.tail.{k}.1.weight"] @ (state[f"out.tail.{k}.0.weight"] @ x))
        found.append(head[first[0] + k] + inner)
    return np.concatenate(found)


def test_probabilities_sum_to_one_and_equal_the_equations():
    made = model()
    for ids in ([END_ID], [END_ID, 3, 3, 1], [END_ID, *range(2, 7)]):
        wanted = distribution(made.net, ids)
        assert np.exp(wanted).sum() == pytest.approx(1.0, abs=1e-9)
        hidden, _ = made.net(torch.tensor([ids]))
        found = made.net.log_probs(hidden[0, -1].expand(len(WORDS), -1), torch.arange(len(WORDS)))
        assert np.allclose(found.detach(), wanted, atol=1e-5)


def test_costs_of_texts_that_share_beginnings():
    made, rng = model(), random.Random(2)
    texts = [" ".join(rng.choices(["a", "b", "c", "xyz", END], k=rng.randrange(6))) for _ in range(60)]
    scorer = NeuralScorer(made)
    for text, cost in zip(texts, scorer.costs(texts), strict=True):
        ids = [made.vocabulary.ids.get(word, 1) if word != END else 1 for word in text.split()]
        wanted = -sum(distribution(made.net, [END_ID, *ids][: k + 1])[id] for k, id in enumerate([*ids, END_ID]))
        assert cost == pytest.approx(wanted + math.log(5) * ids.count(1), abs=1e-4)
        scores = list(scorer.full_scores(text))  # as perplexities count: unknown words at the full probability
        assert -sum(log10 for log10, _, _ in scores) * math.log(10) == pytest.approx(wanted, abs=1e-4)
        assert [unknown for _, _, unknown in scores] == [id == 1 for id in [*ids, END_ID]]
    assert scorer.costs([]) == []


def test_clusters_of_large_vocabularies():
    assert clusters(3) == [1] and clusters(2001) == [2000] and clusters(20_000) == list(CLUSTERS)


def test_batches_hold_each_sentence_once_in_an_epoch_and_cut_long_ones():
    rng = random.Random(3)
    lengths = [rng.randrange(1, 12) for _ in range(200)] + [2 * LONGEST + 5]
    texts = [" ".join(rng.choices("abcde", k=length)) for length in lengths]
    corpus = encode(Vocabulary(WORDS), texts).in_parts()
    found, words = [], sum(lengths) + len(lengths)
    made = batches(corpus, 40, seed=5)
    while sum(len(row) for row, _ in found) < words:
        before, following, is_word = next(made)
        assert before.shape[0] == 1 or before.numel() <= 40
        found += [(f[w].tolist(), b[w].tolist()) for b, f, w in zip(before, following, is_word, strict=True)]
    sentences = [[WORDS.index(word) for word in text.split()] + [END_ID] for text in texts]
    whole = [row for row, _ in found if row in sentences]
    assert sorted(whole) == sorted(sentences[:-1])
    parts = {b[0]: row for row, b in found if row not in sentences or len(row) > 12}
    assert sum(map(len, parts.values())) == len(sentences[-1]) or len(parts) < 3  # parts may begin behind equal words
    assert all(b[1:] == row[:-1] for row, b in found)
    again = batches(corpus, 40, seed=5, skipped=7)
    first = [next(batches_) for batches_ in [batches(corpus, 40, seed=5)] for _ in range(8)]
    assert torch.equal(next(again)[1], first[7][1])


def options(folder, **values):
    return LmConfig(text=[str(folder / "t.txt")], net=str(folder / "lm.safetensors"), hidden=12, batch=60, lr=0.02,
                    **{"updates": 40, **values})  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    rng = random.Random(4)
    chosen = [rng.choice(["a b c d", "b c", "e a", "d e a b"]) for _ in range(300)]
    (tmp_path / "t.txt").write_text("\n".join(chosen) + "\n")
    (tmp_path / "dev.txt").write_text("a b c d\nb c\ne f\n")
    return tmp_path


def test_a_model_learns_its_text_and_is_compared_with_n_grams(folder):
    report = training.train_file(options(folder), [str(folder / "dev.txt")])
    assert report.looks[0]["dev"] > 1.5 * min(look["dev"] for look in report.looks)
    assert "vocabulary  5 words; 0 others" in str(report) and "best" in str(report)
    arpa.write(train((folder / "t.txt").read_text().splitlines(), 3), folder / "lm.arpa")
    texts = ["a b c d", "b c", "e f"]
    found = compare([str(folder / "lm.arpa"), str(folder / "lm.safetensors")], texts)
    ngram, neural = (sum(scores[1:], scores[0]) for scores in found.scores.values())
    assert (neural.words, neural.unknown, ngram.unknown) == (8, 1, 1)
    assert neural.perplexity == pytest.approx(min(look["dev"] for look in report.looks), rel=1e-4)
    assert [set(words) for words in found.unknown.values()] == [{"f"}, {"f"}]
    likely, unlikely = NeuralScorer(file.read(folder / "lm.safetensors")).costs(["a b c d", "d c b a"])
    assert likely + 1 < unlikely and not list(folder.glob("*.resume"))


class Killed(BaseException):
    pass


def test_a_training_that_was_killed_ends_with_the_same_bits(folder, monkeypatch, capsys):
    cfg = options(folder, dropout=0.2, layers=2, updates=20)
    training.train_file(cfg)
    whole = (folder / "lm.safetensors").read_bytes()
    (folder / "lm.safetensors").unlink()
    monkeypatch.setattr(training, "SAVE_EVERY_S", 0.0)
    step = training._Training._step

    def killed(at):
        def run(self, batch):
            if self.progress.update == at:
                raise Killed
            step(self, batch)

        return run

    resume = folder / "lm.safetensors.resume"
    for at in (7, 13):
        monkeypatch.setattr(training._Training, "_step", killed(at))
        with pytest.raises(Killed):
            training.train_file(cfg)
        assert resume.exists() and not (folder / "lm.safetensors").exists()
    monkeypatch.setattr(training._Training, "_step", killed(2))  # it goes on behind update 2
    training.train_file(cfg)
    assert (folder / "lm.safetensors").read_bytes() == whole and not resume.exists()
    monkeypatch.setattr(training._Training, "_step", killed(7))
    with pytest.raises(Killed):
        training.train_file(cfg)
    monkeypatch.setattr(training._Training, "_step", step)
    content = bytearray(resume.read_bytes())
    content[-3] ^= 8
    resume.write_bytes(content)
    capsys.readouterr()
    training.train_file(cfg)  # from the beginning, to the same end
    assert "begins anew" in capsys.readouterr().out and (folder / "lm.safetensors").read_bytes() == whole


def test_korean_characters_and_pieces(tmp_path):
    (tmp_path / "t.txt").write_text("나는 학교에 갔다\n학교는 멀다\n나는 갔다\n" * 40)
    training.train_file(options(tmp_path, unit="char", updates=40))
    scorer = NeuralScorer(file.read(tmp_path / "lm.safetensors"))
    assert scorer.of_pieces and scorer.words_in("나는 갔다") == ["▁나", "는", "▁갔", "다"]
    likely, unlikely = scorer.costs(["나는 학교에 갔다", "학나 는교에 다갔"])
    assert likely + 5 < unlikely
    assert scorer.costs(["▁나 는 ▁갔 다"]) == scorer.costs(["나는 갔다"])
    (tmp_path / "words.txt").write_text("나는\n학교는\n")  # spread into characters, as for n-grams
    training.train_file(options(tmp_path, unit="char", updates=2, vocabulary=str(tmp_path / "words.txt")))
    made = file.read(tmp_path / "lm.safetensors")
    assert set(made.vocabulary.words) == {END, UNKNOWN, "▁나", "는", "▁학", "교"} and made.num_unknown == 4


def test_texts_and_options_that_are_refused(folder):
    with pytest.raises(InputError, match="too few to keep some out; name a dev text"):
        (folder / "t.txt").write_text("a b\n" * 20)
        training.train_file(options(folder))
    with pytest.raises(InputError, match=r"t\.txt:2: the text contains '<s>'"):
        (folder / "t.txt").write_text("a b\n<s> a\n")
        training.train_file(options(folder))
    with pytest.raises(InputError, match="is also an input"):
        training.train_file(LmConfig(text=[str(folder / "t.txt")], net=str(folder / "t.txt")))
    with pytest.raises(InputError, match="reads them twice"):
        training.train_file(LmConfig(text=["-"], net=str(folder / "x")))
    (folder / "none.txt").write_text("\n")
    with pytest.raises(InputError, match="no sentence"):
        (folder / "t.txt").write_text("a b\n" * 20)
        training.train_file(options(folder), [str(folder / "none.txt")])


def test_files_are_read_or_refused(tmp_path):
    made, path = model(), tmp_path / "lm.safetensors"
    file.write(path, made)
    content = path.read_bytes()
    assert NeuralScorer(file.read(path)).costs(["a b x"]) == NeuralScorer(made).costs(["a b x"])
    file.write(path, made)
    assert path.read_bytes() == content and file.is_neural(path)
    rng = random.Random(1)
    for _ in range(30):
        damaged = bytearray(content)
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(InputError):
            file.read(path)
    for cut in (0, 5, 100, len(content) - 1):
        path.write_bytes(content[:cut])
        with pytest.raises(InputError):
            file.read(path)
    for change in ({"hidden": 10**9}, {"layers": 10**6}, {"num_words": 10**9}, {"hidden": True}, {"wide": 3}):
        data = {"shape": {"num_words": 7, "hidden": 6, "layers": 2} | change, "words": WORDS, "unknown": 5}
        file.write_tensors(path, made.net.state_dict(), data)
        with pytest.raises(InputError, match="is not a neural language model"):
            file.read(path)
    with pytest.raises(InputError, match="there is no language model"):
        file.read(tmp_path / "missing.safetensors")
