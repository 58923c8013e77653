"""Parameters: one frozen dataclass per notebook, checked before anything expensive starts.

A run's parameters are layered: the notebook's defaults, then a scale, then a recipe, then `-p name value`.
Names are flat, so one scale file serves every notebook; each notebook takes the names it declares and
`collect_params` refuses names that no notebook knows.
"""

import difflib
import math
import os
import reprlib
from dataclasses import asdict, fields
from pathlib import Path
from types import SimpleNamespace

import yaml

from blossom.common import cell, paths
from blossom.common.stages import MODEL_STAGES, STAGES, Forecast

RECIPE_KEYS = ("parent", "stages")  # read from a recipe's file, never by a notebook

KNOWN = {f.name for cls in (*STAGES.values(), Forecast) for f in fields(cls)} | set(RECIPE_KEYS)
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 60


class ParameterError(ValueError):
    """A parameter that cannot be. A notebook shows the one line that says so: the mistake is in no code."""

    def _render_traceback_(self):  # IPython asks for it
        return [f"ValueError: {self}"]


def collect_params(cls, namespace):
    """The notebook's parameters, checked: `p = params.collect_params(stages.VocabMerge, globals())`.

    cls        a dataclass of this module
    namespace  dict of names; plain values that no notebook knows are refused, in IPython those of the parameter cell
    return     an instance of `cls`

    Raises ParameterError, a ValueError: an unknown name (with the nearest known one), a wrong type, a value out of range.
    """
    cell.plain_tracebacks()
    given = cell.parameters(namespace, {f.name for f in fields(cls)})
    try:
        check_names(given)
        p = build_params(cls, given)
    except ValueError as error:
        raise ParameterError(str(error)) from None
    if (note := _not_taken(p)) and "BLOSSOM_BATCH" not in os.environ:
        print(note)
    return p


def _not_taken(p):
    """A note for who types another scale or recipe into a notebook: what their files say and this run does not do."""
    usual = type(p)()
    if (p.scale, p.recipe) == (usual.scale, usual.recipe):
        return ""
    try:
        files = read_layers(p.scale, p.recipe)
    except ValueError as error:
        return f"note: {error}"
    mine, usual = asdict(p), asdict(usual)
    left = [n for n, v in files.items() if n in mine and n not in ("scale", "recipe") and mine[n] == usual[n] != v]
    if not left:
        return ""
    return (
        f"note: in a notebook, scale and recipe only name the run. Their files have other values for {', '.join(left)}. "
        "To take these, add below the parameters:\n"
        "  from blossom.common import params; globals().update(params.read_layers(scale, recipe))"
    )


def check_names(names, where="parameters"):
    """Raise ValueError for names that no notebook takes, each with the nearest known name."""
    for name in names:
        if name not in KNOWN:
            near = difflib.get_close_matches(str(name), KNOWN, 1, 0.6)
            raise ValueError(f"{where}: no parameter is called '{name}'" + (f"; did you mean '{near[0]}'?" if near else ""))


def build_params(cls, values):
    """An instance of `cls` from a dict, of which it takes its own names; ValueError names the parameter that is wrong."""
    checked = {f.name: _checked(f, values[f.name]) for f in fields(cls) if f.name in values}
    return cls(**checked)


def _checked(f, value):
    """`value` if it fits field `f`, with an int taken for a float; else ValueError."""
    rules, shown = f.metadata, shorten(value)
    if f.type is float and type(value) is int and abs(value) < 1 << 53:  # beyond, a float is another number
        value = float(value)
    if type(value) is not f.type:
        hint = ""
        if isinstance(value, str) and f.type in (int, float) and _is_number(value):
            hint = f" (YAML reads {value} as text: write {float(value):.1e} or a plain number)"
            hint = hint if f.type is float else " (a number in quotation marks is text: leave them out)"
        if f.type is list and isinstance(value, str):
            hint = f" (write [{shown}])"
        raise ValueError(f"{f.name}: expected {f.type.__name__}, found {type(value).__name__} {shown}{hint}")
    if f.type is float and not math.isfinite(value):
        raise ValueError(f"{f.name}: expected a finite number, found {shown}")
    if f.type is int and abs(value) >= 1 << 63:
        raise ValueError(f"{f.name}: expected a number of at most 64 bits, found {shown}")
    low, high, choices = rules["low"], rules["high"], rules["choices"]
    if low is not None and value < low or high is not None and value > high:
        raise ValueError(f"{f.name}: expected {_range(low, high)}, found {shown}")
    if choices and value not in choices:
        raise ValueError(f"{f.name}: expected one of {', '.join(choices)}, found {shown}")
    if f.type is list and not all(isinstance(v, str) and v for v in value):
        raise ValueError(f"{f.name}: expected a list of words, found {shown}")
    if not _is_text(value):
        raise ValueError(f"{f.name}: expected text, found half a character in {shown}")
    if f.type is dict:
        return {name: _weight(f.name, name, weight) for name, weight in value.items()}
    return value


def _weight(parameter, name, weight):
    number = type(weight) in (int, float) and 0 <= weight < 1 << 53
    if not (isinstance(name, str) and name and number):
        found = f"{shorten(name)}: {shorten(weight)}"
        raise ValueError(f"{parameter}: expected 'name: number' with numbers from 0 up, found {found}")
    return float(weight)


def shorten(value):
    """A value as a message shows it: never longer than a line or two, whatever a file holds."""
    try:
        return _REPR.repr(value)
    except ValueError:  # Python writes out no number of more than 4,300 digits
        return "a number of thousands of digits"


