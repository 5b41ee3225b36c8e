"""Rows, model files and run folders: what identifies a trial, and strict readers and writers of its files."""
