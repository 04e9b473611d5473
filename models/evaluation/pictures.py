"""Pictures of an evaluation, a run and a data set, as PNG."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from models.evaluation.grouping import ChronologicalAges, Grouping
from models.evaluation.metrics import AGE_BANDS, Outcomes
from models.evaluation.statistics import Curve, SexScores
from schemas.images import Sex

GIRLS, BOYS = "#b5446e", "#2a6f97"
GREY = "#666666"
#: strong ones first
_COLOURS = tuple(colormaps["tab20"](number) for number in (*range(0, 20, 2), *range(1, 20, 2)))
DPI = 110
SIZE = (6.4, 4.6)
OLDEST = 240.0

Numbers = NDArray[np.float64]


def new_figure(width: float = SIZE[0], height: float = SIZE[1]) -> tuple[Figure, Axes]:
    """Return an empty figure with one pair of axes, without any global state."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.grid(visible=True, color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def png(figure: Figure) -> bytes:
    """Return a figure as PNG."""
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def _head(axes: Axes, title: str) -> None:
    """Write title and legend above the picture, where they cover nothing."""
    axes.set_title(title, loc="left")
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1.0, 0.99), ncols=2)


def _by_sex(outcomes: Outcomes) -> list[tuple[str, str, NDArray[np.bool_]]]:
    return [
        ("girls", GIRLS, outcomes.sexes == Sex.FEMALE.value),
        ("boys", BOYS, outcomes.sexes == Sex.MALE.value),
    ]


def draw_scatter(outcomes: Outcomes) -> bytes:
    """Draw estimates over labels; on the line they agree."""
    figure, axes = new_figure(height=5.6)
    for name, colour, ours in _by_sex(outcomes):
        axes.scatter(
            outcomes.labels[ours], outcomes.ages[ours], s=9, alpha=0.45, color=colour, label=name
        )
    axes.plot([0, OLDEST], [0, OLDEST], color=GREY, linewidth=1)
    for shift in (-24, 24):
        axes.plot([0, OLDEST], [shift, OLDEST + shift], color=GREY, linewidth=0.7, linestyle=":")
    axes.set(xlim=(0, OLDEST), ylim=(0, OLDEST), aspect="equal")
    axes.set(xlabel="label, months", ylabel="estimate, months")
    _head(axes, "Estimate against label")
    return png(figure)


def _draw_over(
    outcomes: Outcomes, across: Numbers, groups: Mapping[str, NDArray[np.bool_]]
) -> tuple[Figure, Axes]:
    """Draw estimates over an age, a colour for each group, girls as dots, boys as triangles."""
    figure, axes = new_figure(width=8.4, height=5.6)
    known = ~np.isnan(across)
    for number, (name, inside) in enumerate(groups.items()):
        colour = _COLOURS[number % 20]
        label = f"{name} ({np.count_nonzero(inside & known)})"
        for marker, sex in (("o", Sex.FEMALE), ("^", Sex.MALE)):
            ours = inside & known & (outcomes.sexes == sex.value)
            dots = axes.scatter(across[ours], outcomes.ages[ours], s=16, marker=marker)
            dots.set(color=colour, alpha=0.6, linewidths=0)
        axes.scatter([], [], color=colour, label=label)
    for marker, name in (("o", "girls"), ("^", "boys")):
        axes.scatter([], [], color=GREY, marker=marker, label=name)
    ends = (0, max(OLDEST, float(np.nanmax(across))))
    axes.plot(ends, ends, color=GREY, linewidth=1)
    axes.set(xlim=ends, ylim=(0, OLDEST), ylabel="estimate, months")
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)
    return figure, axes


def _groups_of(grouping: Grouping) -> dict[str, NDArray[np.bool_]]:
    return {row.group: grouping.values == row.group for row in grouping.rows}


def draw_scatter_by_group(outcomes: Outcomes, grouping: Grouping) -> bytes:
    """Draw estimates over labels, each group in a colour of its own."""
    figure, axes = _draw_over(outcomes, outcomes.labels, _groups_of(grouping))
    axes.set_xlabel("label, months")
    axes.set_title(f"Estimate against label, by {grouping.column}", loc="left")
    return png(figure)


