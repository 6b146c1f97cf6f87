"""The parts of a query, as they were written. Places say where; they do not count when two expressions are compared."""

from dataclasses import dataclass, field

from treadle.sandbox.fabric.graph.gql.faults import Place

# Expressions


@dataclass(frozen=True, slots=True)
class Literal:
    """Text, a number, a boolean, or null."""

    value: str | int | float | bool | None
    place: Place = field(compare=False)


@dataclass(frozen=True, slots=True)
class Variable:
    """A name that was bound before."""

    name: str
    place: Place = field(compare=False)


@dataclass(frozen=True, slots=True)
class PropertyOf:
    """`variable.property`."""

    target: "Expression"
    name: str
    place: Place = field(compare=False)


@dataclass(frozen=True, slots=True)
class Index:
    """`list[index]`, from 0."""

    target: "Expression"
    index: "Expression"
    place: Place = field(compare=False)


@dataclass(frozen=True, slots=True)
class ListOf:
    """`[a, b]`."""

    items: "tuple[Expression, ...]"
    place: Place = field(compare=False)


@dataclass(frozen=True, slots=True)
class Call:
    """`name(arguments)`; star: `count(*)`. The name is in lower case."""

    name: str
    arguments: "tuple[Expression, ...]"
    distinct: bool
    star: bool
    place: Place = field(compare=False)


@dataclass(frozen=True, slots=True)
class Unary:
    """`-x`, `NOT x`, `x IS NULL`, `x IS NOT NULL`."""

    operator: str
    operand: "Expression"
    place: Place = field(compare=False)


@dataclass(frozen=True, slots=True)
class Binary:
    """`left operator right`; operators of words in upper case."""

    operator: str
    left: "Expression"
    right: "Expression"
    place: Place = field(compare=False)


Expression = Literal | Variable | PropertyOf | Index | ListOf | Call | Unary | Binary

# Patterns


@dataclass(frozen=True, slots=True)
class LabelName:
    """A label."""

    name: str
    place: Place = field(compare=False)


@dataclass(frozen=True, slots=True)
class LabelNot:
    """`!A`."""

    operand: "LabelExpression"


@dataclass(frozen=True, slots=True)
class LabelBoth:
    """`A&B`."""

    left: "LabelExpression"
    right: "LabelExpression"


@dataclass(frozen=True, slots=True)
class LabelEither:
    """`A|B`."""

    left: "LabelExpression"
    right: "LabelExpression"


LabelExpression = LabelName | LabelNot | LabelBoth | LabelEither


@dataclass(frozen=True, slots=True)
class Filler:
    """What stands inside ( ) or [ ]: a name, labels, wanted values of properties, a predicate."""

    variable: str | None
    label: LabelExpression | None
    properties: tuple[tuple[str, Expression], ...]
    where: Expression | None
    place: Place = field(compare=False)


@dataclass(frozen=True, slots=True)
class EdgePattern:
    """An edge. direction: "right" ->, "left" <-, "any" -. hops: (least, most) of a quantified edge, else None."""

    filler: Filler
    direction: str
    hops: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class PathPattern:
    """nodes[0] edges[0] nodes[1] …; trail: no edge twice."""

    variable: str | None
    trail: bool
    nodes: tuple[Filler, ...]
    edges: tuple[EdgePattern, ...]
    place: Place = field(compare=False)


# Statements


@dataclass(frozen=True, slots=True)
class Match:
    """MATCH patterns WHERE predicate."""

    paths: tuple[PathPattern, ...]
    where: Expression | None


@dataclass(frozen=True, slots=True)
class Let:
    """LET, each with name, expression and place."""

    assignments: tuple[tuple[str, Expression, Place], ...]


@dataclass(frozen=True, slots=True)
class Filter:
    """FILTER predicate."""

    where: Expression


@dataclass(frozen=True, slots=True)
class SortKey:
    """One key of ORDER BY."""

    expression: Expression
    falling: bool


@dataclass(frozen=True, slots=True)
class Order:
    """ORDER BY … OFFSET … LIMIT …, each optional, in this order."""

    keys: tuple[SortKey, ...]
    offset: int | None
    limit: int | None


@dataclass(frozen=True, slots=True)
class Item:
    """One column of RETURN: `expression AS alias`; text is the expression as written, which names the column when there is no alias."""

    expression: Expression
    alias: str | None
    text: str

    @property
    def name(self) -> str:
        """What the column is called."""
        return self.alias or self.text


@dataclass(frozen=True, slots=True)
class Return:
    """RETURN; no items means `*`. group_by: names, None without GROUP BY."""

    items: tuple[Item, ...]
    distinct: bool
    group_by: tuple[tuple[str, Place], ...] | None
    order: Order
    place: Place = field(compare=False)


Statement = Match | Let | Filter | Order


@dataclass(frozen=True, slots=True)
class Query:
    """Statements one after the other, and what is returned."""

    statements: tuple[Statement, ...]
    result: Return
