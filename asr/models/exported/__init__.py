"""Our nets in ONNX, for other people's runtimes (extra `export`): one graph per runtime.

frontend     the front end in operations that ONNX has
graphs       from samples or stored features to log-probs, for any runtime
sherpa       for sherpa-onnx: its features, or its samples
onnx_asr     for onnx-asr
onnx_file    a graph as an ONNX file, in float32 and int8
"""

from asr.config import FeaturesConfig
from asr.errors import InputError
from asr.models.acoustic import AcousticModel
from asr.models.exported.graphs import FeatureGraph, Graph, SampleGraph
from asr.models.exported.onnx_asr import OnnxAsrGraph
from asr.models.exported.onnx_file import Exported, export
from asr.models.exported.sherpa import SherpaFeatureGraph, SherpaSampleGraph
from asr.models.imported import OnnxModel

__all__ = ["Exported", "Graph", "export", "graphs_of"]


def graphs_of(model: AcousticModel | OnnxModel, cfg: FeaturesConfig) -> tuple[list[Graph], list[str]]:
    """The graphs of a model, that of any runtime first, and for each runtime without one a sentence that says why.

    Raises InputError for a model that cannot be exported.
    """
    if isinstance(model, OnnxModel):
        raise InputError("the bundle holds an imported ONNX model; use the file that it was made from")
    if cfg.kind == "pretrained":
        raise InputError("a net on a pretrained encoder cannot be exported: the encoder hears long recordings in "
                         "windows, which ONNX cannot express; export nets with features=logmel")  # fmt: skip
    if cfg.kind == "stored":
        return [FeatureGraph(model, cfg)], [
            f"{runtime}: not written, since the net hears stored features and the runtime gives sound"
            for runtime in ("sherpa-onnx", "onnx-asr")
        ]
    found: list[Graph] = [SampleGraph(model, cfg)]
    refused = []
    if SherpaFeatureGraph.misfit(cfg) is None:
        found.append(SherpaFeatureGraph(model, cfg))
    elif reason := SherpaSampleGraph.misfit(cfg):
        refused.append(f"sherpa-onnx: not written, since {reason}")
    else:
        found.append(SherpaSampleGraph(model, cfg))
    if reason := OnnxAsrGraph.misfit(cfg, model.frame_s):
        refused.append(f"onnx-asr: not written, since {reason}")
    else:
        found.append(OnnxAsrGraph(model, cfg))
    return found, refused
