"""Writes small ONNX models, without the package onnx: the fields of onnx.proto that they need."""

import numpy as np

FLOAT, INT64 = 1, 7
_TYPES = {np.dtype(np.float32): FLOAT, np.dtype(np.int64): INT64}


def _varint(value):
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes(parts) + bytes([value])


def message(*fields):
    """Fields (number, value): whole numbers, texts, bytes or messages."""
    parts = []
    for number, value in fields:
        if isinstance(value, int):
            parts += [_varint(number << 3), _varint(value)]
        else:
            data = value.encode() if isinstance(value, str) else value
            parts += [_varint(number << 3 | 2), _varint(len(data)), data]
    return b"".join(parts)


def tensor(name, array):
    dims = [(1, n) for n in array.shape]
    return message(*dims, (2, _TYPES[array.dtype]), (8, name), (9, array.tobytes()))


def external(name, shape, location):
    entry = message((1, "location"), (2, location))
    return message(*[(1, n) for n in shape], (2, FLOAT), (8, name), (13, entry), (14, 1))


def node(op, inputs, outputs, **attributes):
    def attribute(name, value):
        values = [(8, item) for item in value] if isinstance(value, list) else [(3, value)]
        return message((1, name), *values, (20, 7 if isinstance(value, list) else 2))

    found = [(5, attribute(name, value)) for name, value in attributes.items()]
    return message(*[(1, name) for name in inputs], *[(2, name) for name in outputs], (4, op), *found)


def place(name, shape, kind=FLOAT):
    """An input or output; dimensions are numbers or names."""
    dims = [(1, message((1, n) if isinstance(n, int) else (2, n))) for n in shape]
    return message((1, name), (2, message((1, message((1, kind), (2, message(*dims)))))))


def model(nodes, inputs, outputs, tensors, metadata=()):
    graph = message(*[(1, n) for n in nodes], (2, "g"), *[(5, t) for t in tensors], *[(11, i) for i in inputs],
                    *[(12, o) for o in outputs])  # fmt: skip
    props = [(14, message((1, key), (2, value))) for key, value in dict(metadata).items()]
    return message((1, 8), (7, graph), (8, message((1, ""), (2, 13))), *props)


def of_samples(weights, stride, name="log_probs", softmax=None, lengths=True, metadata=()):
    """Samples (N, T) and their number -> (N, F, V): a convolution with `weights` (V, W)."""
    nodes = [
        node("Unsqueeze", ["samples", "one"], ["wave"]),
        node("Conv", ["wave", "w"], ["y"], strides=[stride]),
        node("Transpose", ["y"], ["logits"], perm=[0, 2, 1]),
        node(softmax or "Identity", ["logits"], [name], **({"axis": 2} if softmax else {})),
    ]
    tensors = [tensor("one", np.array([1], np.int64)), tensor("w", weights[:, None].astype(np.float32))]
    inputs, outputs = [place("samples", ("n", "t"))], [place(name, ("n", "f", len(weights)))]
    if lengths:
        nodes.append(node("Div", ["count", "stride"], ["frames"]))
        tensors.append(tensor("stride", np.array(stride, np.int64)))
        inputs.append(place("count", ("n",), INT64))
        outputs.append(place("frames", ("n",), INT64))
    return model(nodes, inputs, outputs, tensors, metadata)


def of_nemo(weights, metadata):
    """Features (N, D, F) and their number -> log-probs of every second frame, as NeMo's models with subsampling 2."""
    nodes = [
        node("Transpose", ["audio_signal"], ["frames"], perm=[0, 2, 1]),
        node("Slice", ["frames", "zero", "end", "one", "two"], ["half"]),
        node("MatMul", ["half", "w"], ["y"]),
        node("Add", ["length", "nothing"], ["unused"]),
        node("LogSoftmax", ["y"], ["logprobs"], axis=2),
    ]
    numbers = {"zero": [0], "end": [1 << 40], "one": [1], "two": [2], "nothing": [0]}
    tensors = [tensor(name, np.array(value, np.int64)) for name, value in numbers.items()]
    inputs = [place("audio_signal", ("n", len(weights), "f")), place("length", ("n",), INT64)]
    outputs = [place("logprobs", ("n", "g", weights.shape[1])), place("unused", ("n",), INT64)]
    return model(nodes, inputs, outputs, [*tensors, tensor("w", weights.astype(np.float32))], metadata)


