"""Archives for the tests of the scenario flow: of a small scenario, of the real one, and of bytes that no honest program writes."""

import gzip
import io
import json
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TELCO = Path(__file__).parents[2] / "samples" / "scenarios" / "telco-noc"

MANIFEST = "name: shop\ndisplay_name: A shop\n"
SCHEMA = """
data_dir: data/entities
vertices:
  - label: Shop
    csv_file: Shop.csv
    id_column: ShopId
    properties: [City]
  - label: Order
    csv_file: Order.csv
    id_column: OrderId
    properties: [Amount]
    property_types: {Amount: Double}
edges:
  - label: placed_at
    csv_file: Order.csv
    source: {label: Order, property: OrderId, column: OrderId}
    target: {label: Shop, property: ShopId, column: ShopId}
"""
SMALL: Mapping[str, str] = {
    "scenario.yaml": MANIFEST,
    "graph_schema.yaml": SCHEMA,
    "data/entities/Shop.csv": "ShopId,City\nS1,Sydney\nS2,Perth\n",
    "data/entities/Order.csv": "OrderId,ShopId,Amount\nO1,S1,1.50\nO2,S2,2\nO3,,3\n",
}


def tar_gz(files: Mapping[str, str | bytes]) -> bytes:
    """An archive with these files."""
    return gzip.compress(tar(files))


def tar(files: Mapping[str, str | bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            add(archive, name, content)
    return buffer.getvalue()


def add(archive: tarfile.TarFile, name: str, content: str | bytes = b"", **facts: object) -> None:
    """A member, honest or not: `facts` are fields of its header."""
    payload = content.encode() if isinstance(content, str) else content
    member = tarfile.TarInfo(name)
    member.size = len(payload)
    for field, value in facts.items():
        setattr(member, field, value)
    archive.addfile(member, io.BytesIO(payload))


def small(**changed: str | bytes | None) -> bytes:
    """The small scenario with some files replaced; None leaves one out. Names are without folders, with _ for the dot."""
    files: dict[str, str | bytes] = {}
    for path, content in SMALL.items():
        new = changed.get(path.rpartition("/")[2].replace(".", "_"), content)
        if new is not None:
            files[path] = new
    return tar_gz({f"shop/{path}": content for path, content in files.items()})


def telco(*folders: str) -> bytes:
    """The real scenario, with the folders of data that are named, in a root folder."""
    paths = [TELCO / "scenario.yaml", *([TELCO / "graph_schema.yaml"] if "entities" in folders else [])]
    paths += [path for folder in folders for path in sorted((TELCO / "data" / folder).glob("*.csv"))]
    return tar_gz({f"telco-noc/{path.relative_to(TELCO)}": path.read_bytes() for path in paths})


def same_as_snapshot(name: str, found: Any) -> None:
    """Compare with what was looked at and kept. Set UPDATE_SNAPSHOTS=1 to keep the new state, and look at the difference before committing it."""
    kept = Path(__file__).parent / "snapshots" / name
    text = json.dumps(found, ensure_ascii=False, indent=1) + "\n"
    if os.environ.get("UPDATE_SNAPSHOTS"):
        kept.parent.mkdir(exist_ok=True)
        kept.write_text(text)
    assert text == kept.read_text()
