"""HTML in which every text is escaped: only `tag` makes markup."""

import base64
import html
import re
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_EMPTY = ("meta", "img", "br", "rect", "path", "line")  # tags without content


class Html(str):
    """Markup. Any other string is text."""


def escaped(text: str) -> Html:
    """A text as markup that shows it; what no page can hold is shown as U+FFFD."""
    return text if isinstance(text, Html) else Html(html.escape(_UNPRINTABLE.sub("�", text)))


def tag(name: str, /, *content: str, **attributes: object) -> Html:
    """An element with texts or elements in it. `class_` is the attribute class, and `font_size` font-size; attributes
    that are None are left out."""
    given = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items() if value is not None}
    opened = "".join(f' {key}="{escaped(str(value))}"' for key, value in given.items())
    if name in _EMPTY:
        return Html(f"<{name}{opened}>" if name in ("meta", "img", "br") else f"<{name}{opened}/>")
    return Html(f"<{name}{opened}>{join(content)}</{name}>")


def join(parts: Iterable[str], between: str = "") -> Html:
    return Html(between.join(escaped(part) for part in parts))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Html:
    """Rows of texts or elements; the table scrolls where the window is narrower."""
    body = join(tag("tr", *(tag("td", cell) for cell in row)) for row in rows)
    made = tag("table", tag("thead", tag("tr", *(tag("th", cell) for cell in head))), tag("tbody", body))
    return tag("div", made, class_="wide")


def data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def picture(plot: Callable[[Path], object], alt: str) -> Html:
    """The PNG that `plot` writes to a path."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plot.png"
        plot(path)
        return tag("img", src=data_uri("image/png", path.read_bytes()), alt=alt)
