"""One command a file, each a click command named `command`; the table is in `toolkit.cli`."""
