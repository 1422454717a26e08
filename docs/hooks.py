"""Fills the reference pages from the code: every verb and every option."""

import inspect
from typing import Any

from asr.cli.options import Option, all_groups, all_options, first_comment
from asr.cli.reads import declared
from asr.cli.verbs import VERBS


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replaces the marks `<!-- verbs -->`, `<!-- groups -->` and `<!-- options -->` of a page."""
    for mark, write in (("verbs", verbs), ("groups", groups), ("options", options)):
        if f"<!-- {mark} -->" in markdown:
            markdown = markdown.replace(f"<!-- {mark} -->", write())
    return markdown


def verbs() -> str:
    """A section per verb: its help text."""
    parts = []
    for name, verb in VERBS.items():
        summary, _, rest = (inspect.getdoc(verb.run) or "").partition("\n")
        parts += [f"### asr {name}", summary, _indented_as_code(rest.strip())]
    return "\n\n".join(parts)


def groups() -> str:
    """A table of the choices of each group."""
    rows = ["| Choice | Meaning |", "|---|---|"]
    for group, choices in sorted(all_groups().items()):
        rows += [f"| `{group}={choice}` | {_cell(first_comment(path))} |" for choice, path in choices.items()]
    return "\n".join(rows)


def options() -> str:
    """A table per group of options."""
    parts, general = [], []
    by_group: dict[str, list[Option]] = {}
    for option in all_options().values():
        group, dot, _ = option.name.partition(".")
        (by_group.setdefault(group, []) if dot else general).append(option)
    for group, members in {"General": general, **by_group}.items():
        parts += [f"### {group}", _table(members)]
    return "\n\n".join(parts)


def _table(members: list[Option]) -> str:
    rows = ["| Option | Type | Default | Meaning | Read by |", "|---|---|---|---|---|"]
    for o in members:
        kind = " \\| ".join(f"`{choice}`" for choice in o.choices) or f"`{o.type_name}`".replace(" | ", "` or `")
        kind += f" in {o.within}" if o.within else ""
        readers = ", ".join(verb for verb in VERBS if o.name in declared(verb))
        rows.append(f"| `{o.name}` | {kind} | `{_shown(o.default)}` | {_cell(o.help)} | {readers} |")
    return "\n".join(rows)


def _shown(default: Any) -> str:
    if isinstance(default, list):
        return f"[{','.join(map(str, default))}]"
    return str(default).lower() if isinstance(default, bool) else "null" if default is None else str(default)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _indented_as_code(text: str) -> str:
    """Command lines in a help text as code blocks, the rest as prose."""
    blocks = [
        "\n".join(f"    {line}" for line in block.split("\n")) if block.lstrip().startswith("asr ") else block
        for block in text.split("\n\n")
    ]
    return "\n\n".join(blocks)
