"""What the user asks "what if" about: planned resections, structures to keep away from, days after surgery."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

if TYPE_CHECKING:
    from slicer import vtkMRMLSegmentationNode

LEAST_MARGIN_MM, MOST_MARGIN_MM = -5.0, 10.0
MOST_SPARED_MM = 50.0
MOST_PLANS, MOST_STRUCTURES, MOST_DAYS = 12, 12, 24
FIRST_DAY, LAST_DAY = 0.0, 365.0
"""The limits of the backend's request; beyond them it would refuse the whole job."""
USUAL_DAYS = (1.0, 14.0, 60.0, 180.0)


@dataclass(frozen=True)
class SegmentReference:
    """One segment of the user's. ``segmentation`` is None when the scene does not hold it any more."""

    segmentation: vtkMRMLSegmentationNode | None
    segmentId: str

    @property
    def isThere(self) -> bool:
        """Whether the segment is in the scene."""
        node = self.segmentation
        return node is not None and node.GetScene() is not None and self._segment() is not None

    @property
    def name(self) -> str:
        """What the user calls the segment; its id when it is gone."""
        segment = self._segment() if self.segmentation is not None else None
        return (segment.GetName() if segment is not None else "") or self.segmentId

    def _segment(self) -> Any:
        return self.segmentation.GetSegmentation().GetSegment(self.segmentId)


@dataclass(frozen=True)
class SparedSegment:
    """Everything within ``distanceMm`` (0 to 50) of ``segment`` is left."""

    segment: SegmentReference
    distanceMm: float = 5.0


@dataclass(frozen=True)
class ResectionPlan:
    """Either ``segment`` is taken, or the tumour and ``marginMm`` around it (negative: that much of its rim stays).

    What ``spared`` names is taken out of either. Exactly one of ``segment`` and ``marginMm`` is not None.
    """

    name: str
    marginMm: float | None = 0.0
    segment: SegmentReference | None = None
    spared: tuple[SparedSegment, ...] = ()

    def problem(self) -> str:
        """Why this plan cannot be predicted, as a sentence; empty when it can."""
        if self.segment is not None and not self.segment.isThere:
            sentence = _("The segment of the plan '{plan}' is not in the scene any more. Choose another one.")
            return sentence.format(plan=self.name)
        if (self.segment is None) == (self.marginMm is None):
            sentence = _("The plan '{plan}' needs a segment that is taken, or a margin around the tumour.")
            return sentence.format(plan=self.name)
        for one in self.spared:
            if not one.segment.isThere:
                sentence = _(
                    "A segment that the plan '{plan}' is to leave is not in the scene any more. Remove it there."
                )
                return sentence.format(plan=self.name)
            if self.segment is not None and self.segment == one.segment:
                sentence = _("The plan '{plan}' is to take and to leave the segment '{segment}'. Choose one of them.")
                return sentence.format(plan=self.name, segment=one.segment.name)
        return ""

    def description(self) -> str:
        """The plan in words."""
        if self.segment is not None:
            text = _("takes '{segment}'").format(segment=self.segment.name)
        elif not self.marginMm:
            text = _("takes the tumour")
        elif self.marginMm > 0:
            text = _("takes the tumour and {margin:g} mm around it").format(margin=self.marginMm)
        else:
            text = _("takes the tumour but {margin:g} mm of its rim").format(margin=-self.marginMm)
        left = [
            _("{distance:g} mm around '{segment}'").format(distance=one.distanceMm, segment=one.segment.name)
            for one in self.spared
        ]
        return text + _(", leaves {what}").format(what=", ".join(left)) if left else text

    def withMargin(self, marginMm: float) -> ResectionPlan:
        """The same plan as a margin around the tumour, within the limits, to a tenth of a millimetre."""
        within = min(max(round(float(marginMm), 1), LEAST_MARGIN_MM), MOST_MARGIN_MM)
        return replace(self, marginMm=within, segment=None)

    def withSegment(self, segment: SegmentReference) -> ResectionPlan:
        """The same plan, taking ``segment``."""
        return replace(self, marginMm=None, segment=segment)

    def sparing(self, segment: SegmentReference, distanceMm: float) -> ResectionPlan:
        """The same plan, leaving so much around ``segment``, whatever it said about that segment before."""
        within = min(max(round(float(distanceMm), 1), 0.0), MOST_SPARED_MM)
        kept = tuple(one for one in self.spared if one.segment != segment)
        return replace(self, spared=(*kept, SparedSegment(segment, within)))

    def notSparing(self, segment: SegmentReference) -> ResectionPlan:
        """The same plan without what it said about leaving ``segment``."""
        return replace(self, spared=tuple(one for one in self.spared if one.segment != segment))


