"""Reading: a file that a person made, in any of the formats, becomes a cleaned table. `read.py` tells it from the top."""
