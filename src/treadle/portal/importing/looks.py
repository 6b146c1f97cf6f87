"""How something is said of a file: with an icon, a word and a colour. Pure."""

from dataclasses import dataclass
from typing import Final, Literal

Colour = Literal["red", "orange", "blue", "green", "gray"]


@dataclass(frozen=True, slots=True)
class Told:
    """Something that is said with an icon, a word and a colour, never with the colour alone."""

    icon: str
    word: str
    colour: Colour
    sentence: str = ""


ERROR: Final = Told(":material/error:", "Error", "red")
WARNING: Final = Told(":material/warning:", "Warning", "orange")
NOTE: Final = Told(":material/info:", "Note", "blue")
PASSED: Final = Told(":material/check_circle:", "Passed", "green")
LOOKS: Final = (ERROR, WARNING, NOTE, PASSED)
