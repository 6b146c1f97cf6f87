"""Treadle: run data operations on Microsoft Fabric safely, with a paper trail."""

from importlib.metadata import version

__version__ = version("treadle")
