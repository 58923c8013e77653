"""How much text one recipe of a sweep needs to beat the other: curves fitted over the amounts, and where they cross."""

import itertools
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import LogLocator, NullFormatter

from blossom.common import figures


@dataclass(frozen=True)
class Comparison:
    """A measure of two recipes over an amount. What belongs to a recipe is in a pair, first the one without expansion."""

    measure: str
    over: str  # the kind of comparison, such as "equal compute"
    unit: str  # the measure on the x axis
    recipes: list
    points: list  # (x, y) of the runs
    sizes: list  # (M,) amounts, rising
    means: list  # (1 + D, M) bits/byte at `sizes`: means over the repetitions, then draws of them
    common: np.ndarray  # (400,) amounts within the range of both
    difference: np.ndarray  # (1 + D, 400) second recipe minus first


def fit_curve(sizes, means, amounts):
    """Values (..., A) at `amounts` (A,) of a quadratic in log(amount), fitted to means (..., M) at `sizes` (M,)."""
    given, asked = (np.vander(np.log(some / sizes[0]), 3) for some in (sizes, amounts))
    return means @ (asked @ np.linalg.pinv(given)).T


def draw_weights(repeats, draws, seed=0):
    """Weights (1 + draws, repeats) of the deviations from a mean that are added to it: zeros, then draws by Student's t."""
    rng = np.random.default_rng(seed)
    scale = np.sqrt(repeats * rng.chisquare(max(1, repeats - 1), (draws, 1)))
    return np.vstack([np.zeros(repeats), rng.normal(size=(draws, repeats)) / scale])


def compare_curves(about, draws=4000, seed=0):
    """Compare the first two recipes of a sweep's comparison.json (dict) in its `curves`, over each of `over`: Comparisons.

    There are none unless the sweep has repetitions and, for each recipe, at least four amounts, over 5 % apart. English is
    not compared over an amount of Korean: the recipe whose tokens hold more Korean has read less English by then.
    """
    recipes, found = about["recipes"][:2], []
    table = pd.DataFrame(about["measured"]).pivot(index="repeat", columns=["recipe", "measure", "arm"], values="value")
    weights, table = draw_weights(len(table), draws, seed), table.sort_index(axis=1)
    for measure, (over, unit) in itertools.product(about["curves"], about["over"].items()):
        if "English" in measure and "Korean" in unit:
            continue
        points, sizes, means = [], [], []
        for recipe in recipes:
            rising = table[recipe, unit].mean().sort_values()
            if len(table) < 2 or len(rising) < 4 or rising.iloc[0] <= 0 or np.diff(np.log(rising)).min() < 0.05:
                return []
            amounts, values = (table[recipe, name][rising.index].to_numpy() for name in (unit, measure))
            points.append((amounts.ravel(), values.ravel()))
            sizes.append(rising.to_numpy())
            means.append(values.mean(0) + weights @ (values - values.mean(0)))
        common = np.geomspace(max(s[0] for s in sizes), min(s[-1] for s in sizes), 400)
        if common[0] < common[-1]:  # else there is no amount that both have
            first, second = (fit_curve(*one, common) for one in zip(sizes, means, strict=True))
            found.append(Comparison(measure, over, unit, recipes, points, sizes, means, common, second - first))
    return found


def find_crossing(amounts, difference):
    """(wins, crossings): whether the second recipe is better at the end, and from which amount on the sign stays so.

    difference  (1 + D, M) second recipe minus first; its first row is of the means
    crossings   (1 + D,): 0 where the sign is the same throughout, inf where a draw's sign at the end is another
    """
    wins = bool(difference[0, -1] < 0)
    other = (difference < 0) != wins
    last = np.minimum(len(amounts) - np.argmax(other[:, ::-1], axis=-1), len(amounts) - 1)
    return wins, np.where(other[:, -1], np.inf, np.where(other.any(-1), amounts[last], 0.0))


def _describe_amounts(values, least, most):
    """The first of some amounts and the 95 % interval of all; 0 is below `least`, inf above `most`."""
    ends = np.quantile(values, (0.025, 0.975), method="inverted_cdf")
    edges = {0.0: f"<{least:,.0f}", np.inf: f">{most:,.0f}"}
    return "{} [{}, {}]".format(*(edges.get(v, f"{float(f'{v:.3g}'):,.0f}") for v in (values[0], *ends)))


def judge_end(found):
    """What the second recipe's values are at the largest amount that both have: better, worse, undecided."""
    low, high = np.quantile(found.difference[:, -1], (0.025, 0.975))
    return "worse" if low > 0 else "better" if high < 0 else "undecided"


