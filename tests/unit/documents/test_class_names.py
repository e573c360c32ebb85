import ast
from collections import defaultdict
from pathlib import Path

import tocsin

SOURCES = Path(tocsin.__file__).parent


def test_a_class_name_means_one_thing() -> None:
    """Whoever meets a public class's name knows which one it is."""
    places: dict[str, list[str]] = defaultdict(list)
    for path in sorted(SOURCES.rglob("*.py")):
        if path.stem.endswith(("_pb2", "_pb2_grpc")):
            continue
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(str(path.relative_to(SOURCES)))
    assert {name: at for name, at in places.items() if len(at) > 1} == {}
