"""The LF-MMI of k2, for `benchmarks/k2_lfmmi.py`: the Python that has k2 runs this file.

    python3.9 -m venv VENV && VENV/bin/pip install "numpy<2" k2==1.23.4     # torch 1.13.1 comes with it
    VENV/bin/python benchmarks/k2_peer.py CASE.npz RESULT.npz

The case holds log-probs (N, T, V), targets (N, L), and the arcs of the denominator, without epsilons: from, to, label
and score, where -1 is the label of arcs to the last state. The result holds the totals (N,) of numerator and
denominator, the gradient of their difference (N, T, V), and the CPU milliseconds, the median of several runs.
"""

import statistics
import sys
import time

import k2
import numpy as np
import torch

REPEATS, BEAM = 4, 1e6  # a beam that prunes nothing


def totals(graphs, dense):
    """The log of the summed weight of all paths of each graph: (N,)."""
    return k2.intersect_dense(graphs, dense, output_beam=BEAM).get_tot_scores(log_semiring=True, use_double_scores=True)


def main():
    torch.set_num_threads(1)
    case = np.load(sys.argv[1])
    x = torch.from_numpy(case["x"]).requires_grad_()
    count, frames, _ = x.shape
    segments = torch.tensor([[n, 0, frames] for n in range(count)], dtype=torch.int32)
    numerators = k2.ctc_graph(case["targets"].tolist())
    arcs = torch.from_numpy(case["arcs"])
    denominator = k2.Fsa(torch.cat([arcs, torch.from_numpy(case["scores"]).view(torch.int32)[:, None]], 1))
    denominators = k2.create_fsa_vec([denominator] * count)
    spent = []
    for _ in range(REPEATS):
        x.grad = None
        start = time.process_time()
        dense = k2.DenseFsaVec(x, segments)
        found = totals(numerators, dense), totals(denominators, dense)
        (found[1] - found[0]).sum().backward()
        spent.append(1e3 * (time.process_time() - start))
    np.savez(sys.argv[2], numerator=found[0].detach(), denominator=found[1].detach(), gradient=x.grad.numpy(),
             ms=statistics.median(spent[1:]))  # fmt: skip


if __name__ == "__main__":
    main()
