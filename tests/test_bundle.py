"""Bundles: round trips, messages that name the damaged member, and refusal of hostile content."""

import hashlib
import json
import os
import resource
import struct
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from tiny import TOKENS, config, graph_dir, model, noise

import asr
from asr import _decoder
from asr.errors import InputError
from asr.graph.dynamic import compile_dynamic
from asr.recognizer import bundle
from asr.text.lexicon import Lexicon
from asr.tokens import BLANK, Tokens

MEMBERS = [
    "model.safetensors", "config.json", "tokens.txt", "card.md", "graph.bin", "words.txt", "lexicon.txt",
    "checksums.json",
]  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    cfg = config(deltas=1, cmvn="global")
    cfg.decoder.beam = 9.5
    net = model(cfg)
    net.frontend.cmvn.set_stats(torch.arange(16.0), torch.arange(1.0, 17.0))
    graph = graph_dir(folder / "graph", silence="<space>")
    bundle.write(folder / "model.asr", net, cfg, TOKENS, graph, "# Carte d'identité 한국\n")
    return folder / "model.asr", net, cfg


def test_round_trip(made):
    path, net, cfg = made
    opened = bundle.read(path)
    assert opened.tokens == TOKENS and opened.card == "# Carte d'identité 한국\n"
    for group in ("features", "model", "decoder"):
        assert getattr(opened.cfg, group) == getattr(cfg, group)
    assert opened.cfg.tokens.unit == "char" and opened.space.silence == "<space>"
    assert opened.space.words == ["<eps>", "a", "b"] and opened.space.lexicon.pronunciations["a"] == [("a",)]
    assert opened.space.graph.num_states == 3
    assert all(torch.equal(t, opened.model.state_dict()[name]) for name, t in net.state_dict().items())
    x, lengths = torch.from_numpy(noise(0.5))[None], torch.tensor([8000])
    with torch.inference_mode():
        assert torch.equal(net(x, lengths)[0], opened.model(x, lengths)[0])


def test_without_a_graph(tmp_path):
    cfg = config()
    bundle.write(tmp_path / "m.asr", model(cfg), cfg, TOKENS, None, "")
    assert bundle.read(tmp_path / "m.asr").space is None


def test_same_input_same_bytes(made, tmp_path):
    path, net, cfg = made
    os.utime(path.parent / "graph/graph.bin", (0, 0))
    cfg.data.root = "/somewhere/else"
    bundle.write(tmp_path / "again.asr", net, cfg, TOKENS, path.parent / "graph", "# Carte d'identité 한국\n")
    assert (tmp_path / "again.asr").read_bytes() == path.read_bytes()


def test_members_are_stored_aligned_and_whole(made):
    path = made[0]
    data = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None and archive.namelist() == MEMBERS
        for name in MEMBERS:
            content = archive.read(name)
            at = data.index(content)
            assert at % bundle.ALIGNMENT == 0 and data[at : at + len(content)] == content


def member_range(path, name):
    with zipfile.ZipFile(path) as archive:
        content = archive.read(name)
    start = path.read_bytes().index(content)
    return start, len(content)


@pytest.mark.parametrize("name", MEMBERS)
def test_a_flipped_byte_names_file_and_member(made, tmp_path, name):
    start, size = member_range(made[0], name)
    rng = np.random.default_rng(1)
    for at in {0, size - 1, *rng.integers(0, size, 5).tolist()}:
        bad = flipped(made[0], tmp_path / "bad.asr", start + at, 1 << rng.integers(8))
        with pytest.raises(InputError, match=f"bad.asr: member {name} is damaged"):
            bundle.read(bad)


def flipped(path, to, at, bits):
    data = bytearray(path.read_bytes())
    data[at] ^= int(bits)
    to.write_bytes(data)
    return to


