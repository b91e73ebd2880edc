"""The section Inputs: scan, tumour, the segments that form it, and an optional brain mask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from ..ResultAttributes import ROLE, SYNTHETIC
from ..Settings import PredictionInputs
from .SegmentList import SegmentList


class InputsPanel:
    """Scan and tumour are bound by the parameter node; segments and brain mask are connected here, by hand.

    Slicer has no connector for ``qMRMLSegmentSelectorWidget`` and ``QListWidget``. ``changed()``: the inputs changed.
    """

    def __init__(self, ui: Any, changed: Callable[[], None]) -> None:
        self._ui, self._changed = ui, changed
        self._parameters: Any = None
        self._updating = False
        self._segments = SegmentList(ui.segmentList, self._onTicked)
        ui.brainSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._onBrain)
        ui.brainSelector.connect("currentSegmentChanged(QString)", self._onBrain)

    def setParameterNode(self, parameters: Any) -> None:
        """Show the choices of another parameter node (None: none)."""
        self._parameters = None
        self._segments.setNode(None)
        self._parameters = parameters
        if parameters is not None:
            self._segments.setNode(parameters.tumour, parameters.tumourSegmentIds)
            self._storeTicks()
            self._showBrain()

    def update(self) -> None:
        """The parameter node changed: another tumour brings its own segments."""
        if self._parameters is None or self._updating:
            return
        if self._parameters.tumour is not self._segments.node:
            # Ids such as "Segment_1" mean something else in another segmentation, so they are not carried over.
            first = self._segments.node is None
            self._segments.setNode(self._parameters.tumour, self._parameters.tumourSegmentIds if first else ())
            self._storeTicks()
        self._showBrain()

    def reason(self) -> str:
        """Why these inputs cannot be predicted from; empty when they can."""
        parameters = self._parameters
        if parameters is None:
            return _("There is no scene.")
        if parameters.inputVolume is None:
            return _("Choose the scan before surgery under Inputs.")
        if parameters.inputVolume.GetAttribute(SYNTHETIC) == "1":
            return _("'{name}' is a synthetic image. Choose the patient's own scan.").format(
                name=parameters.inputVolume.GetName()
            )
        more = [volume for _sequence, volume in self._more()]
        chosen = (parameters.inputVolume, parameters.tumour, parameters.brainSegmentation, *more)
        result = next((node for node in chosen if node is not None and node.GetAttribute(ROLE)), None)
        if result is not None:
            sentence = _("'{name}' belongs to the result of a prediction. Choose the patient's own images.")
            return sentence.format(name=result.GetName())
        if parameters.inputVolume.GetImageData() is None:
            return _("The scan '{name}' holds no image.").format(name=parameters.inputVolume.GetName())
        if parameters.tumour is None:
            return _("Choose the segmentation of the tumour under Inputs.")
        if self._segments.count() == 0:
            return _("'{name}' has no segments. Draw the tumour first.").format(name=parameters.tumour.GetName())
        if not self._segments.tickedIds():
            return _("Tick at least one segment that is to be resected.")
        if parameters.inputVolume in more:
            return _("'{name}' is the pre-op scan already. Choose another T2 or FLAIR scan under Options.").format(
                name=parameters.inputVolume.GetName()
            )
        if parameters.brainSegmentation is not None and not parameters.brainSegmentId:
            return _("Choose the segment of the brain, or no brain mask.")
        return ""

    def inputs(self) -> PredictionInputs:
        """The nodes and segments to predict from."""
        parameters = self._parameters
        return PredictionInputs(
            parameters.inputVolume,
            parameters.tumour,
            tuple(self._segments.tickedIds()),
            parameters.brainSegmentation,
            parameters.brainSegmentId,
            {sequence: volume for sequence, volume in self._more() if volume is not None},
        )

    def _more(self) -> tuple[tuple[str, Any], ...]:
        """The other scans of the session, each None where none is chosen."""
        return ("T2w", self._parameters.t2Volume), ("FLAIR", self._parameters.flairVolume)

    def cleanup(self) -> None:
        """Let go of the scene."""
        self.setParameterNode(None)

    def _onTicked(self) -> None:
        self._storeTicks()
        self._changed()

    def _storeTicks(self) -> None:
        if self._parameters is None:
            return
        ticked = self._segments.tickedIds()
        if list(self._parameters.tumourSegmentIds) != ticked:
            self._write(tumourSegmentIds=ticked)

    def _onBrain(self, *_args: Any) -> None:
        if self._parameters is None or self._updating:
            return
        node, segment = self._ui.brainSelector.currentNode(), self._ui.brainSelector.currentSegmentID()
        self._write(brainSegmentation=node, brainSegmentId=segment if node is not None else "")
        self._changed()

    def _showBrain(self) -> None:
        selector, parameters = self._ui.brainSelector, self._parameters
        node, segment = parameters.brainSegmentation, parameters.brainSegmentId
        self._updating = True
        try:
            if selector.currentNode() is not node:
                selector.setCurrentNode(node)
            if node is not None and segment and selector.currentSegmentID() != segment:
                selector.setCurrentSegmentID(segment)
        finally:
            self._updating = False

    def _write(self, **values: Any) -> None:
        self._updating = True
        try:
            for name, value in values.items():
                setattr(self._parameters, name, value)
        finally:
            self._updating = False