def _is_text(value):
    """Can every string in it be written as UTF-8? A lone half of a character ("\\ud800" in YAML) cannot."""
    return all(not isinstance(v, str) or v.isascii() or v.encode("utf-8", "ignore").decode() == v for v in _within(value))


def _within(value):
    return value if isinstance(value, list | dict) else [value]


def _is_number(text):
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _range(low, high):
    if high is None:
        return f"at least {low}"
    return f"at most {high}" if low is None else f"{low} to {high}"


class _UniqueKeys(yaml.SafeLoader):
    """The safe loader, refusing a name given twice (YAML would silently keep the last)."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            name = str(key.value)
            if name in seen:
                raise ValueError(f"'{name:.60}' is given twice (line {key.start_mark.line + 1})")
            seen.add(name)
        return super().construct_mapping(node, deep)


def load_yaml(path):
    """The `name: value` lines of a YAML file, as a dict; ValueError names the file and what is wrong with it."""
    try:
        with open(path, encoding="utf-8") as stream:
            values = yaml.load(stream, Loader=_UniqueKeys)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such parameter file{_neighbours(path)}") from None
    except OSError as error:
        raise ValueError(f"{path}: not a readable file: {error.strerror}") from None
    except RecursionError:
        raise ValueError(f"{path}: not a readable YAML file: nested too deep") from None
    except Exception as error:  # YAMLError, UnicodeDecodeError, and what PyYAML lets through: KeyError for "!!bool x"
        raise ValueError(f"{path}: not a readable YAML file: {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path}: expected 'name: value' lines, found {type(values).__name__}")
    return values


def read_params(path):
    """The parameters in one YAML file, as a dict with known names; ValueError names the file."""
    values = load_yaml(path)
    check_names(values, where=str(path))
    return values


def parse_overrides(words, where="parameters"):
    """A call's own parameters, above all files, checked for every notebook that takes them.

    words   dict name -> value, or its text as a command line has it: {"new_tokens": "64"} -> {"new_tokens": 64}
    Raises ValueError, starting with `where`: no such name, a value that one of its notebooks cannot take.
    """
    if not isinstance(words, dict):
        raise ValueError(f"{where}: expected {{name: value, ...}}, found {shorten(words)}")
    check_names(words, where)
    values = {}
    for name, word in words.items():
        try:
            values[name] = yaml.safe_load(word) if isinstance(word, str) else word
        except Exception:  # as in `read_params`
            raise ValueError(f"{where}: {name}: not a readable value: {shorten(word)}") from None
    try:
        for cls in (*STAGES.values(), Forecast):
            build_params(cls, values)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    return values


def _neighbours(path):
    """ "; there are: a, b" for a missing file whose folder has others."""
    names = sorted(f.stem for f in Path(path).parent.glob("*.yaml"))
    return f"; there are: {', '.join(names)}" if names else ""


def scale_file(scale):
    """`params/scales/<scale>.yaml`"""
    return paths.ROOT / "params" / "scales" / f"{scale}.yaml"


def recipe_file(recipe):
    """`params/recipes/<recipe>.yaml`"""
    return paths.ROOT / "params" / "recipes" / f"{recipe}.yaml"


def read_layers(scale, recipe):
    """What the files of a scale and a recipe say, as a dict; "report" is a recipe without a file."""
    return read_params(scale_file(scale)) | ({} if recipe == "report" else read_params(recipe_file(recipe)))


def effective_params(stage, scale, recipe, **overrides):
    """The parameters a stage runs with: defaults, then the scale, the recipe, the overrides.

    stage   a key of STAGES; recipe "report" has no file
    return  an instance of the stage's dataclass
    """
    cls = STAGES[stage]
    layered = read_layers(scale, "report" if stage == "07_report" else recipe)
    check_names(overrides, where="overrides")
    layered |= {"scale": scale, "recipe": recipe} | overrides
    return build_params(cls, layered)


def read_recipe(name):
    """A recipe's own file: `.name`, `.parent` (recipe name or ""), `.stages` (names of STAGES, in order).

    Raises ValueError: no such file, an unknown stage, stages out of order, a parent that is missing or loops.
    """
    values = read_params(recipe_file(name))
    if values.get("recipe", name) != name or name == "report":
        raise ValueError(
            f"{recipe_file(name)}: recipe: expected the file's own name, found {values.get('recipe')!r}; "
            "two recipes, or a recipe and the report, would write one folder"
        )
    stages = values.get("stages", [])
    if not isinstance(stages, list) or [s for s in STAGES if s in stages] != stages:
        raise ValueError(
            f"{recipe_file(name)}: stages: expected names from {', '.join(STAGES)} in that order, found {stages!r}"
        )
    return SimpleNamespace(name=name, parent=values.get("parent", ""), stages=stages)


def recipe_lineage(name):
    """The recipe, its parent, its parent's parent, ...; ValueError when a parent is missing or the line loops."""
    line = []
    while name:
        if name in [r.name for r in line]:
            raise ValueError(f"recipe {line[0].name}: its parents loop: {' -> '.join([r.name for r in line] + [name])}")
        line.append(read_recipe(name))
        name = line[-1].parent
    return line


def starting_stage(name, stage):
    """(recipe, stage) whose model a stage of recipe `name` starts from; None when it starts from the base model.

    Example: ("blossom-bi-biSFT", "04_korean_lima_sft") -> ("blossom-bi", "03_bilingual_pretraining")
    """
    order = list(STAGES)
    for depth, r in enumerate(recipe_lineage(name)):
        makers = [s for s in r.stages if s in MODEL_STAGES and (depth or order.index(s) < order.index(stage))]
        if makers:
            return r.name, makers[-1]
    return None
