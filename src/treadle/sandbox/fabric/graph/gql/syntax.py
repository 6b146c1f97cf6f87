"""The parts of a query, as they were written. Places say where; they do not count when two expressions are compared."""

from dataclasses import dataclass, field
from typing import Literal as OneOf

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


@dataclass(frozen=True, slots=True)
class Case:
    """`CASE WHEN wanted THEN value … ELSE otherwise END`; with a subject, `CASE subject WHEN value, value THEN value …`."""

    subject: "Expression | None"
    branches: "tuple[tuple[tuple[Expression, ...], Expression], ...]"
    otherwise: "Expression | None"
    place: Place = field(compare=False)

    @property
    def results(self) -> "tuple[Expression, ...]":
        """What it can come to, in order."""
        return (*(result for _, result in self.branches), *([] if self.otherwise is None else [self.otherwise]))


@dataclass(frozen=True, slots=True)
class Exists:
    """`EXISTS { patterns WHERE predicate }`."""

    match: "Match"
    place: Place = field(compare=False)


Expression = Literal | Variable | PropertyOf | Index | ListOf | Call | Unary | Binary | Case | Exists


def parts(expression: Expression) -> tuple[Expression, ...]:  # noqa: PLR0911 - one for each kind of expression
    """The expressions that an expression is made of; what stands inside EXISTS is a world of its own."""
    match expression:
        case Call():
            return expression.arguments
        case PropertyOf():
            return (expression.target,)
        case Index():
            return expression.target, expression.index
        case ListOf():
            return expression.items
        case Unary():
            return (expression.operand,)
        case Binary():
            return expression.left, expression.right
        case Case():
            subject = [] if expression.subject is None else [expression.subject]
            return (*subject, *(one for wanted, _ in expression.branches for one in wanted), *expression.results)
        case Literal() | Variable() | Exists():
            return ()


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


# What must not come twice in a path: nothing, an edge, a node – or a node other than the first as the last.
PathMode = OneOf["WALK", "TRAIL", "ACYCLIC", "SIMPLE"]


@dataclass(frozen=True, slots=True)
class PathPattern:
    """A path: nodes[0] edges[0] nodes[1] … ."""

    variable: str | None
    mode: PathMode
    nodes: tuple[Filler, ...]
    edges: tuple[EdgePattern, ...]
    place: Place = field(compare=False)


# Statements


@dataclass(frozen=True, slots=True)
class Match:
    """MATCH patterns WHERE predicate. optional: a row for which there is nothing is kept, with nulls."""

    paths: tuple[PathPattern, ...]
    where: Expression | None
    optional: bool = False


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
