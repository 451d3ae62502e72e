"""How each vendor delivers: names, headers, codes, matrix sizes, and the traps in them."""
