"""Parameters: read from YAML files and notebooks, layered, and checked before anything expensive starts.

The layers are the defaults in blossom/common/stages.yaml, a scale, a recipe, and the overrides of a call; later ones win.
"""

import difflib
import os
import re
import reprlib
import sys
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import yaml
from pydantic import ValidationError

from blossom.common import paths
from blossom.common.stages import MERGED, MODEL_STAGES, READERS, ROWS, STAGES, PlanAssumptions

CLASSES = (*STAGES.values(), PlanAssumptions)
KNOWN = {f.name for cls in CLASSES for f in fields(cls)} | {"parent", "stages"}  # only recipe files have the last two
TYPES = {name: type(row["default"]) for rows in ROWS.values() for name, row in rows.items()}
FOLDERS = ("scale", "recipe", "outputs", "parent", "stages")  # decide which runs there are, and where
PLAIN = (bool, int, float, str, list, dict, type(None))  # types of a parameter's value
SECRET = re.compile(r"//[^/\s]*@|[?&][\w-]*(key|token|secret|password|signature|sig|auth|pw)=", re.IGNORECASE)
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", re.IGNORECASE)  # of which YAML reads 2e-4 as text
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 60


class ParameterError(ValueError):
    """A parameter with a wrong name or value. A notebook shows its message without a traceback."""

    def _render_traceback_(self):  # IPython calls it
        return [f"{type(self).__name__}: {self}"]


def collect_params(cls, namespace):
    """Check a notebook's parameters (`globals()`) and return an instance of `cls`; ParameterError for mistyped names too."""
    if (ipython := sys.modules.get("IPython")) and (shell := ipython.get_ipython()):
        shell.InteractiveTB.set_mode("Plain")  # an error shows two lines a call instead of pages of code
    check_names([n for n, value in namespace.items() if isinstance(value, PLAIN) and suggest_name(n, value)])
    p, default = build_params(cls, namespace), cls()
    require_stage(p.recipe, next(stage for stage, its in STAGES.items() if its is cls))
    if (p.scale, p.recipe) != (default.scale, default.recipe) and "BLOSSOM_BATCH" not in os.environ:
        print("note: in a notebook, scale and recipe only name the run. To use the values of their files, add below them:")
        print("  from blossom.common import params; globals().update(params.read_layers(scale, recipe))")
    return p


def suggest_name(name, value=None):
    """The parameter that an unknown name in a notebook is probably a mistyping of, or None.

    Names of one word (`task`) are variables, and those with or without a plural s (`korean_text`) whose value has another
    type than the parameter's; `aded_pieces` is a mistake.
    """
    near = difflib.get_close_matches(name, KNOWN, 1, 0.85) if "_" in name.strip("_") and name not in KNOWN else []
    plural = near and near[0].rstrip("s") == name.rstrip("s") and not isinstance(value, TYPES.get(near[0], ()))
    return near[0] if near and not plural else None


def check_names(names, where="parameters"):
    """Raise ParameterError for the first name that is no parameter, with the nearest known name."""
    for name in names:
        if name not in KNOWN:
            near = difflib.get_close_matches(str(name), KNOWN, 1, 0.6)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise ParameterError(f"{where}: no parameter is called '{name}'{hint}")


def build_params(cls, values):
    """Make an instance of `cls` from those `values` (dict) that it has; ParameterError names a wrong one."""
    for name in values.keys() & {f.name for f in fields(cls)}:
        refuse_secret(name, values[name])
        if name == "outputs" and str(values[name]).startswith("~"):
            told = "outputs: expected a path from / or from the repository's root"
            raise ParameterError(f"{told}, found {shorten(values[name])}")
    try:
        return cls(**{f.name: values[f.name] for f in fields(cls) if f.name in values})
    except ValidationError as error:
        raise ParameterError(explain_error(error)) from None


def refuse_secret(name, value):
    """Raise ParameterError, without the value, when an address in it (text or list) has a password or a key."""
    if any(isinstance(word, str) and SECRET.search(word) for word in (value if isinstance(value, list) else [value])):
        told = f"{name}: the address has a password or a key, which would be written into params.yaml"
        raise ParameterError(f"{told}: take it out, and put the key into the environment variable OPENAI_API_KEY")


def explain_error(invalid):
    """The first error of a pydantic ValidationError as "name: expected this, found that (what to write instead)"."""
    error = invalid.errors(include_url=False)[0]
    value, kind = error["input"], error["type"]
    name, *inside = error["loc"]
    expected = error["msg"].replace("Input should be", "expected").replace("expected greater", "expected a value greater")
    expected = expected.replace("expected less", "expected a value less").split(", unable")[0]
    at = f" at {shorten(inside[0])}" if inside else ""
    is_number, hint = isinstance(value, str) and NUMBER.fullmatch(value), ""
    if kind == "float_type" and is_number:
        hint = f" (YAML reads {value} as text: write {float(value):.1e} or a plain number)"
    elif kind == "int_type" and is_number:
        hint = " (a number in quotation marks is text: leave them out)"
    elif kind == "list_type" and isinstance(value, str):
        hint = f" (write [{shorten(value)}])"
    return f"{name}: {expected}{at}, found {type(value).__name__} {shorten(value)}{hint}"


