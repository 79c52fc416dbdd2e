"""Clocks: a callable, networks side by side, operators against their portable versions."""
