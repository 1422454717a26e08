"""The fields of requests: forms and JSON, checked, with one sentence for the first wrong one."""

import errno
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import chain
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from asr.errors import nearest
from asr.literals import parse_json
from asr.serve.errors import Refused
from asr.serve_options import ServeConfig

Model = TypeVar("Model", bound=BaseModel)
MOST_TEXT_BYTES = 4 << 20  # of one field that is not a file
MOST_VALUES = 1_000_000  # of a JSON text; each takes about a hundred bytes once it is parsed
OTHER_FIELDS = 200  # besides phrases and words
LONGEST_VALUE = 60  # characters of a wrong value that are repeated
QUOTE = "'"  # around names in pydantic's errors

_KINDS = {  # what a field must be, by the start of pydantic's name for the error
    "dict_": "an object", "model_": "an object", "dataclass_": "an object", "list_": "a list", "string_type": "text",
    "bool_": "true or false", "int_": "a whole number", "float_": "a number",
}  # fmt: skip


class _Form(MultiPartParser):
    """Refuses text fields in another encoding than the form's. Starlette would read them as Latin-1."""

    def on_headers_finished(self) -> None:
        try:
            super().on_headers_finished()
            part = self._current_part
            f"{part.field_name}{part.file and part.file.filename}".encode()  # some encodings give halves of surrogates
        except UnicodeError:
            raise MultiPartException(f"its charset is {self._charset.upper()}; send UTF-8") from None

    def on_part_end(self) -> None:
        part = self._current_part
        if part.file is None:
            try:
                part.data.decode(self._charset).encode()
            except UnicodeDecodeError as e:
                raise MultiPartException(
                    f"the field '{part.field_name:.100}' is not text in {self._charset.upper()}, "
                    f"byte {e.start} is 0x{e.object[e.start]:02x}; send UTF-8"
                ) from None
            except (LookupError, ValueError):  # a charset such as `hex` or `punycode`, or half of a surrogate pair
                raise MultiPartException(
                    f"the field '{part.field_name:.100}' is not text in {self._charset.upper()}; send UTF-8"
                ) from None
        super().on_part_end()


async def body_of(request: Request, most: int) -> bytes:
    """The body of a request. Raises Refused(413) beyond `most` bytes."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > most:
            raise Refused(413, f"JSON may have {most} bytes here; send less", code="too_large")
    return bytes(body)


@asynccontextmanager
async def form_of(request: Request, cfg: ServeConfig, otherwise: str = "") -> AsyncIterator[FormData]:
    """The multipart form of a request. Raises Refused for another body, and for a full disk. `otherwise`: what else the
    call takes, for the message."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        raise Refused(415, f"send multipart/form-data with a field 'file'{otherwise}", param="file")
    most = cfg.max_phrases + cfg.max_words + OTHER_FIELDS
    parser = _Form(
        request.headers, request.stream(), max_fields=most, max_files=8, max_part_size=MOST_TEXT_BYTES
    )  # fmt: skip
    try:
        form = await parser.parse()
    except MultiPartException as e:
        raise Refused(400, f"the multipart form cannot be read: {e.message}") from None
    except OSError as e:
        if e.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise Refused(503, "the service has no room for the upload; repeat the request later", 30.0) from None
    try:
        yield form
    finally:
        await form.close()


def upload_of(form: FormData) -> UploadFile:
    """The field `file`. Raises Refused(400) if it is missing or no file."""
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise Refused(400, "the field 'file' must be an audio file", param="file")
    return file


def validated(model: type[Model], fields: dict[str, Any]) -> Model:
    """The fields as a model. Raises Refused(400) naming the first wrong one."""
    try:
        return model.model_validate(fields)
    except ValidationError as e:
        errors = e.errors(include_url=False)
    of_field = [error for error in errors if error["loc"][:1] == errors[0]["loc"][:1]]  # several for a choice of types
    first = max(of_field, key=lambda error: len(error["loc"]))
    is_missing = first["type"] == "missing"
    path = _path(first["loc"], fields, is_missing)
    name = ".".join(path)
    if first["type"] == "union_tag_not_found":
        is_missing, name = True, f"{name}.{first['ctx']['discriminator'].strip(QUOTE)}"
    if is_missing:
        raise Refused(400, f"the field '{name}' is missing", param=name, code="missing_field")
    if first["type"] == "extra_forbidden":
        is_top = len(first["loc"]) == 1  # the names of inner fields are others
        raise unknown_field(name, nearest(name, model.model_fields) if is_top else "")
    of_place = [e for e in of_field if e["input"] is first["input"] and _path(e["loc"], fields, False) == path]
    given = json.dumps(first["input"], ensure_ascii=False, default=repr)
    given = given if len(given) <= LONGEST_VALUE else f"{given[:LONGEST_VALUE]}..."
    reason = _reason(model, path, first, of_place)
    raise Refused(400, f"{name}: {reason}, not {given}", param=name, code="invalid_value")


