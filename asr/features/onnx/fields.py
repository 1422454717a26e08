"""A look into an ONNX file before onnxruntime opens it: whether it refers to other files.

onnxruntime reads such files relative to the working directory, so a bundle could read files of the machine. The names
and numbers of fields are those of onnx.proto.
"""

from collections.abc import Iterator

# message -> field -> message within; other fields are skipped
_WITHIN = {
    "Model": {7: "Graph", 20: "Training", 25: "Function"},
    "Training": {1: "Graph", 2: "Graph"},
    "Graph": {1: "Node", 5: "Tensor", 15: "Sparse"},
    "Function": {7: "Node", 11: "Attribute"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "Sparse", 23: "Sparse"},
    "Sparse": {1: "Tensor", 2: "Tensor"},
    "Tensor": {},
}
_EXTERNAL = (13, 14)  # of Tensor: external_data, data_location
_FIXED = {1: 8, 5: 4}  # wire type -> bytes


def has_external_data(data: bytes) -> bool:
    """Whether a tensor lies in another file. Raises ValueError if the data is not a protobuf message."""
    waiting = [("Model", memoryview(data))]
    while waiting:
        kind, content = waiting.pop()
        for number, value in read_fields(content):
            if kind == "Tensor" and number in _EXTERNAL and value != 0:
                return True
            if isinstance(value, memoryview) and (within := _WITHIN[kind].get(number)):
                waiting.append((within, value))
    return False


def read_fields(data: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """(number, value) of each field; fixed-width numbers are skipped."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
        elif wire in _FIXED:
            at += _FIXED[wire]
        elif wire == 2:
            length, at = _varint(data, at)
            yield number, data[at : at + length]
            at += length
        else:
            raise ValueError(f"a field of wire type {wire}")
    if at > len(data):
        raise ValueError("a field ends behind its message")


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """The number that begins at `at`, and the place behind it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("a number without an end")
