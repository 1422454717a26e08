"""Imported CTC models of Hugging Face's transformers against the library itself, on small random models."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import noise

import asr
from asr.cli.main import main
from asr.errors import InputError
from asr.models.imported import outputs, read_model
from asr.recognizer import bundle
from asr.tokens import BLANK, SPACE

transformers = pytest.importorskip("transformers", reason="imported models are compared with Hugging Face's own")
RATE_HZ = 16000
# The encoders run one by one instead of padded in a batch, and dropping rows changes the order of one sum.
TOLERANCE = 1e-4
SYMBOLS = ["<s>", "a", "<pad>", "</s>", "<unk>", "|", "b", "c", "'", "d"]
BLANK_AT = SYMBOLS.index("<pad>")
KEPT = [SYMBOLS.index(symbol) for symbol in ("<pad>", "a", "|", "b", "c", "'", "d")]
SMALL = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48}
CONVOLUTIONS = {"conv_dim": [16] * 7, "num_conv_pos_embedding_groups": 4, "num_conv_pos_embeddings": 16}
KINDS = {
    "wav2vec2": {}, "hubert": {}, "wavlm": {}, "data2vec-audio": {}, "wav2vec2-bert": {},
    "wav2vec2 stable": {"do_stable_layer_norm": True, "feat_extract_norm": "layer"},
    "wav2vec2 adapter": {"add_adapter": True, "output_hidden_size": 24},
    "wav2vec2-bert adapter": {"add_adapter": True, "output_hidden_size": 32},
}  # fmt: skip


def make(folder, kind="wav2vec2", normalised=True, **options):
    """A folder as transformers writes it; returns the model and its feature extractor."""
    kind, _, variant = kind.partition(" ")
    sizes = SMALL | ({} if kind == "wav2vec2-bert" else CONVOLUTIONS) | KINDS[f"{kind} {variant}".strip()]
    sizes |= {"vocab_size": len(SYMBOLS), "pad_token_id": BLANK_AT, **options}
    torch.manual_seed(2)
    model = transformers.AutoModelForCTC.from_config(transformers.AutoConfig.for_model(kind, **sizes)).eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.kaiming_normal_(parameter)  # the default weights make all frames alike
    model.save_pretrained(folder)
    if kind == "wav2vec2-bert":
        extractor = transformers.SeamlessM4TFeatureExtractor()
    else:
        extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=normalised)
    extractor.save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps({symbol: i for i, symbol in enumerate(SYMBOLS)}))
    return model, extractor


def original(model, extractor, x):
    """The library's log-probs over the outputs that stay: (F, V)."""
    made = extractor(x, sampling_rate=RATE_HZ, return_tensors="pt", padding=False)
    inputs = {name: value for name, value in made.items() if name in ("input_values", "input_features")}
    with torch.inference_mode():
        return model(**inputs).logits[0][:, KEPT].log_softmax(-1).numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_log_probs_are_the_original_ones(kind, tmp_path):
    (tmp_path / "model").mkdir()
    model, extractor = make(tmp_path / "model", kind, normalised="stable" in kind)
    assert main(["import", str(tmp_path / "model"), f"output={tmp_path / 'x.asr'}"]) == 0
    recognizer = asr.load(tmp_path / "x.asr")
    assert recognizer.tokens.symbols == [BLANK, "a", SPACE, "b", "c", "'", "d"]
    sounds = [noise(seconds, seed=i) for i, seconds in enumerate((1.0, 2.337, 0.3, 0.06))]
    for x, found in zip(sounds, recognizer.log_probs(sounds), strict=True):
        expected = original(model, extractor, x)
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, atol=TOLERANCE)
    assert recognizer.frame_s == pytest.approx(2.337 / len(original(model, extractor, sounds[1])), rel=0.1)
    assert recognizer.log_probs([noise(0.01)])[0].shape == (0, 7)


def test_greedy_text_is_that_of_the_tokenizer(tmp_path):
    (tmp_path / "model").mkdir()
    model, extractor = make(tmp_path / "model")
    tokenizer = transformers.Wav2Vec2CTCTokenizer(str(tmp_path / "model" / "vocab.json"))
    assert main(["import", str(tmp_path / "model"), f"output={tmp_path / 'x.asr'}"]) == 0
    recognizer = asr.load(tmp_path / "x.asr")
    seen = set()
    for seed in range(20):
        x = noise(1.5, seed=seed)
        ids = np.array(KEPT)[original(model, extractor, x).argmax(1)]
        text = " ".join(tokenizer.decode(ids).split())
        assert recognizer.transcribe(x, RATE_HZ).text == text
        seen |= set(text)
    assert {" ", "a"} < seen