def test_any_flipped_bit_is_refused_or_harmless(made, tmp_path):
    """Also in the zip's own headers and padding: an InputError, or the very same recogniser."""
    path, net, _ = made
    rng = np.random.default_rng(2)
    spans = [member_range(path, name) for name in MEMBERS]
    outside = [i for i in range(path.stat().st_size) if not any(s <= i < s + n for s, n in spans)]
    refused = 0
    for at in rng.choice(outside, 200, replace=False).tolist():
        try:
            opened = bundle.read(flipped(path, tmp_path / "bad.asr", at, 1 << rng.integers(8)))
        except InputError:
            refused += 1
        else:
            assert opened.tokens == TOKENS and opened.space.words == ["<eps>", "a", "b"]
            assert all(torch.equal(t, opened.model.state_dict()[name]) for name, t in net.state_dict().items())
    assert refused > 30


def test_every_truncation_is_refused(made, tmp_path):
    data = made[0].read_bytes()
    for size in np.linspace(0, len(data) - 1, 40).astype(int):
        (tmp_path / "cut.asr").write_bytes(data[:size])
        with pytest.raises(InputError, match="cut.asr"):
            bundle.read(tmp_path / "cut.asr")


def rewritten(path, to, changes, compression=zipfile.ZIP_STORED, sums=True):
    """The bundle with members replaced (None: left out), its checksums made right again."""
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in MEMBERS} | changes
    contents = {name: content for name, content in contents.items() if content is not None}
    digests = {name: hashlib.sha256(c).hexdigest() for name, c in contents.items() if name != "checksums.json"}
    if "checksums.json" not in changes:
        contents["checksums.json"] = json.dumps({"format": 1, "sha256": digests}).encode()
    with zipfile.ZipFile(to, "w", compression) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return to


def changed_config(path, **changes):
    with zipfile.ZipFile(path) as archive:
        return json.dumps(json.loads(archive.read("config.json")) | changes).encode()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"../../etc/passwd": b"x"}, "member '../../etc/passwd' is missing or does not belong"),
        ({"model.pkl": b"x"}, "member 'model.pkl' is missing or does not belong"),
        ({"\n": b"x"}, r"member '\\n' is missing or does not belong"),
        ({"tokens.txt": None}, "member 'tokens.txt' is missing"),
        ({"words.txt": None}, "member 'words.txt' is missing"),
        ({"graph.bin": None}, "member 'lexicon.txt' is missing or does not belong"),
        ({"checksums.json": None}, "member 'checksums.json' is missing"),
        ({"checksums.json": b"{}"}, "member checksums.json is not what"),
        ({"checksums.json": b"[" * 100000}, "member checksums.json is not what"),
        ({"config.json": b"{}"}, "member config.json is not of this version"),
        ({"config.json": b"[" * 100000}, "member config.json is not of this version"),
        ({"model.safetensors": b"\x80\x04."}, "member model.safetensors cannot be read"),
        ({"tokens.txt": b"<blk>\na\n"}, "does not fit config.json"),
        ({"card.md": b"\xff"}, "member card.md is not UTF-8"),
        ({"graph.bin": b"x" * 100}, "graph"),
        ({"lexicon.txt": b"a\n"}, "lexicon.txt:1"),
    ],
)
def test_odd_members_are_refused(made, tmp_path, changes, says):
    with pytest.raises(InputError, match=says):
        bundle.read(rewritten(made[0], tmp_path / "odd.asr", changes))


def test_hostile_configurations_are_refused(made, tmp_path):
    def refuse(says, **changes):
        changes = {"config.json": changed_config(made[0], **changes)}
        with pytest.raises(InputError, match=says):
            bundle.read(rewritten(made[0], tmp_path / "odd.asr", changes))

    cfg = bundle._config_data(made[1], made[2], None)
    refuse("not of this version", model=cfg["model"] | {"_target_": "os.system"})
    refuse(r"decoder.beam=wide: expected a number in \(0, inf\]", decoder=cfg["decoder"] | {"beam": "wide"})
    refuse("reference", model=cfg["model"] | {"kind": "${oc.env:HOME}"})
    refuse("does not fit", model=cfg["model"] | {"hidden": 1 << 16})  # terabytes if it were built
    refuse("expected one of", model=cfg["model"] | {"kind": "os.system"})
    refuse("criterion.kind=os.system: expected one of", criterion="os.system")
    refuse("criterion.kind=.* expected one of", criterion=["ce"])


