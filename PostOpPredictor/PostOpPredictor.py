"""The module "Post-Operative Prediction"; its pieces are in the folder PostOpPredictorModule beside this file."""

import importlib.util
import os
import sys

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import ScriptedLoadableModule

# Slicer installs the backend beside this file; in a source checkout it lies one folder up.
if importlib.util.find_spec("PostOpPredictorLib") is None:
    sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# "Reload" loads only this file anew: forget the pieces, so that they follow.
if hasattr(getattr(slicer, "modules", None), "PostOpPredictorInstance"):
    for name in [name for name in sys.modules if name.partition(".")[0] == "PostOpPredictorModule"]:
        del sys.modules[name]

from PostOpPredictorModule.CompareLayout import leaveSavedLayout
from PostOpPredictorModule.Logic import PostOpPredictorLogic
from PostOpPredictorModule.PredictionRun import RunCallbacks
from PostOpPredictorModule.SampleData import registerSampleData
from PostOpPredictorModule.SelfTest import PostOpPredictorTest
from PostOpPredictorModule.Settings import PredictionSettings
from PostOpPredictorModule.Widget import PostOpPredictorWidget

__all__ = [
    "PostOpPredictor",
    "PostOpPredictorLogic",
    "PostOpPredictorTest",
    "PostOpPredictorWidget",
    "PredictionSettings",
    "RunCallbacks",
]


class PostOpPredictor(ScriptedLoadableModule):
    """Describes the module to Slicer."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Post-Operative Prediction")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Image Synthesis")]
        parent.dependencies = ["Volumes", "Segmentations", "SubjectHierarchy"]
        parent.contributors = ["The PostOpPredictor contributors"]
        parent.helpText = _(
            "Predicts how the brain may look after the resection of a glioma: from the MRI before surgery and the "
            "tumour's segmentation, following operated patients with a similar tumour, who are shown beside it.<br>"
            "The results are synthetic images for research. They are not for clinical decisions."
        )
        parent.acknowledgementText = _(
            "The method is that of the paper {paper} (MICCAI 2025). The MNI template is ICBM152 2009a of the McConnell "
            "Brain Imaging Centre, Montreal Neurological Institute."
        ).format(paper="<i>Pre-to-Post Operative MRI Generation with Retrieval-based Visual In-Context Learning</i>")
        slicer.app.connect("startupCompleted()", registerSampleData)
        slicer.app.connect("startupCompleted()", leaveSavedLayout)
