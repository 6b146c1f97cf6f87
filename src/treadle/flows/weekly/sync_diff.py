"""Two sides of a sync past each other, in bounded memory: mapped metrics against acknowledged rows, first by hash, then field by field. Pure but for its files."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from treadle.errors import InvalidInput
from treadle.flows.weekly.field_text import as_text, typed
from treadle.flows.weekly.key_folding import fold_keys, folded
from treadle.flows.weekly.row_hash import HASH_COLUMNS, row_hashes
from treadle.flows.weekly.seals import SEAL_COLUMNS, Numbers, Seals
from treadle.flows.weekly.sync_fields import (
    Describe,
    FieldProblem,
    FieldRule,
    NullPolicy,
    SyncMapping,
    action_problems,
    any_fails,
    find_problems,
    mapped,
    row_checks,
)

arrow: Final[Any] = pa  # their types are unknown to the checker
parquet: Final[Any] = pq
CREATE, UPDATE, BLOCKED = "create", "update", "blocked"
_BATCH_ROWS: Final = 65_536
_COMPARED_ROWS: Final = 500_000  # candidates that are looked up in the acknowledged rows at a time
_OFFENDERS: Final = 20
_THREADS: Final = 3  # on two cores: reading a file ahead leaves gaps
_NO_KEYS: Final = pl.DataFrame(schema={"hash": pl.UInt64, "null": pl.Boolean})
_PROBLEM = pl.Struct({"rule": pl.String, "field": pl.String, "value": pl.String, "reason": pl.String})
_CHANGE = pl.Struct({"field": pl.String, "old": pl.String, "new": pl.String})


def after_column(rule: FieldRule) -> str:
    """The column of the plan that says what a record's field holds once the row is acknowledged."""
    return rule.target if rule.null_policy is NullPolicy.CLEAR else f"after.{rule.target}"