def test_compressed_double_and_later_bundles_are_refused(made, tmp_path):
    bomb = {"card.md": bytes(10_000_000)}
    with pytest.raises(InputError, match="is compressed"):
        bundle.read(rewritten(made[0], tmp_path / "bomb.asr", bomb, zipfile.ZIP_DEFLATED))
    double = rewritten(made[0], tmp_path / "double.asr", {})
    with zipfile.ZipFile(double, "a") as archive, pytest.warns(UserWarning):
        archive.writestr("card.md", b"again")
    with pytest.raises(InputError, match="twice"):
        bundle.read(double)
    with zipfile.ZipFile(made[0]) as archive:
        later = json.dumps(json.loads(archive.read("checksums.json")) | {"format": 2}).encode()
    with pytest.raises(InputError, match="format 2"):
        bundle.read(rewritten(made[0], tmp_path / "later.asr", {"checksums.json": later}))


def test_limits(made, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="more than the limit of 1000"):
        bundle.read(made[0], max_bytes=1000)
    with monkeypatch.context() as patch, pytest.raises(InputError, match="member words.txt is compressed, too large"):
        patch.setitem(bundle._LIMITS, "words.txt", 3)
        bundle.read(made[0])
    monkeypatch.setattr(bundle, "MAX_SMALL_BYTES", 10)
    with pytest.raises(InputError, match="its directory has"):
        bundle.read(made[0])


def test_a_directory_of_gigabytes_is_not_read(tmp_path):
    """A sparse file of 2 GB whose end record claims that all of it is the directory."""
    size = 2 << 30
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 1, 1, size, 0, 0)
    with (tmp_path / "sparse.asr").open("wb") as file:
        file.truncate(size)
        file.seek(size)
        file.write(end)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match="its directory has 2147483648 bytes"):
        bundle.read(tmp_path / "sparse.asr")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


HOSTILE = [
    ("features", "sample_rate_hz", 2_000_000_000), ("features", "window_ms", 1e300), ("features", "shift_ms", 1e-9),
    ("features", "num_bins", 1 << 40), ("features", "num_bins", True), ("features", "num_bins", "80"),
    ("features", "num_bins", 80.0), ("features", "deltas", 1 << 20), ("features", "floor", float("nan")),
    ("features", "low_hz", float("-inf")), ("features", "kind", ["mfcc"]), ("features", "kind", None),
    ("model", "layers", 200_000), ("model", "layers", -1), ("model", "hidden", 1 << 31), ("model", "kernel", 1 << 62),
    ("model", "subsampling", 0), ("model", "dropout", float("nan")), ("model", "hidden", {"a": 1}),
    ("decoder", "beam", float("nan")), ("decoder", "beam", 10**400), ("decoder", "max_active", 1 << 31),
    ("decoder", "nbest", 10**12), ("decoder", "blank_skip", 0), ("decoder", "acoustic_scale", 1e38),
    ("decoder", "confidence_scale", float("inf")), ("decoder", "lattice_beam", []), ("decoder", "reject_below", 2),
]  # fmt: skip


@pytest.mark.parametrize(("group", "key", "value"), HOSTILE)
def test_numbers_out_of_bounds_are_refused_before_anything_is_built(made, tmp_path, monkeypatch, group, key, value):
    monkeypatch.setattr(bundle, "_model", lambda *_: pytest.fail("the model was built"))
    with zipfile.ZipFile(made[0]) as archive:
        data = json.loads(archive.read("config.json"))
    data[group][key] = value
    odd = rewritten(made[0], tmp_path / "odd.asr", {"config.json": json.dumps(data).encode()})
    with pytest.raises(InputError, match=f"odd.asr: member config.json has {group}.{key}="):
        bundle.read(odd)


def test_the_largest_sizes_in_bounds_are_refused_in_seconds(made, tmp_path):
    with zipfile.ZipFile(made[0]) as archive:
        data = json.loads(archive.read("config.json"))
    data["model"] |= {"layers": 256, "hidden": 1 << 16, "subsampling": 64, "kernel": 1024, "kind": "lstm"}
    odd = rewritten(made[0], tmp_path / "odd.asr", {"config.json": json.dumps(data).encode()})
    start = time.perf_counter()
    with pytest.raises(InputError, match="does not fit config.json"):
        bundle.read(odd)
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize("option", [{"beam": float("nan")}, {"nbest": 10**12}, {"confidence_scale": float("inf")}])
def test_options_of_load_have_the_same_bounds(made, option):
    with pytest.raises(InputError, match=f"decoder.{next(iter(option))}=.*: expected a"):
        asr.load(made[0], **option)


