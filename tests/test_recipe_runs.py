"""`python -m recipes.run`: the recipes listed, their verbs in order, prepared data reused, mistakes named."""

import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from asr import manifest
from asr.cli import recipe as cli
from asr.cli.recipe import Recipe
from asr.config import Config
from asr.data import corpora
from benchmarks import ablation, chain
from recipes import run
from recipes.digits import unseen
from recipes.run import load_module

RECIPES = Path(__file__).parent.parent / "recipes"


def test_all_recipes_are_listed_and_importable(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == sorted(path.parent.name for path in RECIPES.glob("*/experiment"))
    for line in lines:
        assert 40 < len(line) <= 125
        module = load_module(line.split()[0], line.split()[0])
        parameters = inspect.signature(module.prepare).parameters.values()
        assert [p.name for p in parameters if p.default is p.empty] == ["cfg"]
        assert (RECIPES / line.split()[0] / "RESULTS.md").exists()


@pytest.mark.parametrize("name", [path.parent.name for path in sorted(RECIPES.glob("*/experiment"))])
def test_the_help_of_a_recipe_names_its_experiments_and_own_options(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run.main([name, "--help"]) == 0
    printed = capsys.readouterr().out
    assert run.list_recipes()[name] in printed
    assert f"recipes/{name}/RESULTS.md" in printed and "out=FOLDER" in printed
    for path in (RECIPES / name / "experiment").glob("*.yaml"):
        assert f"  experiment={path.stem} " in printed
        assert f"\nout: exp/{path.stem}\n" in path.read_text(), "the help says that files go to exp/EXPERIMENT"
        for option in list(inspect.signature(load_module(name, path.stem).prepare).parameters)[1:]:
            assert re.search(rf"experiment={path.stem} {option}=\S* +\w+", printed), option
    assert max(map(len, printed.splitlines())) <= 120


def test_help_says_what_an_option_of_the_recipe_means(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--help"]) == 0 and "--help" in capsys.readouterr().out
    assert run.main(["timit", "--help"]) == 0
    printed = capsys.readouterr().out
    assert "experiment=timit_hmm heard=half             half: train on the sentences of every second" in printed
    assert "experiment=timit fold=0                     0 to 3: which four" in printed
    assert run.main(["timit", "--help", "experiment=timit_hmm"]) == 0 and capsys.readouterr().out == printed
    assert run.main(["digitz", "--help"]) == 2
    assert capsys.readouterr().err == "recipes: error: there is no recipe 'digitz'; did you mean 'digits'?\n"


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*/experiment/*.yaml")), ids=lambda path: path.stem)
def test_the_verbs_of_every_recipe_read_its_options(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verbs: list[str] = []
    monkeypatch.setattr("asr.cli.main._run", lambda name, cfg: verbs.append(name))
    start = SimpleNamespace(options=lambda tune_layers: {})  # of the recipes that continue another one's net
    monkeypatch.setattr("asr.recognizer.run_folder.read_start", lambda path: start)
    monkeypatch.chdir(tmp_path)
    name, experiment = path.parent.parent.name, path.stem
    recipe = Recipe(experiment, RECIPES / name)
    monkeypatch.setattr(recipe, "result", lambda: {"wer": 0.1, "wer_interval": (0.0, 0.2)})
    for file in ("timit.jsonl", "test/one.flac"):  # which some recipes look for
        (tmp_path / recipe.cfg.data.dir / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / recipe.cfg.data.dir / file).touch()
    module = load_module(name, experiment)
    getattr(module, "build", Recipe.build)(recipe)
    assert "bundle" in verbs or verbs == ["hmm train"]  # the HMMs of timit_hmm are for `asr align`


def test_the_chain_runs_every_row_once_behind_the_one_it_needs(
    called: list[list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every verb gets its options from its row; measured rows are read again."""
    words = {"correct": 8, "substitutions": 1, "deletions": 1, "insertions": 0}
    stored: list[str] = []
    monkeypatch.setattr(load_module("timit", "timit_scratch"), "prepare", write_manifests)
    monkeypatch.setattr(Recipe, "result", lambda self: {"wer": 0.2, "wer_interval": [0.1, 0.3], "words": words})
    monkeypatch.setattr(chain.pipeline, "open_recognizer", lambda cfg: None)
    monkeypatch.setattr(chain.pipeline, "tuned", lambda cfg: cfg)
    monkeypatch.setattr(chain, "write_features", lambda recognizer, source, output: stored.append(str(output)))
    names = ["sat", "dnn", "dnn_lfmmi", "ctc_lfmmi"]
    command = ["timit", "experiment=timit_scratch", "out=run", "--only", ",".join(names)]
    for name in names:
        Path("run", name).mkdir(parents=True)
        Path("run", name, "tune.json").write_text('{"points": [{"wer": 0.15}]}')
    chain.main(command)
    assert verbs(called) == [
        verb for name in names for verb in ("hmm train" if name == "sat" else "train", *cli.VERBS[1:4], *cli.VERBS[5:7])
    ]
    trainings = dict(zip(names, called[::6], strict=True))
    assert "hmm=sat" in trainings["sat"] and "features=mfcc" in trainings["sat"]
    adapted, aligned = Path("run/adapted").absolute(), Path("run/sat/train/alignments.npz").absolute()
    assert stored == [f"{adapted / split}.jsonl" for split in ("train", "dev", "test")]
    for name in ("dnn", "dnn_lfmmi"):
        assert {f"data.train={adapted / 'train.jsonl'}", f"criterion.alignments={aligned}"} < set(trainings[name])
    assert f"init={Path('run/dnn').absolute()}" in trainings["dnn_lfmmi"]
    assert "optim.epochs=12" in trainings["dnn"]  # 3 hours of 15 minutes
    assert f"init={Path('run/ctc').absolute()}" in trainings["ctc_lfmmi"]
    assert "| LF-MMI behind CTC | 15.0 % | 20.0 % (10.0-30.0) | S 1 D 1 I 0 |" in capsys.readouterr().out
    called.clear()
    chain.main(command)
    assert not called
    for benchmark, name in ((chain, "triphones"), (ablation, "CR CTC")):
        with pytest.raises(SystemExit):
            benchmark.main([*command[:3], "--only", name])
        assert f"--only: there is no row '{name}'; there are: " in capsys.readouterr().err


def test_pooled_chains_add_up_the_errors_of_their_speakers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A speaker of both test sets is one. What cannot be added up is named."""
    monkeypatch.chdir(tmp_path)

    def write(*names: str | None) -> None:
        """A fold per speaker: one wrong word of ten in the first one, three in the second, in dev and test."""
        for number, (wrong, name) in enumerate(zip((1, 3), names, strict=True)):
            counts = {"correct": 10 - wrong, "substitutions": wrong, "deletions": 0, "insertions": 0}
            row = {"title": "CTC", "dev": {"counts": counts}, "minutes": 1 + number}
            (folder := Path(f"fold{number}/ctc/score")).mkdir(parents=True, exist_ok=True)
            (folder.parent / "row.json").write_text(json.dumps(row))
            (folder / "score.json").write_text(json.dumps({"speakers": {name: {"words": counts}} if name else {}}))

    Path("fold0/tri").mkdir(parents=True)
    Path("fold0/tri/row.json").write_text("{}")  # not in the other fold
    for names, interval in ((("ann", "bob"), "10.0-30.0"), (("ann", "ann"), "20.0-20.0")):
        write(*names)
        chain.main(["--pool", "fold0", "fold1"])
        table = capsys.readouterr().out.splitlines()
        assert table[2:] == [f"| CTC | 20.0 % | 20.0 % ({interval}) | S 4 D 0 I 0 | 1.5 |"]
    write("ann", None)
    for folder, message in (("fold1", "fold1/ctc/score/score.json has no speakers"),
                            ("fold2", "no row has been run in all of fold0, fold2")):  # fmt: skip
        with pytest.raises(SystemExit):
            chain.main(["--pool", "fold0", folder])
        assert message in capsys.readouterr().err


def test_wrong_recipes_and_options_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    for words, message in {
        "an5": "no recipe 'an5'; did you mean 'an4'?",
        "an4 lm.ordr=3": "no option 'lm.ordr'; did you mean 'lm.order'?",
        "digits experiment=unsen": "did you mean 'unseen'?",
        "digits experiment=unseen": "experiment=unseen needs speaker=VALUE",
        "digits speaker=theo": "no option 'speaker'",
        "yesno data.root=/nowhere": "holds no folder 'yesno'",
    }.items():
        assert run.main(words.split()) == 2
        error = capsys.readouterr().err
        assert message in error and error.startswith("recipes: error: ") and error.count("\n") == 1, error


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """The command lines that a recipe calls, in a separate working directory. Only the preparation runs."""
    lines: list[list[str]] = []
    monkeypatch.setattr(cli, "main", lambda words: lines.append(words) or 0)
    monkeypatch.chdir(tmp_path)
    return lines


def verbs(lines: list[list[str]]) -> list[str]:
    return [" ".join(line[: line.index("--config-dir")]) for line in lines]


def write_manifests(cfg: Config) -> str:
    for split in ("train", "dev", "test"):
        manifest.write(Path(cfg.data.dir) / f"{split}.jsonl", [manifest.Utterance("u", "u.wav", duration_s=900)])
    return "real speech: nothing"


def test_a_recipe_calls_the_verbs_in_order(
    called: list[list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = load_module("an4", "an4")
    monkeypatch.setattr(module, "prepare", write_manifests)
    assert run.main(["an4", "optim.epochs=2"]) == 0
    assert verbs(called) == list(cli.VERBS)
    assert all("experiment=an4" in line for line in called)
    assert [verbs([line])[0] for line in called if "optim.epochs=2" in line] == ["train"]  # the one that reads it
    printed = capsys.readouterr().out
    assert all(cli.SAYS[verb] in printed for verb in ("prepare", *cli.VERBS))
    stages = json.loads(Path("exp/an4/stages.json").read_text())
    assert [stage["verb"] for stage in stages] == ["prepare", *cli.VERBS]


def test_a_second_test_set_and_a_bundle_without_graph(called: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("librispeech", "commands"):
        monkeypatch.setattr(load_module(name, name), "prepare", write_manifests)
    assert run.main(["librispeech"]) == 0
    assert verbs(called) == [*cli.VERBS, "decode", "score"]
    assert called[-2][-1] == "exp/librispeech/data/test-other.jsonl"
    assert called[-1][-3:] == [
        "ref=exp/librispeech/data/test-other.jsonl",
        "hyp=exp/librispeech/decode/test-other/hyp.jsonl",
        "dir=exp/librispeech/score-other",
    ]
    called.clear()
    assert run.main(["commands"]) == 0
    assert verbs(called) == ["hmm train", "train", "bundle"] and called[-1][-1] == "graph.kind=none"
    assert "data.train=exp/commands/data/clean/train.jsonl" in called[0] and "out=exp/commands/hmm" in called[0]


def test_each_speaker_left_out_has_a_run_of_its_own(
    called: list[list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def prepare(cfg: Config, speaker: str) -> str:
        Path(f"exp/unseen-{speaker}/score").mkdir(parents=True)
        Path(f"exp/unseen-{speaker}/score/score.json").write_text(json.dumps({"wer": len(speaker) / 100}))
        return write_manifests(cfg) + f" without {speaker}"

    monkeypatch.setattr(unseen, "prepare", prepare)
    assert run.main(["digits", "experiment=unseen", "speaker=theo,george"]) == 0
    assert verbs(called) == [*cli.VERBS] * 2 and "out=exp/unseen-george" in called[-1]
    printed = capsys.readouterr().out
    assert "Real speech: nothing without theo" in printed
    assert printed.endswith("theo 4.00%\ngeorge 6.00%\nmean WER of 2 runs: 5.00%\n")


def test_complete_data_is_reused(called: list[list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    made = []

    def prepare(cfg: Config) -> str:
        made.append(cfg.data.root)
        return write_manifests(cfg)

    def prepared(*overrides: str) -> int:
        made.clear()
        recipe = Recipe("an4", RECIPES / "an4", overrides)
        recipe.prepare(prepare)
        assert recipe.source == "real speech: nothing"
        return len(made)

    assert prepared() == 1
    assert prepared("optim.epochs=1", "features.cmvn=global") == 0 and "Prepared before" in capsys.readouterr().out
    assert prepared("data.root=other") == 1
    assert prepared("data.root=other", "features.low_hz=100") == 1
    Path("exp/an4/data/dev.jsonl").unlink()
    assert prepared("data.root=other", "features.low_hz=100") == 1
    Path("exp/an4/data/source.json").write_text('"of another version"')
    assert prepared() == 1


def test_a_failed_verb_ends_the_recipe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(load_module("an4", "an4"), "prepare", write_manifests)
    with pytest.raises(SystemExit) as ended:
        run.main(["an4"])
    assert ended.value.code == 2
    assert [stage["verb"] for stage in json.loads(Path("exp/an4/stages.json").read_text())] == ["prepare"]


def test_yesno_runs_as_a_command(tmp_path: Path) -> None:
    """Real recordings and a training of one epoch: every step runs, in a separate process."""
    if corpora.find("yesno") is None:
        pytest.skip("needs the yesno recordings: set ASR_DATA to the folder above them")
    words = ["yesno", f"out={tmp_path}/yesno", "optim.epochs=1", "model.hidden=16"]
    command = [sys.executable, "-m", "recipes.run", *words]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=RECIPES.parent, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "yesno/model.asr").exists() and "the yesno set in" in done.stdout
