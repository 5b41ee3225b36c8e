"""Results as a person reads them: progress of a command, tables, pictures, pages and published studies."""