def shorten(value):
    """A value's repr, at most a line or two long."""
    try:
        return _REPR.repr(value)
    except ValueError:  # Python prints no number of more than 4,300 digits
        return "a number of thousands of digits"


class _StrictLoader(yaml.SafeLoader):
    """The safe loader, but a repeated name is an error (YAML would keep the last), and so is a number like 010 or 1:30."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            name = str(key.value)
            if name in seen:
                raise ValueError(f"'{name:.60}' is given twice (line {key.start_mark.line + 1})")
            seen.add(name)
        return super().construct_mapping(node, deep)

    def construct_number(self, node):
        if re.match(r"[-+]?0[\d_]|.*:", node.value):
            told = f"'{node.value:.60}' (line {node.start_mark.line + 1}) is octal, or hours and minutes"
            raise ValueError(f"{told}: write a decimal number, or quotation marks around a text")
        return getattr(self, f"construct_yaml_{node.tag.rsplit(':', 1)[1]}")(node)


for kind in ("int", "float"):
    _StrictLoader.add_constructor(f"tag:yaml.org,2002:{kind}", _StrictLoader.construct_number)


def load_yaml(path):
    """Read the `name: value` lines of a YAML file as a dict; ParameterError names the file and what is wrong with it."""
    try:
        if os.path.exists(path) and not os.path.isfile(path):  # a pipe or a device may have no end
            raise OSError("a folder, a pipe or a device, expected a file")
        with open(path, encoding="utf-8") as stream:
            values = yaml.load(stream, Loader=_StrictLoader)
    except FileNotFoundError:
        names = ", ".join(sorted(f.stem for f in Path(path).parent.glob("*.yaml")))
        raise ParameterError(f"{path}: no such parameter file" + (f"; there are: {names}" if names else "")) from None
    except Exception as error:  # PyYAML raises many kinds: KeyError for "!!bool x", RecursionError, ...
        raise ParameterError(f"{path}: not a readable YAML file: {error}") from None
    if not isinstance(values, dict):
        raise ParameterError(f"{path}: expected 'name: value' lines, found {type(values).__name__}")
    return values


def read_params(path):
    """Read the parameters in one YAML file as a dict; ParameterError for an unknown name or an unfit name of the file."""
    if not re.fullmatch(r"[\w.-]+", Path(path).stem):  # it becomes a folder's name, and a part of Snakemake's targets
        raise ParameterError(f"{path}: expected a file's name of letters, digits, '.', '_' and '-': rename it")
    values = load_yaml(path)
    check_names(values, where=str(path))
    return values


def _load_text(word):
    if isinstance(word, dict):
        return {key: _load_text(text) for key, text in word.items()}
    return yaml.load(word, Loader=_StrictLoader) if word and isinstance(word, str) else word


def parse_overrides(words, where="parameters", of_run=False):
    """Check a command line's parameters and convert their text: {"new_tokens": "64"} -> {"new_tokens": 64}.

    of_run  whether they are all that one run has, the scale and the outputs' folder too
    """
    if not isinstance(words, dict):
        raise ParameterError(f"{where}: expected {{name: value, ...}}, found {shorten(words)}")
    check_names(words, where)
    values = {}
    for name, word in words.items():
        if not of_run and name in FOLDERS:
            told = f"{where}: {name} cannot be set: the target outputs/<scale>/report.html names the scale"
            raise ParameterError(f"{told}, and beside `set` stand outputs=FOLDER, recipes=base,blossom-bi or report=NAME")
        try:
            plain = TYPES.get(name) is str and str(word)[:1] not in "\"'"  # "no" would become false, and "a #2" lose its end
            values[name] = word if plain else _load_text(word)
            for cls in CLASSES:
                build_params(cls, {name: values[name]})
        except ParameterError as error:
            raise ParameterError(f"{where}: {error}") from None
        except Exception:  # as in `load_yaml`
            raise ParameterError(f"{where}: {name}: not a readable value: {shorten(word)}") from None
    return values


def scale_file(scale):
    return paths.ROOT / "params" / "scales" / f"{scale}.yaml"


def recipe_file(recipe):
    return paths.ROOT / "params" / "recipes" / f"{recipe}.yaml"


def read_scale(scale):
    """Read a scale's file as a dict; ParameterError for the name of another scale in it, or what only a recipe has."""
    file, values = scale_file(scale), read_params(scale_file(scale))
    if values.get("scale", scale) != scale:
        raise ParameterError(f"{file}: scale: expected the file's own name, found {shorten(values['scale'])}")
    if wrong := values.keys() & {"parent", "stages"}:
        raise ParameterError(f"{file}: {min(wrong)}: a recipe has it, a scale has none: give all values here")
    return values


