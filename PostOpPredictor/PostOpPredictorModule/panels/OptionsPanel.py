"""The section Options: bound by the parameter node; here is only what depends on another choice."""

from __future__ import annotations

from typing import Any

from ..ParameterNode import Mode, chosenFolder
from ..Settings import PredictionSettings


class OptionsPanel:
    """Turns the parameters into the settings of a prediction, and back."""

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        self._parameters: Any = None

    def setParameterNode(self, parameters: Any) -> None:
        """Show the choices of another parameter node (None: none)."""
        self._parameters = parameters
        self.update()

    def update(self) -> None:
        """Only an average has a number of samples."""
        averages = self._parameters is not None and self._parameters.mode == Mode.AVERAGE
        self._ui.samplesSpinBox.enabled = averages
        self._ui.samplesLabel.enabled = averages

    def settings(self) -> PredictionSettings:
        """What the user chose, here and in the section of model, library and device."""
        parameters = self._parameters
        return PredictionSettings(
            modelFolder=chosenFolder(parameters.modelFolder),
            libraryFolder=chosenFolder(parameters.libraryFolder),
            device=parameters.device.value,
            precedents=parameters.precedents,
            mode=parameters.mode.value,
            samples=parameters.samples if parameters.mode == Mode.AVERAGE else None,
            seed=parameters.seed,
            sequence=parameters.sequence.value,
            uncertainty=parameters.uncertainty,
            noiseSamples=parameters.noiseSamples,
            follow=parameters.followedCase or None,
            exclude=tuple(parameters.excludedCases),
        )

    def adopt(self, settings: PredictionSettings) -> None:
        """Take over proposed settings, so that the panel shows what is used."""
        parameters = self._parameters
        parameters.device = type(parameters.device)(settings.device)
        parameters.mode = Mode(settings.mode)
        parameters.uncertainty, parameters.noiseSamples = settings.uncertainty, settings.noiseSamples
        if settings.samples is not None:
            parameters.samples = settings.samples
