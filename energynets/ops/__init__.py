"""Array in, array out: shifts, windows and colour; nothing here knows an energy."""
