"""The net: embeddings, an LSTM, and an adaptive softmax (Grave et al. 2017), which spends little on rare words.

The words are sorted by their counts in the training text. Each cluster of rarer words has a quarter of the dimensions
of the one before, and is entered through the first cluster, so the probabilities of all words sum to one.
"""

from dataclasses import dataclass

from torch import Tensor, nn

END_ID, UNKNOWN_ID = 0, 1  # `</s>` also stands before the first word
CLUSTERS = (2000, 10000)  # sizes of the vocabulary at which a cluster of rarer words begins
State = tuple[Tensor, Tensor]  # (L, N, H) each


@dataclass(frozen=True)
class Shape:
    num_words: int  # with `</s>` and `<unk>`
    hidden: int
    layers: int


class Net(nn.Module):
    def __init__(self, shape: Shape, dropout: float = 0.0):
        """The embeddings have half as many dimensions as the hidden layers."""
        super().__init__()
        width = max(1, shape.hidden // 2)
        self.embedding = nn.Embedding(shape.num_words, width)
        between = dropout if shape.layers > 1 else 0.0
        self.lstm = nn.LSTM(width, shape.hidden, shape.layers, batch_first=True, dropout=between)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.AdaptiveLogSoftmaxWithLoss(shape.hidden, shape.num_words, clusters(shape.num_words), div_value=4)

    def forward(self, ids: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Words (N, T) -> hidden values (N, T, H) from which the word after each is predicted, and the state."""
        hidden, state = self.lstm(self.dropout(self.embedding(ids)), state)
        return self.dropout(hidden), state

    def log_probs(self, hidden: Tensor, following: Tensor) -> Tensor:
        """Hidden values (M, H) and the word after each (M,) -> natural log-probs (M,)."""
        return self.out(hidden, following).output


def clusters(num_words: int) -> list[int]:
    """The first words of the clusters behind the first one; there is at least one."""
    return [size for size in CLUSTERS if size < num_words] or [max(1, num_words // 2)]