def _reason(model: type[BaseModel], path: list[str], first: Any, of_place: list[Any]) -> str:
    """What the value of a field must be, by the errors of the types that it may have."""
    if first["type"] == "union_tag_invalid":
        field, tags = first["ctx"]["discriminator"].strip(QUOTE), first["ctx"]["expected_tags"].split(", ")
        return f"its {field} must be {_or(tags)}"
    kinds = [_kind(error) for error in of_place]
    if not all(kinds):
        return first["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    examples = _examples(model, path)
    such = f", such as {_or([json.dumps(example) for example in examples])}" if examples else ""
    return f"must be {_or(list(dict.fromkeys(kinds)))}{such}"


def _kind(error: Any) -> str:
    """What a field with this error of pydantic must be; empty if another thing than its type is wrong."""
    if error["type"].startswith("float_") and type(error["input"]) is int:
        return f"a number below {sys.float_info.max:.2g}"
    return next((kind for start, kind in _KINDS.items() if error["type"].startswith(start)), "")


def _examples(model: type[BaseModel], path: list[str]) -> list[Any]:
    """The lists and objects that stand at the place in the examples of the field."""
    field = model.model_fields.get(path[0])
    found = field.examples or [] if field else []
    for _ in path[1:]:
        parts = [x if isinstance(x, list) else list(x.values()) for x in found if isinstance(x, list | dict)]
        found = list(chain.from_iterable(parts))
    return [example for example in found if isinstance(example, list | dict)]


def _or(words: list[str]) -> str:
    """`a`, `a or b`, `a, b or c`."""
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last


def unknown_field(name: str, hint: str) -> Refused:
    return Refused(400, f"the field '{name:.100}' is unknown{hint}", param=name, code="unknown_field")


def parsed(model: type[Model], text: str | bytes) -> Model:
    """The same for a JSON object."""
    signs = (",", "[", "{") if isinstance(text, str) else (b",", b"[", b"{")
    if sum(map(text.count, signs)) > MOST_VALUES:  # type: ignore[arg-type]
        raise Refused(400, f"the JSON has more than {MOST_VALUES} values; send less", code="too_large")
    try:
        fields = parse_json(text)
    except UnicodeDecodeError as e:
        raise Refused(400, f"the request is not JSON in UTF-8: byte {e.start} is 0x{e.object[e.start]:02x}",
                      code="invalid_json") from None  # fmt: skip
    except ValueError as e:
        raise Refused(400, f"the request is not JSON: {e}", code="invalid_json") from None
    if not isinstance(fields, dict):
        raise Refused(400, "the request must be a JSON object", code="invalid_json")
    return validated(model, fields)


def _path(loc: tuple[int | str, ...], fields: Any, is_missing: bool) -> list[str]:
    """The place of an error in the fields, without the names of types that pydantic puts between."""
    path = []
    for number, part in enumerate(loc, 1):
        is_index = isinstance(fields, list) and isinstance(part, int)
        if is_index or isinstance(fields, dict) and part in fields:
            fields = fields[part]
        elif not (is_missing and number == len(loc)):
            continue
        path.append(str(part))
    return path


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a model, complete in itself, for an OpenAPI document."""
    schema = model.model_json_schema()
    parts = schema.pop("$defs", {})

    def inlined(node: Any) -> Any:
        if isinstance(node, list):
            return [inlined(item) for item in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return inlined(parts[node["$ref"].rpartition("/")[2]])
        return {key: inlined(value) for key, value in node.items()}

    return inlined(schema)
