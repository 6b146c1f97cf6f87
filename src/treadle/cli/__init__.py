"""The command line of Treadle."""


def main() -> None:
    """Run the command line."""
    print("treadle")  # noqa: T201
