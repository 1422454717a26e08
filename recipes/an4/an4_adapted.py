"""AN4 with CTC on features adapted to each speaker: run the experiments an4_sat and an4_adapted, in this order."""

from recipes.an4.an4_dnn import prepare

__all__ = ["prepare"]
