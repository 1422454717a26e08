"""A graph that ends at another tensor: what is behind it is left out.

The names and numbers of fields are those of onnx.proto.
"""

from collections.abc import Iterable, Iterator, Sequence

from asr.features.onnx.fields import read_fields

GRAPH = 7  # of Model
NODE, INITIALIZER, INPUT, OUTPUT, VALUE_INFO, SPARSE = 1, 5, 11, 12, 13, 15  # of Graph
NODE_INPUT, NODE_OUTPUT, ATTRIBUTE = 1, 2, 5  # of Node
SUBGRAPHS = (6, 11)  # of Attribute
TENSOR_NAME, VALUE_NAME, SPARSE_VALUES = 8, 1, 1

Field = tuple[int, memoryview | int]


def cut(data: bytes, outputs: Sequence[str]) -> bytes:
    """The ONNX file `data` with the tensors `outputs` as its outputs. All its inputs stay.

    Raises KeyError for a name that no tensor of the graph has, ValueError if the data is not an ONNX file.
    """
    model = list(read_fields(memoryview(data)))
    graph = list(read_fields(_only_graph(model)))
    nodes = [value for number, value in graph if number == NODE and isinstance(value, memoryview)]
    makers = {name: node for node in range(len(nodes)) for name in _names(nodes[node], NODE_OUTPUT)}
    known = makers.keys() | {_name(value, VALUE_NAME) for number, value in graph if number == INPUT}
    if lacking := [name for name in outputs if name not in known]:
        raise KeyError(lacking[0])
    kept, wanted = _above(nodes, makers, outputs)
    places = {_name(value, VALUE_NAME): value for number, value in graph if number in (OUTPUT, VALUE_INFO)}
    fields: list[Field] = [(NODE, nodes[node]) for node in sorted(kept)]
    for number, value in graph:
        if number == INITIALIZER and _name(value, TENSOR_NAME) not in wanted:
            continue
        if number == SPARSE and _name(_within(value, SPARSE_VALUES), TENSOR_NAME) not in wanted:
            continue
        if number not in (NODE, OUTPUT, VALUE_INFO):
            fields.append((number, value))
    fields += [(OUTPUT, places.get(name, memoryview(_written([(VALUE_NAME, memoryview(name.encode()))]))))
               for name in outputs]  # fmt: skip
    whole = memoryview(_written(fields))
    return _written([(number, whole if number == GRAPH else value) for number, value in model])


def tensors(data: bytes) -> list[str]:
    """The tensors that the nodes of the graph make, in the order of the file."""
    graph = read_fields(_only_graph(read_fields(memoryview(data))))
    return [name for number, value in graph if number == NODE for name in _names(value, NODE_OUTPUT)]


def _above(nodes: Sequence[memoryview], makers: dict[str, int], outputs: Sequence[str]) -> tuple[set[int], set[str]]:
    """The nodes that the tensors `outputs` follow from, and the names of all tensors on the way."""
    kept: set[int] = set()
    wanted: set[str] = set()
    waiting = list(outputs)
    while waiting:
        name = waiting.pop()
        if name in wanted:
            continue
        wanted.add(name)
        if name in makers and (node := makers[name]) not in kept:
            kept.add(node)
            waiting += _read_by(nodes[node])
    return kept, wanted


def _read_by(node: memoryview) -> Iterator[str]:
    """The tensors that a node reads. Graphs within it, as of If and Loop, may read any tensor around them."""
    inner = [node]
    while inner:
        node = inner.pop()
        yield from _names(node, NODE_INPUT)
        for number, attribute in read_fields(node):
            if number == ATTRIBUTE and isinstance(attribute, memoryview):
                for kind, graph in read_fields(attribute):
                    if kind in SUBGRAPHS and isinstance(graph, memoryview):
                        yield from _names_of(graph, OUTPUT)
                        inner += [x for at, x in read_fields(graph) if at == NODE and isinstance(x, memoryview)]


def _names_of(graph: memoryview, kind: int) -> Iterator[str]:
    return (_name(value, VALUE_NAME) for number, value in read_fields(graph) if number == kind)


def _only_graph(model: Iterable[Field]) -> memoryview:
    graphs = [value for number, value in model if number == GRAPH]
    if len(graphs) != 1 or not isinstance(graphs[0], memoryview):
        raise ValueError(f"it has {len(graphs)} graphs")
    return graphs[0]


def _names(message: memoryview | int, kind: int) -> list[str]:
    """The non-empty texts of one kind of field."""
    if not isinstance(message, memoryview):
        return []
    found = (value for number, value in read_fields(message) if number == kind and isinstance(value, memoryview))
    return [bytes(value).decode() for value in found if len(value)]


def _name(message: memoryview | int, kind: int) -> str:
    return next(iter(_names(message, kind)), "")


def _within(message: memoryview | int, kind: int) -> memoryview | int:
    fields = read_fields(message) if isinstance(message, memoryview) else iter(())
    return next((value for number, value in fields if number == kind), 0)


def _written(fields: Iterable[Field]) -> bytes:
    """The inverse of `read_fields`."""
    parts: list[bytes | memoryview] = []
    for number, value in fields:
        if isinstance(value, int):
            parts += [_varint(number << 3), _varint(value)]
        else:
            parts += [_varint(number << 3 | 2), _varint(len(value)), value]
    return b"".join(parts)


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes(parts) + bytes([value])
