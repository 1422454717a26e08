"""`Config` in Python: values of the wrong type are refused where they are set."""

import json
from pathlib import Path

import numpy as np
import pytest

from asr.config import AugmentConfig, Config, DataConfig, FeaturesConfig, GraphConfig, LmConfig, OptimConfig
from asr.errors import InputError


@pytest.mark.parametrize(
    "make,says",
    [
        (lambda: OptimConfig(epochs="many"), "optim.epochs=many: expected a whole number in"),
        (lambda: OptimConfig(epochs=3.5), "optim.epochs=3.5: expected a whole number"),
        (lambda: OptimConfig(epochs=True), "optim.epochs=True: expected a whole number"),
        (lambda: OptimConfig(lr=None), "optim.lr=None: expected a number"),
        (lambda: OptimConfig(lr=[1e-3]), "optim.lr=.0.001.: expected a number"),
        (lambda: DataConfig(cache=1), "data.cache=1: expected true or false"),
        (lambda: DataConfig(dir=b"x"), "data.dir=b'x': expected text"),
        (lambda: LmConfig(text="a.txt"), "lm.text=a.txt: expected a list of text"),
        (lambda: LmConfig(text=[3]), "lm.text=.3.: expected text"),
        (lambda: AugmentConfig(speeds=[1.0, "x"]), "augment.speeds=.1.0, 'x'.: expected a number"),
        (lambda: GraphConfig(memory_mb="4G"), "graph.memory_mb=4G: expected a whole number"),
        (lambda: Config(out=3), "^out=3: expected text"),
        (lambda: Config(data={"dir": "x"}), "data={'dir': 'x'}: expected a DataConfig"),
        (lambda: setattr(Config().optim, "lr", "fast"), "optim.lr=fast: expected a number"),
        (lambda: setattr(Config(), "input", "a.wav"), "^input=a.wav: expected a list"),
    ],
)
def test_a_value_of_another_type_is_refused(make, says: str) -> None:
    with pytest.raises(InputError, match=says):
        make()


def test_values_that_mean_the_same_are_accepted() -> None:
    cfg = Config(out=Path("run"), optim=OptimConfig(lr=1, epochs=np.int64(3)), augment=AugmentConfig(speeds=(1, 2)))
    assert cfg.out == "run" and cfg.graph.dir == "run/graph"
    assert cfg.optim.lr == 1 and type(cfg.optim.epochs) is int and cfg.augment.speeds == [1.0, 2.0]
    cfg.features = FeaturesConfig(num_bins=np.int32(40), window_ms=np.float32(25))
    cfg.graph.memory_mb, cfg.data.cache = None, np.bool_(False)
    assert json.dumps([cfg.features.num_bins, cfg.features.window_ms, cfg.data.cache]) == "[40, 25.0, false]"
