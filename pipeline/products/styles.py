"""One set of width classes and colours for the report and for QGIS, and the QGIS styles (QML) made from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from xml.sax.saxutils import quoteattr

import numpy as np

from crackmap.pipeline.profiles import ProfileTable
from crackmap.pipeline.records import OutputFrame


@dataclass(frozen=True, slots=True)
class WidthClass:
    """Cracks at least `least` and less than `below` wide (None: no limit), and their colour "#rrggbb"."""

    least: float
    below: float | None
    colour: str

    def label(self, unit: str) -> str:
        """«3 to 6 mm»."""
        if self.below is None:
            return f"{self.least:g} {unit} and wider"
        return f"under {self.below:g} {unit}" if self.least == 0 else f"{self.least:g} to {self.below:g} {unit}"


COLOURS = ("#e3a008", "#e8702a", "#d1345b", "#8f2d8c", "#3f2a8c")
"""From thin to wide: darker with width, and told apart in grey and by the colour-blind."""

MM_BOUNDS = (0.0, 3.0, 6.0, 10.0, 20.0)
"""Millimetres; 10 mm is the limit of low severity of unfilled cracks in ASTM D6433."""

PX_BOUNDS = (0.0, 2.0, 4.0, 8.0, 16.0)
"""Pixels, where there is no ground scale."""

ASIDE_COLOUR = "#8a8f98"
"""Of joints and sealed cracks."""

PATTERN_COLOURS = {"alligator": "#8f2d8c", "block": "#2f5d8a"}

STATUS_COLOURS = {"ok": "#d1345b", "no_crack": "#5f9e6e", "no_position": "#c98a2b",
                  "duplicate": "#7a6ba8", "skipped": "#8a8f98", "failed": "#3c3f45"}  # fmt: skip


def width_classes(*, metric: bool) -> tuple[WidthClass, ...]:
    """The width classes in mm, or in px."""
    bounds = MM_BOUNDS if metric else PX_BOUNDS
    upper = (*bounds[1:], None)
    return tuple(WidthClass(low, high, colour) for low, high, colour in zip(bounds, upper, COLOURS, strict=True))


def class_of(width: float, classes: tuple[WidthClass, ...]) -> int:
    """Number of the class a width falls into."""
    return next(number for number, item in enumerate(classes) if item.below is None or width < item.below)


def layer_styles(output: OutputFrame, *, directed: bool = True) -> dict[str, str]:
    """QML by layer name: cracks by mean width, patterns by kind, sections by crack length per metre, frames by status.

    Where there is no direction of travel (`directed` False), sections go by the share of their area that is crack.
    """
    metric = output.unit == "m"
    unit, attribute = ("mm", "mean_w_mm") if metric else ("px", "mean_w_px")
    cracks = [
        (_between(attribute, item), item.label(unit), line_symbol(item.colour, 0.4 + 0.2 * number))
        for number, item in enumerate(width_classes(metric=metric))
    ]
    cracks += [('"sealed" = 1', "sealed", line_symbol(ASIDE_COLOUR, 0.4, "dash")),
               ('"joint" = 1 AND "sealed" = 0', "joint", line_symbol(ASIDE_COLOUR, 0.4, "dot"))]  # fmt: skip
    bounds = (0.0, 0.1, 0.5, 1.0, 2.0, 1e9)
    shades = ("#f3efe6", "#f6d9a8", "#f0a868", "#d9605a", "#8f2d56")
    density, meaning = ("crack_m_per_m", "m of crack per m") if directed else ("crack_area_pct", "% of area")
    sections = [
        (low, high, f"{low:g} to {high:g} {meaning}" if high < 1e9 else f"over {low:g} {meaning}",
         fill_symbol(colour, "#5b6470", 90))
        for low, high, colour in zip(bounds[:-1], bounds[1:], shades, strict=True)
    ]  # fmt: skip
    frames = [(name, name, fill_symbol(colour, colour, 40)) for name, colour in STATUS_COLOURS.items()]
    patterns = [(name, name, fill_symbol(colour, colour, 60)) for name, colour in PATTERN_COLOURS.items()]
    return {
        "cracks": _ruled(cracks),
        "patterns": categorised("kind", patterns),
        "sections": _graduated(density, sections, "fill"),
        "frames": categorised("status", frames),
    }


GRADE_COLOURS = ("#5f9e6e", "#f0c24b", "#d9605a", "#8f2d56", "#3f2a8c")
"""From good to bad."""


def profile_style(profile: ProfileTable) -> str:
    """QML of the sections of a profile: by its grade, or by its first number in five steps up to the greatest."""
    rule = profile.profile.grade
    if rule is not None:
        places = np.linspace(0, len(GRADE_COLOURS) - 1, len(rule.names)) if len(rule.names) > 3 else range(3)
        colours = [GRADE_COLOURS[round(place)] for place in places]
        return categorised("grade", [
            (name, name, fill_symbol(colour, "#5b6470", 150)) for name, colour in zip(rule.names, colours, strict=False)
        ])  # fmt: skip
    name = next((column.name for column in profile.columns if column.name.endswith("_pct")), profile.columns[0].name)
    values = [value for value in profile.column(name) if isinstance(value, float)]
    step = max([*values, 1e-6]) / len(GRADE_COLOURS)
    steps = [(n * step, (n + 1) * step) for n in range(len(GRADE_COLOURS))]
    steps[-1] = (steps[-1][0], 1e9)
    classes = [
        (
            low,
            high,
            f"{low:.3g} to {high:.3g}" if high < 1e9 else f"over {low:.3g}",
            fill_symbol(colour, "#5b6470", 150),
        )
        for (low, high), colour in zip(steps, GRADE_COLOURS, strict=True)
    ]
    return _graduated(name, classes, "fill")


def _rgba(colour: str, alpha: int = 255) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"{red},{green},{blue},{alpha}"


def _layer(kind: str, options: dict[str, str]) -> str:
    inside = "".join(f'<Option type="QString" name="{k}" value={quoteattr(v)}/>' for k, v in options.items())
    return f'<layer class="{kind}" enabled="1" locked="0" pass="0"><Option type="Map">{inside}</Option></layer>'


def line_symbol(colour: str, width_mm: float, style: Literal["solid", "dash", "dot"] = "solid") -> str:
    """Symbol layer of a line "#rrggbb", as wide on paper."""
    return _layer("SimpleLine", {
        "line_color": _rgba(colour), "line_width": f"{width_mm:g}", "line_width_unit": "MM", "line_style": style,
        "capstyle": "round", "joinstyle": "round",
    })  # fmt: skip


def fill_symbol(colour: str, outline: str, alpha: int) -> str:
    """Symbol layer of an area "#rrggbb" with an opacity up to 255."""
    return _layer("SimpleFill", {
        "color": _rgba(colour, alpha), "style": "solid", "outline_color": _rgba(outline), "outline_style": "solid",
        "outline_width": "0.2", "outline_width_unit": "MM",
    })  # fmt: skip


def _symbols(layers: list[str], kind: str) -> str:
    return "".join(
        f'<symbol type="{kind}" name="{number}" alpha="1" clip_to_extent="1" force_rhr="0">{layer}</symbol>'
        for number, layer in enumerate(layers)
    )


def _between(attribute: str, item: WidthClass) -> str:
    """The filter of open cracks in a width class."""
    above = f'"{attribute}" >= {item.least:g}'
    below = "" if item.below is None else f' AND "{attribute}" < {item.below:g}'
    return f'"joint" = 0 AND "sealed" = 0 AND {above}{below}'


def _ruled(classes: list[tuple[str, str, str]]) -> str:
    """QML that draws the lines of each filter with its symbol layer."""
    rules = "".join(
        f'<rule key="{{{n}}}" symbol="{n}" filter={quoteattr(chosen)} label={quoteattr(label)}/>'
        for n, (chosen, label, _) in enumerate(classes)
    )
    return _document(
        '<renderer-v2 type="RuleRenderer" symbollevels="0" enableorderby="0" forceraster="0">'
        f'<rules key="{{root}}">{rules}</rules>'
        f"<symbols>{_symbols([item[2] for item in classes], 'line')}</symbols></renderer-v2>"
    )


def _graduated(attribute: str, classes: list[tuple[float, float, str, str]], kind: str) -> str:
    ranges = "".join(
        f'<range symbol="{n}" lower="{low:.6f}" upper="{high:.6f}" label={quoteattr(label)} render="true"/>'
        for n, (low, high, label, _) in enumerate(classes)
    )
    return _document(
        f'<renderer-v2 type="graduatedSymbol" attr="{attribute}" graduatedMethod="GraduatedColor" symbollevels="0" '
        f'enableorderby="0" forceraster="0"><ranges>{ranges}</ranges>'
        f"<symbols>{_symbols([item[3] for item in classes], kind)}</symbols></renderer-v2>"
    )


def categorised(attribute: str, classes: list[tuple[str, str, str]], kind: str = "fill") -> str:
    """QML that draws each value of an attribute with its symbol layer.

    Args:
        attribute: a text column.
        classes: value, label and symbol layer (`line_symbol`, `fill_symbol`).
        kind: "line" or "fill".
    """
    categories = "".join(
        f'<category symbol="{n}" value={quoteattr(value)} label={quoteattr(label)} type="string" render="true"/>'
        for n, (value, label, _) in enumerate(classes)
    )
    return _document(
        f'<renderer-v2 type="categorizedSymbol" attr="{attribute}" symbollevels="0" enableorderby="0" '
        f'forceraster="0"><categories>{categories}</categories>'
        f"<symbols>{_symbols([item[2] for item in classes], kind)}</symbols></renderer-v2>"
    )


def _document(renderer: str) -> str:
    return (
        "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>"
        f'<qgis version="3.28.0" styleCategories="Symbology">{renderer}<blendMode>0</blendMode></qgis>'
    )
