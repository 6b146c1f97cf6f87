"""What is wrong with a query, as a GQL status. Source: "GQL status codes reference" of the Fabric documentation."""

from typing import Final, NamedTuple

SYNTAX: Final = "42001"
ACCESS: Final = "42000"
DATA: Final = "22000"
GRAPH_TYPE: Final = "G2000"


class Place(NamedTuple):
    """Line and column of a query, both from 1."""

    line: int
    column: int


class GqlFault(Exception):
    """A query that is refused or fails. place: None where no place of the query's text is to blame."""

    def __init__(self, code: str, words: str, place: Place | None = None) -> None:
        super().__init__(words)
        self.code, self.words, self.place = code, words, place
