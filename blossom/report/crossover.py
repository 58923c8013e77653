"""How much text one arm of a sweep needs to beat the other: power laws over the amount read, and where they cross."""

from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import LogLocator, NullFormatter

from blossom.common import figures

EXPONENTS = np.geomspace(0.02, 4, 120)


@dataclass(frozen=True)
class Comparison:
    """A measure of two arms over an amount. What belongs to an arm is in a pair, first the arm without expansion."""

    measure: str
    over: str  # the kind of comparison, such as "equal compute"
    unit: str  # the measure on the x axis
    arms: list
    points: list  # (x, y) of the runs
    amounts: list  # (M,) from the arm's smallest to its largest
    curves: list  # (1 + D, M): the fit, then the fits of the bootstrap's draws
    sizes: np.ndarray  # the second arm's amounts, means over the repetitions
    common: np.ndarray  # (M,) amounts that both arms have
    difference: np.ndarray  # (1 + D, M) second arm minus first
    misfits: list  # of `arms`, those whose means the fit does not explain


def fit_power_law(x, y):
    """Fit y = a + b x^-c by least squares, with a >= 0 and c one of EXPONENTS (a and b then follow linearly).

    x, y    (N,) amounts; (..., N) values, such as bootstrap draws
    return  function of amounts (M,) that gives the fitted values (..., M)
    """
    middle, best = np.exp(np.log(x).mean()), np.full(y.shape[:-1], np.inf)
    found = np.full((3, *y.shape[:-1]), np.nan)
    for c in EXPONENTS:
        basis = np.stack([np.ones(len(x)), (x / middle) ** -c])
        solved = y @ np.linalg.pinv(basis)
        error = np.where(solved[..., 0] < 0, np.inf, np.square(y - solved @ basis).sum(-1))
        found = np.where(error < best, [solved[..., 0], solved[..., 1], np.full_like(best, c)], found)
        best = np.minimum(best, error)
    a, b, c = found[..., None]
    return lambda amounts: a + b * (amounts / middle) ** -c


def explains_means(names, y, fitted):
    """Whether a fit of y (N,) leaves at most a tenth of the variance of its names' means, or no more than is within them."""
    means, fits = pd.DataFrame({"y": y, "fit": fitted}).groupby(names).transform("mean").to_numpy().T
    left, between, within = (np.square(part).sum() for part in (means - fits, means - means.mean(), y - means))
    return left <= max(0.1 * between, within)


def has_curves(about):
    """Whether a sweep has five points and, over 5 % apart, four amounts an arm: a curve's three numbers fit any three."""
    measured = pd.DataFrame(about["measured"])
    own = measured[measured.measure.isin(about["over"].values()) & measured.recipe.isin(about["recipes"][:2])]
    if not about["curves"] or measured.point.nunique() < 5 or not (own.value > 0).all():
        return False
    means = np.log(own.groupby(["recipe", "measure", "arm"]).value.mean()).groupby(["recipe", "measure"])
    return bool((means.agg(lambda amounts: (np.diff(np.sort(amounts)) > 0.05).sum()) >= 3).all())


def fit_sweep(about, draws=1000, seed=0):
    """Fit each of a sweep's `curves` over each of `over`: list of Comparison.

    about  the sweep's comparison.json (dict); its first two recipes are compared
    draws  of the bootstrap: residuals of the fits, scaled for the three parameters, drawn for both arms from the same runs
    """
    measured = pd.DataFrame(about["measured"])
    table = measured.pivot(index="point", columns=["recipe", "measure"], values="value")
    drawn = np.random.default_rng(seed).integers(0, len(table), (draws, len(table)))
    scale, arms, found = np.sqrt(len(table) / max(1, len(table) - 3)), about["recipes"][:2], []
    for measure in about["curves"]:
        for over, unit in about["over"].items():
            points = [tuple(table[arm, name].to_numpy() for name in (unit, measure)) for arm in arms]
            fits, misfits = [], []
            for arm, (x, y) in zip(arms, points, strict=True):
                fitted = fit_power_law(x, y)(x)
                own = measured[measured.recipe == arm].drop_duplicates("point").set_index("point").arm[table.index]
                misfits += [] if explains_means(own.to_numpy(), y, fitted) else [arm]
                fits.append(fit_power_law(x, np.vstack([y, fitted + scale * (y - fitted)[drawn]])))
            amounts = [np.geomspace(x.min(), x.max(), 400) for x, _ in points]
            common = np.geomspace(max(a[0] for a in amounts), min(a[-1] for a in amounts), 400)
            curves = [fit(own) for fit, own in zip(fits, amounts, strict=True)]
            sizes = measured[measured.measure == unit].groupby(["recipe", "arm"], sort=False).value.mean()[arms[1]]
            if common[0] >= common[-1]:  # no amount that both arms have
                continue
            common = common, fits[1](common) - fits[0](common)
            found.append(Comparison(measure, over, unit, arms, points, amounts, curves, sizes.to_numpy(), *common, misfits))
    return found


