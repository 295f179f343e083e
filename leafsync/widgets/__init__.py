"""Widgets that more than one screen uses, or that are too much for one."""
