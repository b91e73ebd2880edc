"""Q_comp: the precedent's resection region pasted into the query."""

from __future__ import annotations

import pytest
import torch
from tiny_models import some_triplets
from torch import Tensor

from PostOpPredictorLib.model.composite import cavity_box, composite


@pytest.fixture
def an_outcome() -> Tensor:
    """Two slices: one with two separate holes (cavity and blood) and tissue labels around, one without a hole."""
    outcome = torch.zeros(2, 16, 16, dtype=torch.uint8)
    outcome[0, 3:5, 4:7] = 1
    outcome[0, 9, 10] = 3
    outcome[0, 0, 0] = 2
    outcome[0, 15, 15] = 4
    outcome[1, 5:9, 5:9] = 2
    return outcome


@pytest.fixture
def images() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.rand(2, 1, 16, 16, generator=generator), torch.rand(2, 1, 16, 16, generator=generator)


def test_the_composite_is_the_papers_formula_pixel_by_pixel(an_outcome: Tensor, images: tuple[Tensor, Tensor]) -> None:
    query, post = images
    made = composite(query, post, an_outcome)
    for b in range(2):
        hole = [(y, x) for y in range(16) for x in range(16) if int(an_outcome[b, y, x]) in (1, 3, 5)]
        for y in range(16):
            for x in range(16):
                inside = bool(hole) and (
                    min(p[0] for p in hole) <= y <= max(p[0] for p in hole)
                    and min(p[1] for p in hole) <= x <= max(p[1] for p in hole)
                )
                assert made[b, 0, y, x] == (post if inside else query)[b, 0, y, x], (b, y, x)


def test_the_box_spans_all_holes_and_leaves_residual_tumour_and_oedema_out(an_outcome: Tensor) -> None:
    box = cavity_box(an_outcome)
    expected = torch.zeros(2, 1, 16, 16)
    expected[0, 0, 3:10, 4:11] = 1
    assert torch.equal(box, expected)


def test_air_counts_as_part_of_the_hole() -> None:
    outcome = torch.zeros(1, 8, 8, dtype=torch.uint8)
    outcome[0, 2, 3] = 5
    assert cavity_box(outcome).nonzero().tolist() == [[0, 0, 2, 3]]


@pytest.mark.parametrize("soft_edge", [0, 2])
def test_without_a_cavity_the_composite_is_the_query_itself(images: tuple[Tensor, Tensor], soft_edge: int) -> None:
    query, post = images
    assert torch.equal(composite(query, post, torch.zeros(2, 16, 16, dtype=torch.uint8), soft_edge), query)


def test_a_soft_edge_fades_from_precedent_to_query() -> None:
    outcome = torch.zeros(1, 32, 32, dtype=torch.uint8)
    outcome[0, 10:22, 10:22] = 1
    query, post = torch.zeros(1, 1, 32, 32), torch.ones(1, 1, 32, 32)
    profile = composite(query, post, outcome, soft_edge_px=3)[0, 0, 16]
    assert profile[13:19].eq(1).all(), "the middle of the box is the precedent's"
    assert profile[:7].eq(0).all() and profile[25:].eq(0).all(), "farther than the edge it is the query"
    rising = profile[6:14]
    assert (rising.diff() > 0).all(), "in between it rises without a jump"
    assert rising.diff().max() < 0.2


def test_the_query_keeps_its_own_pixels_outside_the_box() -> None:
    triplets = some_triplets()
    made = composite(triplets.query_pre, triplets.instruction_post, triplets.instruction_outcome)
    outside = cavity_box(triplets.instruction_outcome) == 0
    assert torch.equal(made[outside], triplets.query_pre[outside])
    assert not torch.equal(made, triplets.query_pre)
