"""Strategies over live fits; they know no library."""