def test_an_imported_model_in_a_run_folder_is_served_with_a_graph(tmp_path, capsys):
    (tmp_path / "model").mkdir()
    make(tmp_path / "model")
    (tmp_path / "model" / "README.md").write_text("---\ntags: x\nlicense: apache-2.0\n---\n# Model\n")
    run = tmp_path / "run"
    assert main(["import", str(tmp_path / "model"), f"out={run}"]) == 0
    (tmp_path / "text").write_text("ab cab\nbad cab\ndad\n")
    assert main(["lm", "train", str(tmp_path / "text"), f"lm.arpa={run / 'lm.arpa'}", "lm.order=2"]) == 0
    assert main(["graph", f"out={run}", "kind=dynamic"]) == 0
    assert main(["bundle", f"out={run}", "graph.kind=dynamic"]) == 0
    recognizer = asr.load(run / "model.asr")
    words = recognizer.transcribe(noise(2.0), RATE_HZ).text.split()
    assert set(words) <= {"ab", "cab", "bad", "dad"}
    card = bundle.read(run / "model.asr").card
    assert "licence: apache-2.0" in card and "sha256" in card and "left out: <s> </s> <unk>" in card
    assert "beam 16" in card
    assert asr.load(run).transcribe(noise(2.0), RATE_HZ).text.split() == words
    (run / "train" / "final.safetensors").touch()
    assert main(["import", str(tmp_path / "model"), f"out={run}"]) == 2
    assert "holds a training" in capsys.readouterr().err


def test_tables_of_tokens_in_all_their_forms(tmp_path):
    make(tmp_path)
    before = read_model(str(tmp_path))
    table = json.loads((tmp_path / "vocab.json").read_text())
    (tmp_path / "vocab.json").unlink()
    entries = [{"id": i, "content": s, "special": s[0] == "<"} for s, i in table.items() if len(s) > 1]
    data = {"model": {"type": "WordLevel", "vocab": table}, "added_tokens": entries}
    (tmp_path / "tokenizer.json").write_text(json.dumps(data))
    assert read_model(str(tmp_path)).tokens == before.tokens
    data["model"]["vocab"] = [[symbol, 0.0] for symbol in SYMBOLS]
    (tmp_path / "tokenizer.json").write_text(json.dumps(data))
    assert read_model(str(tmp_path)).tokens == before.tokens
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"word_delimiter_token": "c", "unk_token": "b"}))
    assert read_model(str(tmp_path)).tokens.symbols == [BLANK, "a", "|", SPACE, "'", "d"]
    preprocessor = json.loads((tmp_path / "preprocessor_config.json").read_text())
    (tmp_path / "preprocessor_config.json").unlink()
    (tmp_path / "processor_config.json").write_text(json.dumps({"feature_extractor": preprocessor}))
    assert read_model(str(tmp_path)).tokens.symbols[3] == SPACE


def test_no_progress_bars_are_shown(tmp_path, capfd):
    make(tmp_path)
    capfd.readouterr()
    transformers.utils.logging.enable_progress_bar()
    read_model(str(tmp_path))
    assert capfd.readouterr().err == ""
    assert transformers.utils.logging.is_progress_bar_enabled()  # the user's setting stays


def test_the_unit_follows_from_the_tokens():
    def unit(*symbols):
        return outputs.choose([BLANK, "|", *symbols], 0, ["|"], (), "x").unit

    assert unit("a", "b") == "char" and unit("가") == "char"
    assert unit("ᄀ", "ᅡ") == "jamo" and unit("aɪ", "b") == "phone"


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("config.json", {"model_type": "bert"}, "type 'bert' is not supported; supported types: wav2vec2"),
        ("config.json", {"pad_token_id": None}, "pad_token_id, the blank, is None"),
        ("config.json", {"pad_token_id": 12}, "the blank is output 12, but there are 10 outputs"),
        ("vocab.json", {"z": 30}, "the head has 10 outputs"),
        ("vocab.json", {"z": 1 << 40}, "expected at most 65536"),
        ("vocab.json", {"z": 1}, "the number 1, which is negative or that of another token"),
        ("vocab.json", {"z": "1"}, "not a table of tokens"),
        ("config.json", {"hidden_size": 64}, "the weights lack|cannot be read"),
    ],
)
def test_wrong_folders_are_refused_in_one_sentence(file, change, message, tmp_path, capsys):
    make(tmp_path)
    path = tmp_path / file
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=message):
        read_model(str(tmp_path))
    assert main(["import", str(tmp_path), f"output={tmp_path / 'x.asr'}"]) == 2
    assert not (tmp_path / "x.asr").exists()


def test_a_model_without_a_head_is_refused(tmp_path):
    model, _ = make(tmp_path)
    model.wav2vec2.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="the weights lack lm_head"):
        read_model(str(tmp_path))


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "model.nemo").touch()
    with pytest.raises(InputError, match="has no config.json; name a folder of transformers, or a .onnx"):
        read_model(str(tmp_path))


def test_a_table_per_language_is_refused(tmp_path):
    make(tmp_path)
    (tmp_path / "vocab.json").write_text(json.dumps({"eng": {"a": 0}, "kor": {"a": 0}}))
    with pytest.raises(InputError, match="one table per language"):
        read_model(str(tmp_path))


@pytest.mark.parametrize(
    "change",
    [{"num_hidden_layers": 10**9}, {"hidden_size": 10**7}, {"conv_kernel": [0] * 7}, {"num_attention_heads": 5},
     {"conv_dim": [16] * 100000}, {"model_type": "gpt2"}, {"hidden_act": "nonsense"}, {"conv_dim": None}],
)  # fmt: skip
def test_a_bundle_with_another_description_is_refused(change, tmp_path):
    make(tmp_path)
    imported = read_model(str(tmp_path))
    imported.model.frontend.encoder.config |= change
    bundle.write(tmp_path / "x.asr", imported.model, replace(imported.cfg), imported.tokens, None, "")
    with pytest.raises(InputError, match="config.json"):
        bundle.read(tmp_path / "x.asr")
