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
        (lambda: OptimConfig(epochs="many"), "OptimConfig.epochs expects int, not 'many'"),
        (lambda: OptimConfig(epochs=3.5), "OptimConfig.epochs expects int, not 3.5"),
        (lambda: OptimConfig(epochs=True), "OptimConfig.epochs expects int, not True"),
        (lambda: OptimConfig(lr=None), "OptimConfig.lr expects float, not None"),
        (lambda: OptimConfig(lr=[1e-3]), "OptimConfig.lr expects float"),
        (lambda: DataConfig(cache=1), "DataConfig.cache expects bool, not 1"),
        (lambda: DataConfig(dir=b"x"), "DataConfig.dir expects str"),
        (lambda: LmConfig(text="a.txt"), "LmConfig.text expects list"),
        (lambda: LmConfig(text=[3]), "LmConfig.text expects str, not 3"),
        (lambda: AugmentConfig(speeds=[1.0, "x"]), "AugmentConfig.speeds expects float, not 'x'"),
        (lambda: GraphConfig(memory_mb="4G"), "GraphConfig.memory_mb expects int . null"),
        (lambda: Config(out=3), "Config.out expects str, not 3"),
        (lambda: Config(data={"dir": "x"}), "Config.data expects DataConfig"),
        (lambda: setattr(Config().optim, "lr", "fast"), "OptimConfig.lr expects float, not 'fast'"),
        (lambda: setattr(Config(), "input", "a.wav"), "Config.input expects list"),
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