def draw_chronological(
    outcomes: Outcomes, ages: ChronologicalAges, grouping: Grouping | None
) -> bytes:
    """Draw estimates over ages by the calendar, by group where there are any."""
    everybody = {"all": np.ones(ages.months.size, dtype=np.bool_)}
    groups = everybody if grouping is None else _groups_of(grouping)
    figure, axes = _draw_over(outcomes, ages.months, groups)
    axes.set_xlabel("chronological age, months")
    axes.set_title("Bone age against chronological age", loc="left")
    return png(figure)


def draw_error_by_group(grouping: Grouping) -> bytes:
    """Draw the mean absolute error of each group, with its bootstrap interval."""
    rows = grouping.rows[::-1]
    figure, axes = new_figure(height=1.6 + 0.32 * len(rows))
    errors = np.array([row.mae_months for row in rows])
    ends = np.array([[row.mae_low for row in rows], [row.mae_high for row in rows]])
    axes.barh(range(len(rows)), errors, color=BOYS, alpha=0.8)
    axes.errorbar(errors, range(len(rows)), xerr=np.abs(ends - errors), fmt="none", ecolor="black")
    axes.set_yticks(range(len(rows)), [f"{row.group} ({row.n})" for row in rows], fontsize=8)
    axes.set_xlabel("mean absolute error, months (95 % by bootstrap)")
    axes.set_title(f"Error by {grouping.column}", loc="left")
    return png(figure)


def draw_bland_altman(outcomes: Outcomes) -> bytes:
    """Draw differences over means, with the mean difference and the limits of agreement."""
    figure, axes = new_figure()
    difference = outcomes.ages - outcomes.labels
    for name, colour, ours in _by_sex(outcomes):
        middle = (outcomes.ages[ours] + outcomes.labels[ours]) / 2
        axes.scatter(middle, difference[ours], s=9, alpha=0.45, color=colour, label=name)
    mean, deviation = float(difference.mean()), float(difference.std(ddof=1))
    for level, words in (
        (mean, f"mean {mean:+.1f}"),
        (mean + 1.96 * deviation, f"+1.96 SD {mean + 1.96 * deviation:+.1f}"),
        (mean - 1.96 * deviation, f"-1.96 SD {mean - 1.96 * deviation:+.1f}"),
    ):
        axes.axhline(level, color=GREY, linewidth=1, linestyle="-" if level == mean else "--")
        axes.annotate(
            words, (1.0, level), xycoords=("axes fraction", "data"), ha="right", va="bottom"
        )
    axes.set(xlabel="mean of estimate and label, months", ylabel="estimate less label, months")
    _head(axes, "Bland-Altman")
    return png(figure)


def draw_error_by_age(outcomes: Outcomes) -> bytes:
    """Draw the mean absolute error of each age band of the label, with its standard error."""
    figure, axes = new_figure()
    places = np.arange(len(AGE_BANDS))
    errors = np.abs(outcomes.ages - outcomes.labels)
    named: set[str] = set()
    for shift, (name, colour, ours) in zip((-0.2, 0.2), _by_sex(outcomes), strict=True):
        for place, (low, high) in zip(places, AGE_BANDS, strict=True):
            inside = errors[ours & (outcomes.labels >= low) & (outcomes.labels < high)]
            if not inside.size:
                continue
            spread = float(inside.std() / np.sqrt(inside.size))
            label = None if name in named else name
            named.add(name)
            axes.bar(place + shift, inside.mean(), 0.38, color=colour, alpha=0.8, label=label)
            axes.errorbar(place + shift, inside.mean(), spread, color="black", linewidth=1)
            axes.annotate(
                f"{inside.size}", (place + shift, 0.15), ha="center", fontsize=7, color="w"
            )
    axes.set_xticks(places, [f"{low} to {high}" for low, high in AGE_BANDS], fontsize=8)
    axes.set(
        xlabel="label, months (number of children in the bar)", ylabel="mean absolute error, months"
    )
    _head(axes, "Error by age")
    return png(figure)