def describe_crossing(found):
    """From which amount on the second recipe is better, in words; brackets: the 95 % interval of the draws."""
    wins, crossings = find_crossing(found.common, found.difference)
    if crossings[0]:
        told = _describe_amounts(crossings, found.common[0], found.common[-1])
        doubt = f"the interval leaves out that the curves miss means by up to {measure_misfit(found):.3f} bits/byte"
        return f"{found.recipes[1]} is better {'from' if wins else 'up to'} {told} {found.unit}; {doubt}"
    told = "{} at every amount, {:,.0f} to {:,.0f}".format("better" if wins else "worse", *found.common[[0, -1]])
    word = "undecided at the largest amount: " if judge_end(found) == "undecided" else ""
    return f"{found.recipes[1]} is {word}{told} {found.unit} (in {100 * (crossings == 0).mean():.0f} % of draws)"


def tabulate_crossings(comparisons):
    """A row a Comparison: measure, over, result (words), the curves' distance at the end, their largest miss of a mean."""
    rows = [(c.measure, c.over, describe_crossing(c), c.difference[0, -1], measure_misfit(c)) for c in comparisons]
    columns = ["measure", "over", "result", "bits/byte apart at the largest amount", "curves miss means by"]
    return pd.DataFrame(rows, columns=columns)


def measure_misfit(found):
    """The largest distance (bits/byte) of a mean over the repetitions from its recipe's fitted curve."""
    pairs = zip(found.sizes, found.means, strict=True)
    return max(np.abs(fit_curve(own, means[0], own) - means[0]).max() for own, means in pairs)


def tabulate_needs(comparisons):
    """How much the first recipe needs, if it improves, to be as good as the second after an amount (of the first kind)."""
    rows, (one, other), unit = [], comparisons[0].recipes, comparisons[0].unit
    for found in [c for c in comparisons if c.over == comparisons[0].over]:
        first, second = found.means
        own = np.geomspace(*found.sizes[0][[0, -1]], 400)
        reached = fit_curve(found.sizes[0], first, own)
        targets = fit_curve(found.sizes[1], second, found.sizes[1])
        for amount, target in zip(found.sizes[1], targets.T, strict=True) if first[0, -1] < first[0, 0] else ():
            enough = reached <= target[:, None]
            needs = np.where(enough[:, 0], 0.0, np.where(enough.any(-1), own[enough.argmax(-1)], np.inf))
            rows.append((found.measure, round(amount), _describe_amounts(needs, own[0], own[-1])))
    return pd.DataFrame(rows, columns=["measure", f"{other} after ({unit})", f"{one} needs ({unit})"])


def plot_curves(comparisons):
    """Plot runs and curves with 95 % bands: a row of panels a measure, a column an amount; grey: where the curves cross."""
    names = [list(dict.fromkeys(getattr(found, name) for found in comparisons)) for name in ("measure", "over")]
    shape = list(map(len, names))
    figure, axes = plt.subplots(*shape, figsize=(5.2 * shape[1], 2.9 * shape[0]), squeeze=False, sharey="row")
    for found in comparisons:
        column = names[1].index(found.over)
        axis, lowest = axes[names[0].index(found.measure), column], [c for c in comparisons if c.over == found.over][-1]
        for i, (name, (colour, *_)) in enumerate(figures.style_series(found.recipes).items()):
            own = np.geomspace(*found.sizes[i][[0, -1]], 100)
            curves = fit_curve(found.sizes[i], found.means[i], own)
            axis.plot(*found.points[i], "o", ms=4, alpha=0.6, mew=0, color=colour, zorder=3)
            axis.plot(own, curves[0], color=colour, label=name)
            axis.fill_between(own, *np.quantile(curves, (0.025, 0.975), axis=0), color=colour, alpha=0.15, lw=0)
        if (crossings := find_crossing(found.common, found.difference)[1])[0]:
            axis.axvline(crossings[0], color=figures.COLOURS["ink"], ls=":", lw=1.2)
            ends = np.quantile(crossings, (0.025, 0.975), method="inverted_cdf").clip(*found.common[[0, -1]])
            axis.axvspan(*ends, color=figures.COLOURS["ink"], alpha=0.08, lw=0)
        axis.set(xscale="log", ylabel="" if column else f"{found.measure}\n(bits/byte)")
        axis.xaxis.set(major_locator=LogLocator(10, (1, 2, 5)), major_formatter="{x:,.0f}", minor_formatter=NullFormatter())
        axis.tick_params(axis="x", labelsize=9, labelbottom=found is lowest)
        axis.set(title=found.over.capitalize() if axis in axes[0] else "", xlabel=found.unit if found is lowest else "")
    for axis in (axis for axis in axes.flat if not axis.has_data()):
        axis.set_axis_off()
    told = f"At the largest amount that both read, {comparisons[0].recipes[1]} is "
    told += ", ".join(f"{end} in {n}" for end, n in pd.Series(map(judge_end, comparisons)).value_counts().items())
    figure.suptitle(f"{told} of {len(comparisons)} panels", x=0.01, ha="left", weight="bold")
    axes[0, 0].legend(title="points: runs, bands: 95 %", fontsize=9, title_fontsize=9)
    return figure