def read_layers(scale, recipe):
    """The values in the files of a scale and a recipe, as one dict; the recipe "report" has no file."""
    return read_scale(scale) | ({} if recipe == "report" else read_params(recipe_file(recipe)))


def effective_params(stage, scale, recipe, **overrides):
    """The parameters that a stage (a key of STAGES) runs with: defaults, then the scale, the recipe, the overrides."""
    layered = read_layers(scale, "report" if stage in READERS else recipe)
    check_names(overrides, where="overrides")
    return build_params(STAGES[stage], layered | {"scale": scale, "recipe": recipe} | overrides)


def recipe_names():
    """All recipes in params/recipes, sorted."""
    return sorted(file.stem for file in recipe_file("any").parent.glob("*.yaml"))


def require_stage(recipe, stage):
    """Raise ParameterError when a recipe's file does not have a stage: its run would be of a wrong model, or unused."""
    if stage in READERS or recipe not in recipe_names() or stage in (own := read_recipe(recipe).stages):
        return
    told = f"recipe: {recipe} has no stage {stage} (its stages: {', '.join(own) or 'none'})"
    if parents := [r.name for r in recipe_lineage(recipe) if stage in r.stages]:
        raise ParameterError(f"{told}: set recipe to {parents[0]}, the parent that has it")
    others = [name for name in recipe_names() if stage in read_recipe(name).stages]
    raise ParameterError(f"{told}: set recipe to one that has it ({', '.join(others)}), or add it to {recipe_file(recipe)}")


def read_recipe(name):
    """Read a recipe's file: an object with name, parent (a recipe or "") and stages (names of STAGES, in order)."""
    file = recipe_file(name)
    values = read_params(file)
    stages, own = values.get("stages", []), values.get("recipe", name)
    if own != name or name == "report":  # two runs would write one folder
        raise ParameterError(f"{file}: recipe: expected the file's own name (not 'report'), found {own!r}")
    if not isinstance(values.get("parent", ""), str) or not re.fullmatch(r"[\w.-]{,100}", values.get("parent", "")):
        raise ParameterError(f"{file}: parent: expected the name of a recipe, found {shorten(values['parent'])}")
    if not isinstance(stages, list) or [s for s in STAGES if s in stages] != stages:
        told = f"stages: expected names from {', '.join(STAGES)} in that order, found {shorten(stages)}"
        raise ParameterError(f"{file}: {told}")
    if unused := values.keys() - {*FOLDERS, *(f.name for stage in stages for f in fields(STAGES[stage]))}:
        told = f"none of this recipe's stages takes it ({', '.join(stages) or 'none'})"
        raise ParameterError(f"{file}: {min(unused)}: {told}: take it out, or add the stage that takes it")
    return SimpleNamespace(name=name, parent=values.get("parent", ""), stages=stages)


def recipe_lineage(name):
    """A list of the recipe, its parent, the parent's parent, ... (as of `read_recipe`)."""
    line = []
    while name:
        if name in [r.name for r in line]:
            raise ParameterError(f"recipe {line[0].name}: its parents loop: {' -> '.join([r.name for r in line] + [name])}")
        line.append(read_recipe(name))
        name = line[-1].parent
    makers = [r for r in line if {*r.stages} & {*MODEL_STAGES}]
    if wrong := next((r.name for r in makers[:-1] if MERGED in r.stages), ""):  # without its training
        told = f"{MERGED} merges into base_model, and {makers[-1].name}, which it comes from, makes another model"
        raise ParameterError(f"{recipe_file(wrong)}: stages: {told}: take it out, or name another parent")
    return line


def report_runs(recipes):
    """(recipe, stage) of the runs that a report of some recipes reads: their own, and those that made their models."""
    lines = [(name, r) for name in recipes for r in reversed(recipe_lineage(name))]
    return list(dict.fromkeys((r.name, s) for name, r in lines for s in r.stages if r.name == name or s in MODEL_STAGES))


def starting_stage(name, stage):
    """(recipe, stage) whose model a stage of recipe `name` starts from; None when it starts from the base model."""
    order = list(STAGES)
    for depth, r in enumerate(recipe_lineage(name)):
        makers = [s for s in r.stages if s in MODEL_STAGES and (depth or order.index(s) < order.index(stage))]
        if makers:
            return r.name, makers[-1]
    return None


def releases_lines(name, value, before, made):
    """Whether lines that a training with parameters `made` read are held out, or general, with a `value` for `before`."""
    if name == "heldout_lines":  # fewer are some of the same
        return value > before
    if name.startswith("general"):
        return value in (*made["korean_texts"], *made["english_texts"])
    return isinstance(before, list) and 0 < len({*before} & {*value}) < len({*before})  # of other sources no line was read
