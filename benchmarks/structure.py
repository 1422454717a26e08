"""The package's import graph, and how long it takes to start: circles, floors, seconds.

    python benchmarks/structure.py [--tree FOLDER]     # FOLDER holds asr/; default: this checkout

Imports inside functions and for type checking count, too. A circle is a set of modules that import each other,
directly or through others; floors is the length of the longest chain of imports, a circle taken as one module.
Prints a table and, for this checkout, writes benchmarks/results/structure.json.
"""

import argparse
import ast
import json
import os
import statistics
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
ROUNDS = 7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tree", type=Path, default=HERE.parent)
    tree = parser.parse_args().tree.resolve()
    imports = read_imports(tree / "asr")
    circles = find_circles(imports)
    result = {
        "modules": len(imports),
        "imports": sum(map(len, imports.values())),
        "circles": [sorted(circle) for circle in circles if len(circle) > 1],
        "floors": count_floors(imports, circles),
        "import asr, s": seconds(tree, "-c", "import asr"),
        "python alone, s": seconds(tree, "-c", "pass"),
        "asr --help, s": seconds(tree, "-m", "asr", "--help"),
    }
    for name, value in result.items():
        print(f"{name:18} {value}")
    if tree == HERE.parent.resolve():
        (HERE / "results/structure.json").write_text(json.dumps(result, indent=1) + "\n")


def read_imports(package: Path) -> dict[str, set[str]]:
    """Module -> the modules of the package that it imports. Packages that only re-export names are left out."""
    files = {".".join(p.relative_to(package.parent).with_suffix("").parts): p for p in package.rglob("*.py")}
    files = {name: path for name, path in files.items() if path.name not in ("__init__.py", "__main__.py")}
    found: dict[str, set[str]] = {}
    for name, path in files.items():
        found[name] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, (ast.Import, ast.ImportFrom)) else []
            whole = (
                [f"{node.module}.{n}" for n in names] + [str(node.module)]
                if isinstance(node, ast.ImportFrom)
                else names
            )
            found[name] |= {module for module in whole if module in files and module != name}
    return found


def find_circles(imports: dict[str, set[str]]) -> list[set[str]]:
    """The strongly connected components, those that are imported first."""

    @cache
    def reach(module: str) -> frozenset[str]:
        seen, waiting = set(), [module]
        while waiting:
            for other in imports[waiting.pop()] - seen:
                seen.add(other)
                waiting.append(other)
        return frozenset(seen)

    components = {frozenset({a, *(b for b in reach(a) if a in reach(b))}) for a in imports}
    return [set(c) for c in sorted(components, key=lambda c: (len(reach(min(c))), min(c)))]


def count_floors(imports: dict[str, set[str]], circles: list[set[str]]) -> int:
    circle_of = {module: number for number, circle in enumerate(circles) for module in circle}

    @cache
    def height(number: int) -> int:
        below = {circle_of[other] for module in circles[number] for other in imports[module]} - {number}
        return 1 + max(map(height, below), default=0)

    return max(map(height, range(len(circles))))


def seconds(tree: Path, *words: str) -> float:
    """Median of several starts of a fresh interpreter in the tree."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        subprocess.run([sys.executable, *words], cwd=tree, env={**os.environ, "PYTHONPATH": str(tree)},
                       stdout=subprocess.DEVNULL, check=True)  # fmt: skip
        times.append(time.perf_counter() - start)
    return round(statistics.median(times), 3)


if __name__ == "__main__":
    main()