class Diff:
    """The two sides of one comparison, and the steps of it. Memory: 12 bytes for each acknowledged row, the keys that collide, and some batches."""

    def __init__(self, mapping: SyncMapping, describe: Describe, today: Path, known: Path, scratch: Path) -> None:
        self.mapping, self._today, self._known = mapping, today, known
        self._candidates = scratch / "candidates.parquet"
        self._collisions: pl.DataFrame | None = None
        self._colliding: Seals | None = None
        source = pl.read_parquet_schema(today)
        self._columns = [mapped(rule, describe.fields[rule.target], source[rule.source]) for rule in mapping.rules]
        key = mapping.external_id
        self._key = pl.col(key.source).alias(key.target)
        self.schema = pl.LazyFrame(schema=source).select(self._key, *self._columns).collect_schema()
        self._checks = row_checks(mapping, describe, self.schema)
        self._barred = {action: action_problems(mapping, describe, creating=action == CREATE) for action in (CREATE, UPDATE)}
        self._folds_case = describe.folds_case(key.target)
        self._known_once = scratch / "known_once.parquet"
        self._folded_known = False  # whether folding changes any of the acknowledged keys that were read so far
        self.known_candidates = 0  # of those that were compared so far, how many have an acknowledged row

    def require_unique_keys(self) -> int:
        """Refuse keys that are null or stand twice; return how many rows there are.

        Keys that differ, and that Salesforce would take for the same, are noted: `find_candidates` and `compare` block all of their rows.
        """
        name = self.mapping.external_id.source
        hashed = pl.concat([_NO_KEYS, *self._batches(self._hash_keys, self._today, (name,))])
        if nulls := int(hashed["null"].sum()):
            raise InvalidInput(
                f"{nulls:,} rows of the metrics have no {self.mapping.external_id.source}, by which Salesforce finds them.",
                hint="Nothing was sent. Look at the events of the week: a user without an id must be a reject.",
                details={"null_keys": nulls},
            )
        twice = _standing_twice(np.sort(hashed["hash"].to_numpy()))
        if len(twice):
            self._note_collisions(twice)
        return hashed.height

    def _hash_keys(self, rows: pl.DataFrame) -> pl.DataFrame:
        keys = rows.to_series()
        return pl.DataFrame({"hash": self._fold_column(keys).hash(), "null": keys.is_null()})

    def _note_collisions(self, hashes: pl.Series) -> None:
        """Equal hashes are looked at: equal keys are refused, keys of one group that differ are noted, each with another one of its group."""
        keys = pl.scan_parquet(self._today).select(key=pl.col(self.mapping.external_id.source))
        match = self._fold(pl.col("key"))
        suspects = keys.filter(match.hash().is_in(hashes.implode()))
        found = (
            suspects.group_by(folded=match)
            .agg(pl.col("key").sort())
            .filter(pl.col("key").list.len() > 1)
            .sort("folded")
            .collect(engine="streaming")
        )
        _refuse_equal_keys(found.filter(pl.col("key").list.n_unique() < pl.col("key").list.len())["key"])
        if found.is_empty():
            return
        self._colliding = Seals([found.select(self._key_seals(pl.col("folded")))], found.height)
        first, second = pl.col("key").list.get(0), pl.col("key").list.get(1)
        key = pl.col("key")
        self._collisions = (
            found.select("key", first=first, second=second)
            .explode("key")
            .select("key", collides_with=pl.when(key == pl.col("first")).then("second").otherwise("first"), leads=key == pl.col("first"))
        )

    def seal_known(self) -> Seals:
        """The seals of the acknowledged rows. Needs nothing that the other steps find, so it may run beside `require_unique_keys`.

        A seal is one number of a row's key and hash together: a row that is acknowledged as it is has its seal on the other side. Seals are made of
        Polars' own hashes of the keys, which need to be the same within this process only.
        """
        seals = self._sealed()
        if self._folded_known and len(twice := self._known_twice()) and self._hold_each_record_once(twice):
            seals = self._sealed()
        return seals

    def _sealed(self) -> Seals:
        return Seals(self._batches(self._seal_known, self._known, ("external_id", *HASH_COLUMNS)), _count(self._known))

    def _known_twice(self) -> pl.Series:
        """The hashes that several acknowledged keys have. Keys are there once as they are written: only folding can make two of them alike."""
        keys = pl.scan_parquet(self._known).select(self._fold(pl.col("external_id")).hash()).collect(engine="streaming")
        return _standing_twice(np.sort(keys.to_series().to_numpy()))

    @property
    def known_rows(self) -> int:
        """How many records have an acknowledged row, once `seal_known` is through."""
        return _count(self._known)

    def _hold_each_record_once(self, twice: pl.Series) -> bool:
        """Of acknowledged rows that Salesforce takes for one, nobody can tell which it holds: one is left, as if it held nothing, and so is written anew.

        twice: hashes that several keys have. Returns whether there are such rows.
        """
        key = self._fold(pl.col("external_id"))
        stored = pl.scan_parquet(self._known)
        suspects = stored.filter(key.hash().is_in(twice.implode())).select("external_id", match=key, created_by_us="created_by_us")
        groups = suspects.group_by("match").agg(pl.len(), pl.col("external_id").min(), pl.col("created_by_us").any())
        doubled = groups.filter(pl.col("len") > 1).collect(engine="streaming")
        if doubled.is_empty():
            return False
        told = {"external_id": pl.col("external_id"), "created_by_us": pl.col("created_by_us"), **dict.fromkeys(HASH_COLUMNS, pl.lit(0))}
        schema = stored.collect_schema()
        once = doubled.lazy().select(told.get(name, pl.lit(None)).cast(dtype).alias(name) for name, dtype in schema.items())
        others = stored.filter(~key.is_in(doubled["match"].implode()))
        pl.concat([others, once]).sink_parquet(self._known_once, engine="streaming")
        self._known = self._known_once
        return True

    def find_candidates(self, known: Seals) -> int:
        """Write the rows that are new, blocked, or whose hash differs, in the order of the metrics; return how many there are."""
        found = 0
        with parquet.ParquetWriter(self._candidates, as_arrow(self._map(self._empty_today())).schema, compression="lz4") as writer:
            for candidates in self._batches(partial(self._candidates_among, known), self._today, self._sources):
                found += candidates.height
                if candidates.height:
                    writer.write_table(as_arrow(candidates))
        return found

    def compare(self) -> Iterator[pl.DataFrame]:
        """The candidates as rows of the plan, in the order of the metrics; those that turn out to be the same are left out."""
        for rows in _even(pl.scan_parquet(self._candidates).collect_batches(chunk_size=_BATCH_ROWS, maintain_order=True), _COMPARED_ROWS):
            known = rows.with_columns(match=self._fold(pl.col(self.mapping.external_id.target))).join(
                self._stored_of(rows), on="match", how="left", maintain_order="left"
            )
            known = self._with_collisions(known)
            self.known_candidates += known.filter(pl.col("known") & pl.col("leads")).height
            for slice_ in known.iter_slices(_BATCH_ROWS):
                yield self._judge(slice_.with_columns(pl.col("known").fill_null(value=False)))

    def _with_collisions(self, rows: pl.DataFrame) -> pl.DataFrame:
        """collides_with: the key that a row's key collides with, or null. leads: whether the row stands for its group, which has one acknowledged row at most."""
        if self._collisions is None:
            return rows.with_columns(pl.lit(None, dtype=pl.String).alias("collides_with"), pl.lit(value=True).alias("leads"))
        key = self.mapping.external_id.target
        joined = rows.join(self._collisions, left_on=key, right_on="key", how="left", maintain_order="left")
        return joined.with_columns(pl.col("leads").fill_null(value=True))

    def _stored_of(self, rows: pl.DataFrame) -> pl.DataFrame:
        """What is acknowledged of these rows, found by the hash of the key and joined by the key itself."""
        stored = pl.scan_parquet(self._known)
        names = [name for name in self.mapping.fields if name in stored.collect_schema()]
        key = self._fold(pl.col("external_id"))
        wanted = rows.select(self._fold(pl.col(self.mapping.external_id.target)).hash()).to_series()
        found = stored.filter(key.hash().is_in(wanted.implode()))
        olds = [pl.col(name).alias(f"old.{name}") for name in names]
        return found.select(key.alias("match"), pl.lit(value=True).alias("known"), *olds).collect(engine="streaming")

    def _fold(self, key: pl.Expr) -> pl.Expr:
        """The key as Salesforce compares it."""
        return folded(key) if self._folds_case else key

    def _fold_column(self, keys: pl.Series) -> pl.Series:
        return fold_keys(keys) if self._folds_case else keys

    def _batches(self, prepare: Callable[[pl.DataFrame], pl.DataFrame], path: Path, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """A file's rows in their order, some at a time, prepared in threads a little ahead of who takes them."""
        read = pl.scan_parquet(path).select(list(dict.fromkeys(columns))).collect_batches(chunk_size=_BATCH_ROWS, maintain_order=True)
        waiting: deque[Future[pl.DataFrame]] = deque()
        with ThreadPoolExecutor(_THREADS, "map") as threads:
            for rows in read:
                waiting.append(threads.submit(prepare, rows))
                if len(waiting) > _THREADS:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _empty_today(self) -> pl.DataFrame:
        schema = pl.read_parquet_schema(self._today)
        return pl.DataFrame(schema={name: schema[name] for name in dict.fromkeys(self._sources)})

    @property
    def _sources(self) -> tuple[str, ...]:
        return (self.mapping.external_id.source, *(rule.source for rule in self.mapping.rules))

    def _map(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The fields, whether the row is blocked, the hash of the fields, and the seal."""
        fields = rows.select(self._key, *self._columns).with_columns(any_fails(self._checks).alias("blocked"))
        match = self._fold_column(fields[self.mapping.external_id.target]).alias("match").to_frame()
        if self._colliding is not None:
            collide = self._colliding.hold(match.select(self._key_seals(pl.col("match"))))
            fields = fields.with_columns((fields["blocked"] | collide).alias("blocked"))
        hashed = fields.hstack(row_hashes(fields.select(self.mapping.fields)))
        return hashed.hstack(match).with_columns(self._seals(pl.col("match"))).drop("match")

    def _candidates_among(self, known: Seals, rows: pl.DataFrame) -> pl.DataFrame:
        fields = self._map(rows)
        return fields.filter(~known.hold(fields) | fields["blocked"])

    def _seal_known(self, rows: pl.DataFrame) -> pl.DataFrame:
        keys = rows["external_id"]
        match = self._fold_column(keys)
        if match is not keys and (match != keys).any():
            self._folded_known = True
        return rows.with_columns(match.alias("match")).select(self._seals(pl.col("match")))

    def _seals(self, match: pl.Expr) -> list[pl.Expr]:
        """128 bits of the folded key and of the row's hash together, of which `Seals` keeps 96."""
        return [
            (match.hash(seed) ^ pl.col(name).reinterpret(signed=False)).alias(seal)
            for seed, (seal, name) in enumerate(zip(SEAL_COLUMNS, HASH_COLUMNS, strict=True))
        ]

    def _key_seals(self, match: pl.Expr) -> list[pl.Expr]:
        return [match.hash(seed).alias(seal) for seed, seal in enumerate(SEAL_COLUMNS)]

    def _judge(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Rows of the plan from candidates beside what is acknowledged of them."""
        stored = rows.columns
        rows = rows.with_columns(self._old(rule, stored) for rule in self.mapping.rules)
        after = [_after(rule).alias(f"after.{rule.target}") for rule in self.mapping.rules]
        rows = rows.with_columns(after).with_columns(_changed(rule).alias(f"changed.{rule.target}") for rule in self.mapping.rules)
        changed = pl.any_horizontal(pl.col(f"changed.{name}") for name in self.mapping.fields) & pl.col("known")
        action = pl.when("blocked").then(pl.lit(BLOCKED)).when(~pl.col("known")).then(pl.lit(CREATE)).when(changed).then(pl.lit(UPDATE))
        rows = rows.with_columns(action=action).filter(pl.col("action").is_not_null())
        rows = _with_changes(self._with_hashes(self._with_problems(rows)), self.mapping.fields)
        return self.plan_rows(rows.rename({self.mapping.external_id.target: "external_id"}))

    def _old(self, rule: FieldRule, stored: Sequence[str]) -> pl.Expr:
        """What the record holds as far as it was acknowledged; null for a field that the mapping had not then."""
        name = f"old.{rule.target}"
        return typed(pl.col(name), self.schema[rule.target]) if name in stored else pl.lit(None, dtype=self.schema[rule.target]).alias(name)

    def _with_problems(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Each blocked row's problems, and the rows that become blocked since their action is not allowed on a field."""
        barred = [action for action, problems in self._barred.items() if problems]
        rows = rows.with_columns(barred=pl.when(pl.col("action").is_in(barred)).then("action"))
        rows = rows.with_columns(action=pl.when(pl.col("barred").is_null()).then("action").otherwise(pl.lit(BLOCKED)))
        blocked = rows["action"] == BLOCKED
        if not blocked.any():
            return rows
        affected = rows.filter(blocked)
        found = find_problems(affected, self._checks)
        lists = [
            [asdict(problem) for problem in (*problems, *(self._barred[why] if why else ()), *self._collision(key, other))]
            for problems, why, key, other in zip(
                found, affected["barred"], affected[self.mapping.external_id.target], affected["collides_with"], strict=True
            )
        ]
        return _spread(rows, blocked, lists)

    def _collision(self, key: str, other: str | None) -> Sequence[FieldProblem]:
        if other is None:
            return ()
        would = "would" if key.lower() == other.lower() else "may"
        reason = f"Salesforce ignores the case of this field, and {would} take it for {other}, which is another row"
        return (FieldProblem("key_collides", self.mapping.external_id.target, key[:1000], reason[:1000]),)

    def _with_hashes(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The hash of what a record then holds; where every null is cleared, that is what was hashed before."""
        if all(rule.null_policy is NullPolicy.CLEAR for rule in self.mapping.rules):
            return rows
        held = rows.select(pl.col(f"after.{rule.target}").alias(rule.target) for rule in self.mapping.rules)
        return rows.drop(HASH_COLUMNS).hstack(row_hashes(held))

    def plan_rows(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The columns of a plan; a column that these rows have no use for is null."""
        others = [rule for rule in self.mapping.rules if rule.null_policy is not NullPolicy.CLEAR]
        sends = {rule.target: _sent(rule) for rule in others}
        columns = rows.columns
        plain = {name: sends.get(name, pl.col(name)) if name in columns else pl.lit(None) for name in self.mapping.fields}
        wide = {f"after.{rule.target}": self.schema[rule.target] for rule in others}
        return rows.select(
            "action",
            "external_id",
            *(expression.cast(self.schema[name]).alias(name) for name, expression in plain.items()),
            *((pl.col(name) if name in columns else pl.lit(None, dtype=dtype)).alias(name) for name, dtype in wide.items()),
            *((pl.col(name) if name in columns else pl.lit(None, dtype=pl.Int64)).alias(name) for name in HASH_COLUMNS),
            (pl.col("changes") if "changes" in columns else pl.lit(None, dtype=pl.List(_CHANGE))).alias("changes"),
            (pl.col("problems") if "problems" in columns else pl.lit(None, dtype=pl.List(_PROBLEM))).alias("problems"),
        )


def _standing_twice(in_order: Numbers) -> pl.Series:
    """Those of some hashes, smallest first, that stand there several times."""
    return pl.Series(np.unique(in_order[1:][in_order[1:] == in_order[:-1]]), dtype=pl.UInt64)


def _refuse_equal_keys(groups: pl.Series) -> None:
    """groups: of each key that stands for several rows, all that Salesforce takes for it."""
    if groups.is_empty():
        return
    offenders: list[list[str]] = groups.head(_OFFENDERS).to_list()
    examples = "; ".join(" = ".join(group[:3]) for group in offenders[:3])
    raise InvalidInput(
        f"{len(groups):,} keys of the metrics stand for several rows, such as {examples}.",
        hint="Nothing was sent. Salesforce would match them to one record.",
        details={"colliding_keys": offenders},
    )


def _after(rule: FieldRule) -> pl.Expr:
    new, old = pl.col(rule.target), pl.col(f"old.{rule.target}")
    match rule.null_policy:
        case NullPolicy.CLEAR:
            return new
        case NullPolicy.LEAVE:
            return pl.coalesce(new, old)
        case NullPolicy.FILL_IF_EMPTY:
            return pl.coalesce(old, new)


def _changed(rule: FieldRule) -> pl.Expr:
    return pl.col(f"after.{rule.target}").ne_missing(pl.col(f"old.{rule.target}"))


def _sent(rule: FieldRule) -> pl.Expr:
    """Null where nothing is to be said: our null, or a field that has a value already and is only to be filled."""
    new = pl.col(rule.target)
    return pl.when(pl.col(f"old.{rule.target}").is_null()).then(new) if rule.null_policy is NullPolicy.FILL_IF_EMPTY else new


def _with_changes(rows: pl.DataFrame, fields: Sequence[str]) -> pl.DataFrame:
    """Old and new of the fields that an update changes, as the column `changes`; null for other rows."""
    rows = rows.with_row_index("place")
    updates = rows.filter(pl.col("action") == UPDATE)
    cells = [
        updates.filter(pl.col(f"changed.{name}")).select(
            "place", field=pl.lit(name), old=as_text(pl.col(f"old.{name}")), new=as_text(pl.col(f"after.{name}"))
        )
        for name in fields
    ]
    changes = (
        pl.concat(cells)
        .sort("place", maintain_order=True)
        .group_by("place", maintain_order=True)
        .agg(changes=pl.struct("field", "old", "new"))
    )
    return (
        rows.join(changes, on="place", how="left", maintain_order="left")
        .drop("place")
        .with_columns(pl.col("changes").cast(pl.List(_CHANGE)))
    )


def _spread(rows: pl.DataFrame, chosen: pl.Series, lists: Sequence[Any]) -> pl.DataFrame:
    """The lists as the column `problems` of the chosen rows; null for the others."""
    places = pl.DataFrame({"place": chosen.arg_true(), "problems": pl.Series(lists, dtype=pl.List(_PROBLEM))})
    return rows.with_row_index("place").join(places, on="place", how="left", maintain_order="left").drop("place")


def _count(path: Path) -> int:
    return parquet.read_metadata(path).num_rows


def _even(batches: Iterable[pl.DataFrame], rows: int) -> Iterator[pl.DataFrame]:
    """The same rows in their order, at least so many at a time."""
    held: list[pl.DataFrame] = []
    for batch in batches:
        held.append(batch)
        if sum(one.height for one in held) >= rows:
            yield pl.concat(held)
            held = []
    if held:
        yield pl.concat(held)


def as_arrow(frame: pl.DataFrame) -> Any:
    """As Arrow types that DuckDB and Parquet writers of every age read."""
    any_frame: Any = frame
    return any_frame.to_arrow(compat_level=pl.CompatLevel.oldest())
