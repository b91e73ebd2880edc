"""The section Through time: the days to predict, and the series of those that were."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import slicer
import slicer.util
from slicer.i18n import tr as _

from ..PlanList import USUAL_DAYS, PlanList
from ..PlansInScene import keepPlans, plansOf
from ..SeriesNodes import showSequenceToolBar
from ..Settings import PredictionSettings
from .Styles import WARNING_TEXT

FIGURES = ("cavity_ml", "blood_ml", "air_ml", "oedema_ml", "residual_ml")


class TimePanel:
    """``settings()``: what the rest of the panel says; ``predict``: start a prediction with settings."""

    def __init__(
        self, ui: Any, settings: Callable[[], PredictionSettings], predict: Callable[[PredictionSettings], None]
    ) -> None:
        self._ui, self._settings, self._predict = ui, settings, predict
        self._parameters: Any = None
        self._series: Any = None
        self._reason = self._problem = ""
        self._days: tuple[float, ...] = ()
        self._filling = False
        ui.daysProblemLabel.styleSheet = WARNING_TEXT
        ui.daysLineEdit.connect("editingFinished()", lambda *_args: self._onDays())
        ui.usualDaysButton.connect("clicked(bool)", lambda *_args: self._keep(USUAL_DAYS))
        ui.predictDaysButton.connect("clicked(bool)", lambda *_args: self._onPredict())
        ui.daySlider.connect("valueChanged(int)", self._onDay)
        ui.showSeriesButton.connect("clicked(bool)", lambda *_args: self._onShow())
        ui.playSeriesButton.connect("clicked(bool)", lambda *_args: self._onPlay())
        self.show(None)

    def setParameterNode(self, parameters: Any) -> None:
        """Show the days of another parameter node (None: none)."""
        self._parameters = parameters
        self._problem = ""
        self.update()
        self._showDays()

    def update(self) -> None:
        """The parameter node changed."""
        days = plansOf(self._parameters.parameterNode).days if self._parameters is not None else ()
        if days != self._days:
            self._days, self._problem = days, ""
            self._showDays()

    def setReason(self, reason: str) -> None:
        """Why nothing can be predicted now; empty when it can."""
        self._reason = reason
        self._showButton()

    def show(self, nodes: Any) -> None:
        """Another prediction is shown (None: none)."""
        self._series = getattr(nodes, "series", None)
        self._ui.seriesWidget.visible = self._series is not None
        if self._series is None:
            return
        self._filling = True
        self._ui.daySlider.maximum = len(self._series.days) - 1
        self._ui.daySlider.value = self._series.chosen
        self._filling = False
        self._showDay()

    def _showDays(self) -> None:
        self._ui.daysLineEdit.text = ", ".join(f"{day:g}" for day in self._days)
        self._showButton()

    def _showButton(self) -> None:
        ui = self._ui
        reason = self._reason or self._problem or ("" if self._days else _("Enter the days first."))
        ui.predictDaysButton.enabled = not reason
        ui.predictDaysButton.toolTip = reason or _("Predict a volume for every day.")
        ui.daysProblemLabel.text = self._problem
        ui.daysProblemLabel.visible = bool(self._problem)

    def _onDays(self) -> None:
        try:
            self._keep(daysIn(self._ui.daysLineEdit.text))
        except ValueError as error:
            self._problem = str(error)
            self._showButton()

    def _keep(self, days: tuple[float, ...]) -> None:
        """Store the days in the scene; raises ``ValueError`` for days that cannot be predicted."""
        plans = plansOf(self._parameters.parameterNode) if self._parameters is not None else PlanList()
        plans = plans.withDays(days)
        self._days, self._problem = plans.days, ""
        if self._parameters is not None:
            keepPlans(self._parameters.parameterNode, plans)
        self._showDays()

    def _onPredict(self) -> None:
        if not self._reason and not self._problem and self._days:
            self._predict(replace(self._settings(), series=self._days))

    def _onDay(self, number: int, *_args: Any) -> None:
        if not self._filling and self._series is not None:
            self._series.choose(number)
            self._showDay()

    def _showDay(self) -> None:
        series, number = self._series, self._series.chosen
        self._ui.dayLabel.text = _("Day {day:g}").format(day=series.days[number])
        record = series.records[number] if number < len(series.records) else {}
        self._ui.dayFiguresLabel.text = figuresText(record)
        self._ui.dayFiguresLabel.visible = bool(self._ui.dayFiguresLabel.text)

    def _onShow(self) -> None:
        if self._series is not None:
            slicer.util.setSliceViewerLayers(background=self._series.volume)

    def _onPlay(self) -> None:
        if self._series is not None and not showSequenceToolBar(self._series):
            self._ui.dayFiguresLabel.text = _("Slicer's sequence tool bar is not there; use the slider.")
            self._ui.dayFiguresLabel.visible = True


def daysIn(text: str) -> tuple[float, ...]:
    """The numbers in ``text``; raises ``ValueError`` with a sentence for a word that is none."""
    words = [word for word in re.split(r"[,;\s]+", text) if word]
    for word in words:
        if not re.fullmatch(r"-?\d+(\.\d+)?", word):
            raise ValueError(_("'{word}' is no number of days. Write them as 1, 14, 60.").format(word=word))
    return tuple(float(word) for word in words)


def figuresText(record: Mapping[str, Any]) -> str:
    """The volumes of one day in words; empty where none is known."""
    names = (_("cavity"), _("blood"), _("air"), _("oedema"), _("residual tumour"))
    parts = [
        _("{name} {value:.1f} ml").format(name=name, value=record[field])
        for field, name in zip(FIGURES, names, strict=True)
        if isinstance(record.get(field), (int, float))
    ]
    return ", ".join(parts)
