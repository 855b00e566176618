"""A network as native steps on zero-padded planes: layout, steps, programs, and their choice."""
