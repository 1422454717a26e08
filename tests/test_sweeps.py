"""Sweeps over processes, a cluster's queue and Optuna's trials: every job is the training that runs alone."""

import importlib
import json
import shutil
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import test_trainer
from test_training_faults import final_of, same

from asr.cli import main as cli

corpus = test_trainer.corpus
TINY = "threads=1 features.num_bins=20 model=cnn model.hidden=8 model.layers=1 optim.batch_s=20 optim.epochs=1".split()


@pytest.fixture(autouse=True)
def no_waiting_processes() -> Iterator[None]:
    """joblib keeps its processes for later jobs; other tests here count the children of this process."""
    yield
    if "joblib" in sys.modules:
        importlib.import_module("joblib.externals.loky").get_reusable_executor().shutdown(wait=True, kill_workers=True)


def needs(plugin: str) -> pytest.MarkDecorator:
    found = find_spec("hydra_plugins") and find_spec(f"hydra_plugins.{plugin}")
    return pytest.mark.skipif(not found, reason=f"needs {plugin}: pip install '.[sweep]'")


def words(corpus: Path, out: str, *more: str) -> list[str]:
    place = [f"out={corpus / out}", f"data.train={corpus}/data/train.jsonl", f"data.dev={corpus}/data/dev.jsonl"]
    return ["train", *TINY, *place, *more]


@pytest.mark.parametrize(
    "launcher",
    [pytest.param("joblib", marks=needs("hydra_joblib_launcher")),
     pytest.param("submitit_local", marks=needs("hydra_submitit_launcher"))],
)  # fmt: skip
def test_jobs_of_a_launcher(corpus: Path, launcher: str) -> None:
    assert cli.main(words(corpus, "exp", "-m", "seed=1,2", f"hydra/launcher={launcher}")) == 0
    assert cli.main(words(corpus, "alone", "seed=2")) == 0
    assert same(final_of(corpus / "exp/seed=2"), final_of(corpus / "alone"))
    assert not same(final_of(corpus / "exp/seed=1"), final_of(corpus / "alone"))


@needs("hydra_submitit_launcher")
def test_a_job_that_fails_is_told_with_its_sentence(corpus: Path, capsys: pytest.CaptureFixture) -> None:
    shutil.move(corpus / "data/dev.jsonl", corpus / "data/away.jsonl")
    assert cli.main(words(corpus, "exp", "-m", "seed=1", "hydra/launcher=submitit_local")) == 2
    assert "dev.jsonl" in capsys.readouterr().err


@needs("hydra_optuna_sweeper")
def test_optuna_minimises_the_errors_on_the_dev_set(corpus: Path) -> None:
    draws = ["optim.lr=tag(log,interval(1e-6,1e-2))", "model.hidden=choice(4,8)"]
    given = words(corpus, "exp", "-m", *draws, "hydra/sweeper=optuna", "hydra.sweeper.n_trials=3",
                  "hydra.sweeper.sampler.seed=1")  # fmt: skip
    given.remove("model.hidden=8")
    assert cli.main(given) == 0
    folders = [path for path in (corpus / "exp").iterdir() if (path / "train/log.jsonl").exists()]
    errors = [json.loads((folder / "train/log.jsonl").read_text())["dev_ter"] for folder in folders]
    assert len(errors) == 3
    results = (corpus / "exp/optimization_results.yaml").read_text()
    assert f"best_value: {min(errors)}" in results


def test_an_interval_of_an_unknown_option_is_refused(corpus: Path, capsys: pytest.CaptureFixture) -> None:
    assert cli.main(words(corpus, "exp", "-m", "boost=interval(1,2)")) == 2
    assert "boost" in capsys.readouterr().err


def test_a_launcher_that_is_not_installed_is_named(
    corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "hydra_plugins.hydra_joblib_launcher", None)
    assert cli.main(words(corpus, "exp", "-m", "seed=1,2", "hydra/launcher=joblib")) == 2
    assert "hydra/launcher=joblib needs hydra-joblib-launcher: pip install" in capsys.readouterr().err