def test_weights_of_another_type_are_refused(made, tmp_path):
    state = {name: tensor.half() for name, tensor in made[1].state_dict().items()}
    changes = {"model.safetensors": safetensors.torch.save(state)}
    with pytest.raises(InputError, match="does not fit config.json"):
        bundle.read(rewritten(made[0], tmp_path / "half.asr", changes))


@pytest.mark.parametrize("pad", range(8))
def test_a_bundle_packed_again_is_read_at_aligned_addresses(made, tmp_path, monkeypatch, pad):
    """zip stores members anywhere; the search needs graph, tree and n-gram file at multiples of 8 bytes."""
    lm = tmp_path / "lm.arpa"
    lm.write_text("\\data\\\nngram 1=5\n\n\\1-grams:\n-1\t<unk>\n-1\t<s>\n-1\t</s>\n-1\ta\n-1\tb\n\n\\end\\\n")
    compile_dynamic(TOKENS, Lexicon({"a": [("a",)], "b": [("b",)]}), lm, tmp_path / "dynamic")
    addresses = []
    for name in ("Language", "Graph"):
        real = getattr(_decoder, name)

        def spy(*arguments, real=real):
            addresses.extend(a.ctypes.data % 8 for a in arguments[:2] if isinstance(a, np.ndarray))
            return real(*arguments)

        monkeypatch.setattr(_decoder, name, spy)
    for graph in (tmp_path / "dynamic", made[0].parent / "graph"):
        bundle.write(tmp_path / "a.asr", made[1], made[2], TOKENS, graph, "")
        with zipfile.ZipFile(tmp_path / "a.asr") as source, zipfile.ZipFile(tmp_path / "b.asr", "w") as target:
            for info in source.infolist():
                again = zipfile.ZipInfo(info.filename)
                again.extra = struct.pack("<HH", bundle._PADDING_ID, pad) + bytes(pad)
                target.writestr(again, source.read(info.filename))
        assert bundle.read(tmp_path / "b.asr").space.words == ["<eps>", "a", "b"]
    assert addresses == [0, 0, 0]


@pytest.mark.parametrize("content", [None, b"", b"not a zip at all", b"PK\x05\x06" + bytes(18)])
def test_other_files_are_refused_as_bundles(tmp_path, content):
    path = tmp_path / "other.asr"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match="other.asr"):
        bundle.read(path)
    with pytest.raises(InputError):
        bundle.read(Path(tmp_path))


def test_graphs_that_do_not_fit_are_not_written(made, tmp_path):
    _, net, cfg = made
    other = graph_dir(tmp_path / "graph", [BLANK, "b", "a"])
    with pytest.raises(InputError, match="another token set"):
        bundle.write(tmp_path / "m.asr", net, cfg, TOKENS, other, "")
    (graph_dir(tmp_path / "graph") / "lexicon.txt").unlink()
    with pytest.raises(InputError, match="lexicon.txt"):
        bundle.write(tmp_path / "m.asr", net, cfg, TOKENS, tmp_path / "graph", "")
    with pytest.raises(InputError, match="4 outputs, the token table 3"):
        bundle.write(tmp_path / "m.asr", net, cfg, Tokens([BLANK, "a", "b"]), None, "")
    assert [p.name for p in tmp_path.iterdir()] == ["graph"]


def test_large_members_get_zip64_and_stay_aligned(made, tmp_path, monkeypatch):
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 500)
    path, net, cfg = made
    bundle.write(tmp_path / "big.asr", net, cfg, TOKENS, path.parent / "graph", "")
    test_members_are_stored_aligned_and_whole((tmp_path / "big.asr",))
    assert bundle.read(tmp_path / "big.asr").space.graph.num_states == 3