def draw_coverage(outcomes: Outcomes, *, stated: float) -> bytes:
    """Draw the share of labels inside their interval, over the estimated age."""
    figure, axes = new_figure()
    covered = (outcomes.lows <= outcomes.labels) & (outcomes.labels <= outcomes.highs)
    shares: list[float] = []
    for place, (low, high) in enumerate(AGE_BANDS):
        inside = covered[(outcomes.ages >= low) & (outcomes.ages < high)]
        if not inside.size:
            continue
        shares.append(float(inside.mean()))
        half = 1.96 * float(np.sqrt(stated * (1 - stated) / inside.size))
        axes.fill_between(
            [place - 0.4, place + 0.4], stated - half, min(1.0, stated + half), color="#dddddd"
        )
        axes.plot(place, inside.mean(), "o", color=BOYS)
        axes.annotate(
            f"{inside.size}",
            (place, inside.mean()),
            xytext=(6, 4),
            textcoords="offset points",
            fontsize=8,
        )
    axes.axhline(stated, color=GREY, linewidth=1)
    names = [f"{low} to {high}" for low, high in AGE_BANDS]
    axes.set_xticks(range(len(AGE_BANDS)), names, fontsize=8)
    lowest = min([0.6, *(share - 0.05 for share in shares)])
    axes.set(xlabel="estimated age, months", ylabel="share of labels inside")
    axes.set(xlim=(-0.6, len(AGE_BANDS) - 0.4), ylim=(lowest, 1.01))
    axes.set_title(f"Coverage of the {stated:.0%} interval (grey: 95 % of bands, by chance)")
    return png(figure)


def _draw_roc(curves: Sequence[Curve], *, title: str, across: str, up: str) -> bytes:
    figure, axes = new_figure(4.6, 4.6)
    for one in curves:
        label = f"{one.name}, AUROC {one.auroc:.3f}"
        axes.plot(one.false_positive_rates, one.true_positive_rates, label=label)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.7, linestyle=":")
    axes.set(xlabel=across, ylabel=up, aspect="equal", title=title)
    axes.legend(frameon=False, loc="lower right", fontsize=8)
    return png(figure)


def _draw_matrix(
    confusion: Sequence[Sequence[int]], *, are: Sequence[str], told: Sequence[str], title: str
) -> bytes:
    """Draw how many of which were told to be what."""
    side = 3.0 + 0.6 * len(are)
    figure, axes = new_figure(side, side)
    axes.grid(visible=False)
    counts = np.array(confusion)
    axes.imshow(counts, cmap="Blues", vmin=0)
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if count > counts.max() / 2 else "black"
        axes.text(column, row, str(count), ha="center", va="center", color=colour)
    axes.set_xticks(range(len(told)), told, rotation=30, ha="right")
    axes.set_yticks(range(len(are)), are)
    axes.set_title(title)
    return png(figure)


def draw_roc(scores: SexScores) -> bytes:
    """Draw the receiver operating characteristic of a predicted sex."""
    curve = Curve(
        name=scores.member,
        false_positive_rates=scores.false_positive_rates,
        true_positive_rates=scores.true_positive_rates,
        auroc=scores.auroc,
    )
    return _draw_roc([curve], title="Sex", across="girls taken for boys", up="boys taken for boys")


def draw_confusion(scores: SexScores) -> bytes:
    """Draw how many girls and boys were taken for which."""
    return _draw_matrix(
        scores.confusion,
        are=("girl", "boy"),
        told=("told girl", "told boy"),
        title=f"Sex by {scores.member}",
    )


def draw_classes(
    curves: Sequence[Curve], confusion: Sequence[Sequence[int]], *, classes: Sequence[str]
) -> dict[str, bytes]:
    """Return the curves of all classes, each against the rest, and their confusion matrix."""
    return {
        "roc": _draw_roc(
            curves, title="Each class against the rest", across="false alarms", up="found"
        ),
        "confusion": _draw_matrix(
            confusion,
            are=classes,
            told=[f"told {one}" for one in classes],
            title="Confusion matrix",
        ),
    }


def draw_curves(curves: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]]) -> bytes:
    """Draw the curves of runs: run → metric → (pass, value); one panel for each metric."""
    metrics = list(dict.fromkeys(name for one in curves.values() for name in one))
    figure = Figure(figsize=(6.4, 2.9 * max(len(metrics), 1)), layout="constrained")
    panels = np.atleast_1d(figure.subplots(max(len(metrics), 1), sharex=True))
    for axes, metric in zip(panels, metrics, strict=False):
        for number, (run, known) in enumerate(curves.items()):
            if metric in known:
                points = np.array(known[metric])
                style = {"color": f"C{number}", "marker": "o", "markersize": 3.0, "label": run}
                axes.plot(points[:, 0], points[:, 1], **style)
        axes.set_ylabel(metric.replace("_", " "))
        axes.grid(visible=True, color="#dddddd", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
    panels[-1].set_xlabel("pass")
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    return png(figure)
