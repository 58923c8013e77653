"""What a person typed into a notebook's parameter cell, and how errors look there."""

import ast
import contextlib
import sys

PLAIN = (bool, int, float, str, list, dict, type(None))  # what a parameter may be; anything else is code's
JUPYTER = {"In", "Out"}  # IPython's own histories, a list and a dict


def parameters(namespace, known):
    """Name -> value of what is meant as a parameter: the `known` names, and plain values that may be a slip for one.

    A kernel keeps all names of earlier runs (a notebook's own, a slip since corrected). So in IPython only those count
    as slips that the parameter cell, as it last ran, and the cells between it and `params.collect_params` assign.
    """
    typed = _typed(namespace.get("In"))
    slips = {k for k, v in namespace.items() if not k.startswith("_") and k not in JUPYTER and isinstance(v, PLAIN)}
    slips = slips if typed is None else slips & typed
    return {k: v for k, v in namespace.items() if k in known or k in slips}


def _typed(cells):
    """Names that the last parameter cell and the cells from there to `collect` assign; None where there is no such cell."""
    names, reading = None, False
    for cell in cells or ():
        if cell.startswith("scale"):  # the parameter cell's first line
            names, reading = set(), True
        reading = reading and "params.collect_params(" not in cell
        if reading:
            names |= _assigned(cell)
    return names


def _assigned(cell):
    with contextlib.suppress(SyntaxError):
        return {n.id for n in ast.walk(ast.parse(cell)) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return set()


def plain_tracebacks():
    """In a notebook, two lines for each call that led to an error, instead of some of its code."""
    if (ipython := sys.modules.get("IPython")) and (shell := ipython.get_ipython()):
        shell.InteractiveTB.set_mode("Plain")