def find_crossing(amounts, difference):
    """(wins, crossings): whether the second arm is better at the end, and from which amount on the sign stays that way.

    difference  (1 + D, M) second arm minus first; its first row is the fit
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
    """Where the second arm's values lie at the largest amount: higher, lower, undecided, not fitted."""
    low, high = np.quantile(found.difference[:, -1], (0.025, 0.975))
    return "not fitted" if found.misfits else "higher" if low > 0 else "lower" if high < 0 else "undecided"


def describe_crossing(found):
    """From which amount on the second arm wins, in words; brackets: the 95 % interval of the bootstrap's draws."""
    if found.misfits:
        return f"{found.arms[1]} cannot be compared: a power law does not fit {' and '.join(found.misfits)}"
    wins, crossings = find_crossing(found.common, found.difference)
    if crossings[0]:
        told = _describe_amounts(crossings, found.common[0], found.common[-1])
        return f"{found.arms[1]} is better {'from' if wins else 'up to'} {told} {found.unit}"
    told = "is {} at every amount, {:,.0f} to {:,.0f}".format("better" if wins else "worse", *found.common[[0, -1]])
    open_end = ", but not decided at the largest" if judge_end(found) == "undecided" else ""
    return f"{found.arms[1]} {told} {found.unit} ({(crossings == 0).mean():.0%} of fits){open_end}"


def tabulate_crossings(comparisons):
    """A row a Comparison: measure, over, result (words), the second arm's fit minus the first's at the largest amount."""
    gaps = [np.nan if found.misfits else found.difference[0, -1] for found in comparisons]
    rows = [(c.measure, c.over, describe_crossing(c), gap) for c, gap in zip(comparisons, gaps, strict=True)]
    return pd.DataFrame(rows, columns=["measure", "over", "result", "bits/byte apart in the fit at the largest amount"])


def tabulate_needs(comparisons):
    """How much the first arm needs to be as good as the second after `amount`, over the first of the kinds of amounts.

    Left out: what the first arm does not improve by reading more, and misfits. Columns: measure, and an amount for each arm.
    """
    rows, (one, other), unit = [], comparisons[0].arms, comparisons[0].unit
    for found in [c for c in comparisons if c.over == comparisons[0].over and not c.misfits]:
        own, (first, second) = found.amounts[0], found.curves
        for amount in found.sizes if first[0, -1] < first[0, 0] else ():
            target = second[:, np.abs(found.amounts[1] - amount).argmin(), None]
            reached = np.where((first <= target).any(-1), own[(first <= target).argmax(-1)], np.inf)
            needs = np.where(first[:, 0] <= target[:, 0], 0.0, reached)
            rows.append((found.measure, round(amount), _describe_amounts(needs, own[0], own[-1])))
    return pd.DataFrame(rows, columns=["measure", f"{other} after ({unit})", f"{one} needs ({unit})"])


def plot_curves(comparisons):
    """Plot runs, fits and 95 % bands: a row of panels for each measure, a column for each amount; dotted: a crossing."""
    columns = len({found.over for found in comparisons})
    shape = len(comparisons) // columns, columns
    figure, axes = plt.subplots(*shape, figsize=(5.2 * columns, 2.9 * shape[0]), squeeze=False, sharey="row")
    for axis, found in zip(axes.flat, comparisons, strict=True):
        for i, (colour, *_) in enumerate(figures.style_series(found.arms).values()):
            axis.plot(*found.points[i], "o", ms=4, alpha=0.6, color=colour)
            axis.plot(found.amounts[i], found.curves[i][0], color=colour, label=found.arms[i])
            band = np.quantile(found.curves[i], (0.025, 0.975), axis=0)
            axis.fill_between(found.amounts[i], *band, color=colour, alpha=0.2, lw=0)
        if (crossing := find_crossing(found.common, found.difference)[1][0]) and not found.misfits:
            axis.axvline(crossing, color=figures.COLOURS["ink"], ls=":", lw=1.2)
        axis.set(xscale="log", xlabel=found.unit, ylabel=f"{found.measure}\n(bits/byte)")
        axis.xaxis.set(major_locator=LogLocator(10, (1, 2, 5)), major_formatter="{x:,.0f}", minor_formatter=NullFormatter())
        axis.tick_params(axis="x", labelsize=9)
        axis.set_title(found.over.capitalize() if axis in axes[0] else "")
        axis.label_outer()
    told = "At the largest amount, {1}'s bits/byte against {0}'s are ".format(*comparisons[0].arms)
    told += ", ".join(f"{end} in {n}" for end, n in pd.Series(map(judge_end, comparisons)).value_counts().items())
    figure.suptitle(f"{told} of {len(comparisons)} panels", x=0.01, ha="left", weight="bold")
    axes[0, 0].legend(title="points: runs, bands: 95 %", fontsize=9, title_fontsize=9)
    return figure
