"""Archives that want to harm whoever reads them, each with the codes of the faults that it must end in, and one with all small sins at once.

Where they aim at a place, it is a canary beside the scratch folder, never a place of the system.
"""

import gzip
import io
import random
import tarfile
from collections.abc import Callable, Mapping
from functools import cache

from tests.unit.scenario_archives import SMALL, add, small, tar, tar_gz

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + level)}: &{chr(98 + level)} [{', '.join([f'*{chr(97 + level)}'] * 9)}]\n" for level in range(9)
)
SCHEMA = SMALL["graph_schema.yaml"]
ORDER = SMALL["data/entities/Order.csv"]
Member = tuple[str, bytes, dict[str, object]]


def with_members(*members: Member, dialect: int = tarfile.GNU_FORMAT) -> bytes:
    """The honest small scenario, and then these members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=dialect) as archive:
        for path, content in SMALL.items():
            add(archive, f"shop/{path}", content)
        for name, content, facts in members:
            add(archive, name, content, **facts)
    return gzip.compress(buffer.getvalue(), 1)


def link(kind: bytes, target: str = "../canary") -> bytes:
    return with_members(
        ("shop/way-out.csv", b"", {"type": kind, "linkname": target, "devmajor": 1, "devminor": 3}), ("shop/way-out.csv", b"evil", {})
    )


def lying(size: int) -> bytes:
    """The size of the first member is not what follows."""
    plain = bytearray(tar({f"shop/{path}": content for path, content in SMALL.items()}))
    plain[124:136] = f"{size:011o}\0".encode()
    plain[148:156] = b" " * 8
    plain[148:156] = f"{sum(plain[:512]):06o}\0 ".encode()
    return gzip.compress(bytes(plain))


def many(count: int) -> bytes:
    """So many empty files, made fast: one header, with another name and checksum each time."""
    header = bytearray(tar({"shop/m0000000.csv": b""})[:512])
    header[148:156] = b" " * 8
    blank = sum(header) - sum(header[:100])
    blocks: list[bytes] = []
    for number in range(count):
        header[:17] = f"shop/m{number:07}.csv".encode()
        header[148:156] = f"{sum(header[:100]) + blank:06o}\0 ".encode()
        blocks.append(bytes(header))
        header[148:156] = b" " * 8
    return gzip.compress(b"".join(blocks) + bytes(1024), 1)


def sins() -> bytes:
    """Everything that does not end the reading, at once."""
    return with_members(
        ("../canary", b"evil", {}),
        (ABSOLUTE, b"evil", {}),
        ("shop/a\\b.csv", b"evil", {}),
        ("shop/l.csv", b"", {"type": tarfile.SYMTYPE, "linkname": "../canary"}),
        ("shop/DATA/entities/Shop.csv", b"evil", {}),
        ("shop/scenario.yaml", b"name: other\n", {}),
    )


ABSOLUTE = "/tmp/treadle-canary-of-hostile-archives.csv"
QUOTED_CELL = 'OrderId,ShopId,Amount\nO1,S1,"' + "x\n" * 5_000_000 + '"\n'
BIG_CELL = f"OrderId,ShopId,Amount\nO1,S1,{'9' * 10_000_000}\n"

CORPUS: Mapping[str, tuple[Callable[[], bytes], set[str]]] = {
    "leads out": (lambda: with_members(("../canary", b"evil", {})), {"name_refused"}),
    "leads out from within": (lambda: with_members(("shop/x/../../../canary", b"evil", {})), {"name_refused"}),
    "is absolute": (lambda: with_members((ABSOLUTE, b"evil", {})), {"name_refused"}),
    "leads out by an extended header": (
        lambda: with_members(("x.csv", b"evil", {"pax_headers": {"path": "../canary"}}), dialect=tarfile.PAX_FORMAT),
        {"name_refused"},
    ),
    "symbolic link": (lambda: link(tarfile.SYMTYPE), {"kind_refused"}),
    "symbolic link to a folder": (
        lambda: with_members(("shop/out", b"", {"type": tarfile.SYMTYPE, "linkname": ".."}), ("shop/out/canary", b"evil", {})),
        {"kind_refused"},
    ),
    "hard link": (lambda: link(tarfile.LNKTYPE), {"kind_refused"}),
    "character device": (lambda: link(tarfile.CHRTYPE), {"kind_refused"}),
    "block device": (lambda: link(tarfile.BLKTYPE), {"kind_refused"}),
    "named pipe": (lambda: link(tarfile.FIFOTYPE), {"kind_refused"}),
    "sparse file": (lambda: with_members(("shop/s.csv", b"", {"type": tarfile.GNUTYPE_SPARSE})), {"kind_refused"}),
    "a name twice": (lambda: with_members(("shop/data/entities/Shop.csv", b"evil", {})), {"name_twice"}),
    "names that differ in case": (lambda: with_members(("shop/data/entities/SHOP.csv", b"evil", {})), {"names_collide"}),
    "names that differ in their accents' form": (
        lambda: with_members(("shop/\u00e9.csv", b"1", {}), ("shop/e\u0301.csv", b"2", {})),
        {"names_collide"},
    ),
    "a file where a folder is": (lambda: with_members(("shop/data", b"evil", {})), {"name_twice"}),
    "a line break in a name": (lambda: with_members(("shop/x\nscenario.yaml", b"evil", {})), {"name_refused"}),
    "a backslash in a name": (lambda: with_members(("shop\\..\\canary", b"evil", {})), {"name_refused"}),
    "a name that is no text": (lambda: with_members(("shop/\udcff\udcfe.csv", b"evil", {})), {"name_refused"}),
    "a hundred thousand members": (lambda: many(100_000), {"too_many_members"}),
    "200 KB for 200 MB": (lambda: tar_gz({"shop/a.csv": bytes(200_000_000)}), {"ratio_too_high"}),
    "200 MB of a table that is one": (
        lambda: tar_gz({**{f"shop/{path}": content for path, content in SMALL.items()}, "shop/b.csv": b"a,b\n1,2\n" * 25_000_000}),
        {"ratio_too_high"},
    ),
    "cut off in the middle": (lambda: small()[:-300], {"archive_cut_off"}),
    "cut off at the end": (lambda: small()[:-1], {"archive_cut_off"}),
    "a size that lies upwards": (lambda: lying(1_000_000_000), {"archive_cut_off"}),
    "a size that lies into the next member": (lambda: lying(513), {"tar_damaged"}),
    "a size that lies downwards": (lambda: lying(3), {"schema_invalid"}),  # of the manifest: what is left of it is no manifest
    "something behind the archive": (lambda: gzip.compress(tar({"shop/scenario.yaml": SMALL["scenario.yaml"]}) + b"evil"), {"tar_damaged"}),
    "noise": (lambda: b"\x1f\x8b\x08\0\0\0\0\0\0\3" + random.Random(5).randbytes(5_000), {"gzip_damaged"}),
    "a ZIP": (lambda: b"PK\3\4" + bytes(500), {"not_gzip"}),
    "nothing": (lambda: b"", {"not_gzip"}),
    "aliases of aliases": (lambda: small(graph_schema_yaml=LAUGHS + SCHEMA), {"yaml_refused"}),
    "aliases of aliases in the manifest": (lambda: small(scenario_yaml=LAUGHS), {"yaml_refused"}),
    "an alias of itself": (lambda: small(graph_schema_yaml="vertices: &v [*v]\n"), {"yaml_refused"}),
    "a deep nest": (lambda: small(graph_schema_yaml="vertices: " + "[" * 5_000 + "]" * 5_000), {"yaml_refused"}),
    "a tag that runs code": (
        lambda: small(graph_schema_yaml=f'vertices: !!python/object/apply:os.system ["touch canary"]\n{SCHEMA}'),
        {"yaml_refused"},
    ),
    "a tag in a key": (lambda: small(scenario_yaml="!!python/name:os.system name: shop\n"), {"yaml_refused"}),
    "a manifest of 10 MB": (lambda: small(scenario_yaml="name: shop\n# " + "x" * 10_000_000), {"member_too_large"}),
    "a schema that leads out": (
        lambda: small(graph_schema_yaml=SCHEMA.replace("csv_file: Shop.csv", "csv_file: ../../canary.csv")),
        {"schema_invalid"},
    ),
    "a data folder that leads out": (lambda: small(graph_schema_yaml=SCHEMA.replace("data/entities", "../..")), {"schema_invalid"}),
    "a schema file that leads out": (
        lambda: small(scenario_yaml="name: shop\ndata_sources: {graph: {schema_file: ../canary}}\n"),
        {"schema_invalid"},
    ),
    "a name of the scenario that leads out": (lambda: small(scenario_yaml="name: ../../canary\n"), {"schema_invalid"}),
    "a wrong delimiter": (lambda: small(Order_csv=ORDER.replace(",", ";")), {"csv_delimiter"}),
    "tabs": (lambda: small(Order_csv=ORDER.replace(",", "\t")), {"csv_delimiter"}),
    "ragged rows": (lambda: small(Order_csv=ORDER + "O4\nO5,S1,1,2,3\n"), {"csv_ragged"}),
    "ragged rows with quotes": (lambda: small(Order_csv=ORDER + '"O4"\n"O5",S1,1,"2"\n'), {"csv_ragged"}),
    "a cell of 10 MB": (lambda: small(Order_csv=BIG_CELL), {"csv_unreadable"}),
    "a quoted cell of 10 MB": (lambda: small(Order_csv=QUOTED_CELL), {"csv_unreadable"}),
    "a quote that never ends": (lambda: small(Order_csv=ORDER + 'O4,S1,"' + "1,2\n" * 200_000), {"csv_unreadable"}),
    "a NUL": (lambda: small(Order_csv=ORDER.encode() + b"O4,S1,\0\n"), {"csv_unreadable"}),
    "UTF-16": (lambda: small(Order_csv=ORDER.encode("utf-16")), {"csv_unreadable"}),
    "ten thousand columns": (
        lambda: small(Order_csv=ORDER.replace("Amount", "Amount," + ",".join(f"c{n}" for n in range(10_000)))),
        {"csv_header"},
    ),
    "columns that no table takes": (lambda: small(Order_csv=ORDER.replace("Amount", "Amo`unt;")), {"column_name_refused"}),
    "all small sins at once": (sins, {"name_refused", "kind_refused", "names_collide", "name_twice"}),
}
HONEST: Mapping[str, Callable[[], bytes]] = {
    "as it should be": small,
    "with a byte order mark": lambda: small(Order_csv=b"\xef\xbb\xbf" + ORDER.encode()),
    "with lines that end as on Windows": lambda: small(Order_csv=ORDER.replace("\n", "\r\n")),
    "with what file managers leave": lambda: with_members(("__MACOSX/shop/._scenario.yaml", b"\0", {}), ("shop/.DS_Store", b"\0", {})),
}


@cache
def archive_of(name: str) -> bytes:
    """One of the corpus, made once."""
    return HONEST[name]() if name in HONEST else CORPUS[name][0]()