def of_frames(weights, metadata, every=4, lengths=True):
    """Features (N, F, D), and their number -> log-probs of each `every`th frame, and their number, as icefall's."""
    nodes = [
        node("Slice", ["x", "zero", "end", "one", "every"], ["some"]),
        node("MatMul", ["some", "w"], ["y"]),
        node("LogSoftmax", ["y"], ["log_probs"], axis=2),
    ]
    numbers = {"zero": [0], "end": [1 << 40], "one": [1], "every": [every]}
    tensors = [tensor(name, np.array(value, np.int64)) for name, value in numbers.items()]
    inputs, outputs = [place("x", ("n", "f", len(weights)))], [place("log_probs", ("n", "g", weights.shape[1]))]
    if lengths:
        tensors.append(tensor("less", np.array([every - 1], np.int64)))
        nodes += [node("Add", ["x_lens", "less"], ["more"]), node("Div", ["more", "every"], ["log_probs_len"])]
        inputs.append(place("x_lens", ("n",), INT64))
        outputs.append(place("log_probs_len", ("n",), INT64))
    return model(nodes, inputs, outputs, [*tensors, tensor("w", weights.astype(np.float32))], metadata)


def of_chunks(weights, metadata, states, chunk, shift, every=4):
    """Chunks (N, F, D) and states -> log-probs, and states: a Zipformer for streams.

    `states`: name -> shape and type. The first one holds the last new frame of the chunk before, and is added to the
    first frame; the last one counts frames.
    """
    names = list(states)
    first, last = names[0], names[-1]
    nodes = [
        node("Slice", ["x", "zero", "shift", "one", "every"], ["some"]),
        node("Slice", ["x", "before", "shift", "one"], ["newest"]),
        node("Transpose", [first], ["carried"], perm=[1, 0, 2]),
        node("Pad", ["carried", "room"], ["placed"]),
        node("Add", ["some", "placed"], ["sum"]),
        node("MatMul", ["sum", "w"], ["y"]),
        node("LogSoftmax", ["y"], ["log_probs"], axis=2),
        node("Transpose", ["newest"], [f"new_{first}"], perm=[1, 0, 2]),
        node("Add", [last, "shift"], [f"new_{last}"]),
        *(node("Identity", [name], [f"new_{name}"]) for name in names[1:-1]),
    ]
    room = [0, 0, 0, 0, -(-shift // every) - 1, 0]
    numbers = {"zero": [0], "before": [shift - 1], "shift": [shift], "one": [1], "every": [every], "room": room}
    tensors = [tensor(name, np.array(value, np.int64)) for name, value in numbers.items()]
    inputs = [place("x", ("n", chunk, len(weights))), *(place(name, *states[name]) for name in names)]
    outputs = [place("log_probs", ("n", len(range(0, shift, every)), weights.shape[1])),
               *(place(f"new_{name}", *states[name]) for name in names)]  # fmt: skip
    return model(nodes, inputs, outputs, [*tensors, tensor("w", weights.astype(np.float32))], metadata)


def of_features(weights, bands_first=False):
    """Features (N, F, D) or (N, D, F) -> (N, F, V): the product with `weights` (D, V)."""
    dims = ("n", len(weights), "f") if bands_first else ("n", "f", len(weights))
    nodes = [node("Transpose", ["x"], ["frames"], perm=[0, 2, 1] if bands_first else [0, 1, 2]),
             node("MatMul", ["frames", "w"], ["y"])]  # fmt: skip
    return model(nodes, [place("x", dims)], [place("y", ("n", "f", weights.shape[1]))],
                 [tensor("w", weights.astype(np.float32))])  # fmt: skip
