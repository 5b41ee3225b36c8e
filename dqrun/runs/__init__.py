"""Rows, model files and run folders: the identity of a trial, and strict readers and writers of its files."""
