"""The clouds that Treadle talks to, on your own machine. Imports nothing else of Treadle, or one bug would cancel out."""