@dataclass(frozen=True)
class PlanList:
    """Everything that the sections "What if" and "Through time" ask. Every change makes a new list."""

    plans: tuple[ResectionPlan, ...] = ()
    structures: tuple[SegmentReference, ...] = ()
    days: tuple[float, ...] = ()

    def problem(self) -> str:
        """The first reason why this cannot be predicted; empty when it can."""
        found = next((text for plan in self.plans if (text := plan.problem())), "")
        if not found and not all(one.isThere for one in self.structures):
            found = _("A structure to measure the distance to is not in the scene any more. Untick it under 'What if'.")
        return found

    def added(self) -> PlanList:
        """With one more plan: the whole tumour. Raises ``ValueError`` with a sentence when there are too many."""
        return self._inserted(len(self.plans), ResectionPlan(self._freeName(_("Plan {number}"))))

    def duplicated(self, index: int) -> PlanList:
        """With a copy of the plan ``index`` (from 0) after it; raises ``ValueError`` when there are too many."""
        plan = self.plans[index]
        name = self._freeName(_("{name}, copy {number}"), plan.name)
        return self._inserted(index + 1, replace(plan, name=name))

    def removed(self, index: int) -> PlanList:
        """Without the plan ``index``."""
        return replace(self, plans=self.plans[:index] + self.plans[index + 1 :])

    def renamed(self, index: int, name: str) -> PlanList:
        """With another name for the plan ``index``; raises ``ValueError`` for an empty one or that of another plan."""
        name = " ".join(name.split())
        others = {plan.name.casefold() for number, plan in enumerate(self.plans) if number != index}
        if not name:
            raise ValueError(_("A plan needs a name."))
        if name.casefold() in others:
            raise ValueError(_("There is a plan called '{name}' already. Choose another name.").format(name=name))
        return self.changed(index, replace(self.plans[index], name=name))

    def changed(self, index: int, plan: ResectionPlan) -> PlanList:
        """With ``plan`` in the place of the plan ``index``."""
        return replace(self, plans=(*self.plans[:index], plan, *self.plans[index + 1 :]))

    def measuring(self, segment: SegmentReference, wanted: bool) -> PlanList:
        """With or without the distance to ``segment``; raises ``ValueError`` when there are too many of them."""
        kept = tuple(one for one in self.structures if one != segment)
        if wanted and len(kept) >= MOST_STRUCTURES:
            raise ValueError(_("The distance to at most {most} structures is told.").format(most=MOST_STRUCTURES))
        return replace(self, structures=(*kept, segment) if wanted else kept)

    def withDays(self, days: Sequence[float]) -> PlanList:
        """With these days after surgery, sorted, each once; raises ``ValueError`` beyond 0 to 365 or more than 24."""
        sorted_ = tuple(sorted({round(float(day), 1) for day in days}))
        if any(not FIRST_DAY <= day <= LAST_DAY for day in sorted_):
            raise ValueError(
                _("A day after surgery is a number from {first:g} to {last:g}.").format(first=FIRST_DAY, last=LAST_DAY)
            )
        if len(sorted_) > MOST_DAYS:
            raise ValueError(_("At most {most} days can be predicted at once.").format(most=MOST_DAYS))
        return replace(self, days=sorted_)

    def _inserted(self, place: int, plan: ResectionPlan) -> PlanList:
        if len(self.plans) >= MOST_PLANS:
            raise ValueError(
                _("At most {most} plans can be predicted at once. Remove one first.").format(most=MOST_PLANS)
            )
        return replace(self, plans=(*self.plans[:place], plan, *self.plans[place:]))

    def _freeName(self, pattern: str, name: str = "") -> str:
        taken = {plan.name.casefold() for plan in self.plans}
        numbers = range(1, len(self.plans) + 2)
        names = (pattern.format(number=number, name=name) for number in numbers)
        return next(one for one in names if one.casefold() not in taken)
