"""Presentation of results: progress of a command, tables, pictures, pages and published studies."""
