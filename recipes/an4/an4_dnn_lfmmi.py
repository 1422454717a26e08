"""AN4 with LF-MMI over HMMs: run the experiments an4_sat, an4_dnn and an4_dnn_lfmmi, in this order."""

from recipes.an4.an4_dnn import prepare

__all__ = ["prepare"]
