"""The command `webtext`, a module for each kind of task; and which of its words are a stage, and which are for Beam."""

from pipeline.cli.options import stage_and_options

__all__ = ["stage_and_options"]
