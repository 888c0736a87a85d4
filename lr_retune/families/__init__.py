"""Kinds of models: each library at home in one module."""
