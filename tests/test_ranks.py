"""Training in the processes of torchrun: the same bits as in one process, resumed, restarted, ended with a sentence."""

import os
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import test_trainer
import torch
from ranked import train_ranks
from test_training_faults import final_of, same

from asr.training import ranks

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed")
corpus = test_trainer.corpus
OPTIONS = "seed=1 threads=1 features.num_bins=20 augment.silence_s=0.2 model=cnn model.hidden=24 model.layers=2 "
OPTIONS += "optim.batch_s=8 optim.lr=0.01 optim.checkpoint_steps=2 optim.epochs=2 optim.average=1 optim.shards=3"


def words(corpus: Path, out: str, *more: str) -> list[str]:
    place = [f"out={corpus / out}", f"data.train={corpus}/data/train.jsonl", f"data.dev={corpus}/data/dev.jsonl"]
    return [*OPTIONS.split(), *place, *more]


def test_the_number_of_ranks_changes_no_bit(corpus: Path) -> None:
    for size in (1, 2, 3):
        found = train_ranks(size, corpus, words(corpus, f"exp{size}"))
        assert [code for code, _ in found] == [0] * size, found
        assert all(not text for _, text in found[1:]), found
    assert same(final_of(corpus / "exp1"), final_of(corpus / "exp2"))
    assert same(final_of(corpus / "exp1"), final_of(corpus / "exp3"))
    logs = [(corpus / f"exp{size}/train/log.jsonl").read_text() for size in (1, 2, 3)]
    assert logs[0] == logs[1] == logs[2]


def end_at(number: int, rank_to_end: int, how: str, rank: int) -> None:
    """The process of one rank ends, or raises, before its `number`-th step of all."""
    gather, calls = ranks._gather, []

    def gather_or_end(own: tuple) -> list:
        calls.append(own)
        if rank == rank_to_end and len(calls) == number:
            if how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            own = (None, "its disk is gone", None)
        return gather(own)

    ranks._gather = gather_or_end


@pytest.mark.parametrize("ended", [0, 1])
def test_a_killed_rank_ends_the_others_with_one_sentence(corpus: Path, ended: int) -> None:
    whole, given = words(corpus, "whole"), words(corpus, "exp")
    found = train_ranks(2, corpus, given, partial(end_at, 5, ended, "kill"))
    assert [code for code, _ in found] == [2 if rank != ended else -signal.SIGKILL for rank in (0, 1)], found
    (told,) = [line for line in found[1 - ended][1].splitlines() if line.startswith("asr: error")]
    assert re.search(r"another process of this training has ended, .*; the same command resumes the training", told)
    assert train_ranks(3, corpus, given)[0][0] == 0  # with another number of ranks
    assert train_ranks(1, corpus, whole)[0][0] == 0
    assert same(final_of(corpus / "exp"), final_of(corpus / "whole"))


def test_an_error_of_another_rank_is_told_by_the_first(corpus: Path) -> None:
    found = train_ranks(3, corpus, words(corpus, "exp"), partial(end_at, 5, 2, "raise"))
    assert [code for code, _ in found] == [2, 2, 2]
    assert found[0][1].endswith("asr: error: rank 2: its disk is gone\n") and found[2][1] == ""


def test_a_wrong_option_is_told_once(corpus: Path) -> None:
    given = words(corpus, "exp", f"data.dev={corpus}/nowhere.jsonl")
    (code, told), (_, other) = train_ranks(2, corpus, given)
    assert code == 2 and "nowhere.jsonl" in told and other == ""
    (code, told), (_, other) = train_ranks(2, corpus, words(corpus, "exp", "optim.shards=1"))
    assert code == 2 and "torchrun started 2 processes, but optim.shards=1" in told and other == ""


def test_another_number_of_shards_is_refused(corpus: Path) -> None:
    assert train_ranks(2, corpus, words(corpus, "exp"), partial(end_at, 5, 1, "kill"))[0][0] == 2
    ((code, told),) = train_ranks(1, corpus, words(corpus, "exp", "optim.shards=0"))
    assert code == 2 and "divides each batch into 3 parts, not 2; set optim.shards=3" in told


def test_torchrun_restarts_a_training_whose_process_is_killed(corpus: Path) -> None:
    script = corpus / "script.py"
    script.write_text(
        f"import os, sys; sys.path[:0] = [{str(Path(__file__).parent)!r}, {str(Path(__file__).parents[1])!r}]\n"
        "from test_ranks import end_at\nfrom asr.cli.main import main\n"
        "if os.environ['TORCHELASTIC_RESTART_COUNT'] == '0':\n"
        "    end_at(5, 1, 'kill', int(os.environ['RANK']))\n"
        "sys.exit(main())\n"
    )
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    run = subprocess.run([*torchrun, str(script), "train", *words(corpus, "exp")], env=environment, text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
    assert run.returncode == 0 and "resuming" in run.stdout, run.stdout
    assert train_ranks(1, corpus, words(corpus, "whole"))[0][0] == 0
    assert same(final_of(corpus / "exp"), final_of(corpus / "whole"))
