"""Tables of boxes: the one reader of the three in `data/`, and a guard against one that is wrong as a whole."""
