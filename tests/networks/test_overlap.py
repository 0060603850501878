"""Overlap losses: ratios of areas, 0 for a perfect map; Lovász of hard maps is the Jaccard loss."""

import pytest
import torch

from exastorm.networks.overlap import dice_losses, lovasz_losses, overlap_loss


def sure(labels, num_classes=3):
    """Logits of a network that is certain of these classes."""
    return 200.0 * torch.nn.functional.one_hot(labels, num_classes).movedim(-1, 1).float()


def random_maps(seed, size=(1, 6, 8)):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 3, size, generator=generator)


def jaccard(found, truth, area, k):
    """1 - intersection / union of the areas of class k, as Python sums."""
    pairs = list(
        zip(
            found.flatten().tolist(), truth.flatten().tolist(), area.flatten().tolist(), strict=True
        )
    )
    both = sum(a for f, t, a in pairs if f == k and t == k)
    either = sum(a for f, t, a in pairs if k in (f, t))
    return 1 - both / either


@pytest.mark.parametrize("kind", ["dice", "lovasz"])
@pytest.mark.parametrize("classes", ["storms", "all"])
def test_a_perfect_map_loses_nothing_and_the_worst_everything(kind, classes):
    labels = random_maps(0)
    ones = torch.ones(labels.shape)
    loss = overlap_loss(sure(labels), labels, ones, kind, 1, classes=classes)
    assert loss.item() == pytest.approx(0.0, abs=1e-6)
    wrong = (labels + 1) % 3
    loss = overlap_loss(sure(wrong), labels, ones, kind, 1, classes=classes)
    assert loss.item() == pytest.approx(1.0, abs=1e-6)


def test_dice_by_hand():
    # Shares of the storm 0.5, 0.25, 0, 1; it is where they are 0.5 and 1. Dice: 2 (0.5 + 1) over
    # (1.75 + 2) = 0.8, loss 0.2. Areas 2, 1, 1, 1: 2 (1 + 1) over (2.25 + 3), loss 1.25 / 5.25.
    shares = torch.tensor([[[0.5, 0.25, 0.0, 1.0]]])
    truth = torch.tensor([[[True, False, False, True]]])
    assert dice_losses(shares, truth, torch.ones(1, 1, 4)).item() == pytest.approx(0.2)
    area = torch.tensor([[[2.0, 1.0, 1.0, 1.0]]])
    assert dice_losses(shares, truth, area).item() == pytest.approx(1.25 / 5.25)


def test_lovasz_by_hand():
    # Errors 0.5, 0.25, 0, 0 in that order. The first pixel, missed, leaves 1 of 2: the Jaccard loss
    # grows by 1/2. The second, a false alarm, leaves 1 of 3: by 1/6. 0.5 / 2 + 0.25 / 6 = 0.291667.
    shares = torch.tensor([[[0.5, 0.25, 0.0, 1.0]]])
    truth = torch.tensor([[[True, False, False, True]]])
    loss = lovasz_losses(shares, truth, torch.ones(1, 1, 4))
    assert loss.item() == pytest.approx(0.291667, abs=1e-6)
    # Areas 2, 1, 1, 1: 1 left of 3, by 2/3; then 1 of 4, by 1/12. 1/3 + 1/48 = 0.354167.
    loss = lovasz_losses(shares, truth, torch.tensor([[[2.0, 1.0, 1.0, 1.0]]]))
    assert loss.item() == pytest.approx(0.354167, abs=1e-6)


@pytest.mark.parametrize("classes", ["storms", "all"])
def test_lovasz_of_hard_maps_is_the_jaccard_loss(classes):
    # The extension equals the set function at its vertices, whatever the areas.
    for seed in range(5):
        found, truth = random_maps(seed), random_maps(seed + 10)
        area = torch.rand(truth.shape, generator=torch.Generator().manual_seed(seed)) + 0.1
        loss = overlap_loss(sure(found), truth, area, "lovasz", 1, classes=classes)
        chosen = (1, 2) if classes == "storms" else (0, 1, 2)
        expected = sum(jaccard(found, truth, area, k) for k in chosen) / len(chosen)
        assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_lovasz_is_convex_in_the_errors():
    # Errors are linear in the shares, so a mean of two maps loses no more than they do on average.
    generator = torch.Generator().manual_seed(2)
    truth = torch.rand(20, 1, 40, generator=generator) < 0.3
    area = torch.rand(20, 1, 40, generator=generator)
    one, two = torch.rand(2, 20, 1, 40, generator=generator)
    middle = lovasz_losses((one + two) / 2, truth, area)
    mean = (lovasz_losses(one, truth, area) + lovasz_losses(two, truth, area)) / 2
    assert (middle <= mean + 1e-6).all()
    assert (middle < mean - 1e-3).any()


def test_growth_keeps_its_digits_on_maps_of_a_million_pixels():
    # Seen alone a pixel grows the loss by about a millionth, the seventh digit of a ratio of areas.
    # The slopes against double precision, each to five digits.
    num_pixels = 768 * 1152
    generator = torch.Generator().manual_seed(0)
    truth = (torch.rand(num_pixels, generator=generator) < 0.01)[None, None]
    area = torch.rand(1, 1, num_pixels, generator=generator)
    shares = torch.rand(1, 1, num_pixels, generator=generator).requires_grad_()
    exact = shares.detach().double().requires_grad_()
    lovasz_losses(shares, truth, area).backward()
    lovasz_losses(exact, truth, area.double()).backward()
    torch.testing.assert_close(shares.grad.double(), exact.grad, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("kind", ["dice", "lovasz"])
def test_pixels_without_a_label_do_not_count(kind):
    labels = random_maps(3)
    logits = torch.randn(1, 3, 6, 8, generator=torch.Generator().manual_seed(3))
    logits.requires_grad_()
    area = torch.ones(labels.shape)
    labels[:, :, 5:], area[:, :, 5:] = -1, 0
    loss = overlap_loss(logits, labels, area, kind, 1)
    cut = overlap_loss(logits[..., :5], labels[..., :5], area[..., :5], kind, 1)
    assert loss.item() == pytest.approx(cut.item(), rel=1e-6)
    loss.backward()
    assert logits.grad[..., 5:].abs().max() == 0
    assert logits.grad[..., :5].abs().max() > 0


@pytest.mark.parametrize("kind", ["dice", "lovasz"])
def test_only_classes_that_a_sample_has_count(kind):
    # Class 1 is nowhere: the term is that of class 2 alone. Of neither there is nothing to lose.
    logits = torch.randn(1, 3, 6, 8, generator=torch.Generator().manual_seed(5)).requires_grad_()
    labels = torch.zeros(1, 6, 8, dtype=torch.long)
    labels[:, 2:4, 3:7] = 2
    ones = torch.ones(labels.shape)
    loss = overlap_loss(logits, labels, ones, kind, 1)
    shares = logits.softmax(dim=1)[:, 2:].flatten(2)
    one = (dice_losses if kind == "dice" else lovasz_losses)(
        shares, (labels == 2).flatten(1).unsqueeze(1), ones.flatten(1).unsqueeze(1)
    )
    assert loss.item() == pytest.approx(one.item(), rel=1e-6)
    for nothing in (
        overlap_loss(logits, torch.zeros_like(labels), ones, kind, 1),
        overlap_loss(logits, labels, torch.zeros_like(ones), kind, 1),
    ):
        (gradient,) = torch.autograd.grad(nothing, logits)
        assert nothing.item() == 0
        assert gradient.abs().max() == 0


@pytest.mark.parametrize("kind", ["dice", "lovasz"])
def test_each_sample_counts_alike(kind):
    # A sample of a tenth of the area has the same say.
    labels, logits = random_maps(7, (2, 6, 8)), torch.randn(2, 3, 6, 8)
    area = torch.ones(labels.shape)
    area[1] = 0.1
    both = overlap_loss(logits, labels, area, kind, 2)
    single = [overlap_loss(logits[[i]], labels[[i]], area[[i]], kind, 1).item() for i in (0, 1)]
    assert both.item() == pytest.approx(sum(single) / 2, rel=1e-5)


def test_dice_of_probabilities_is_least_where_the_shares_are_theirs():
    generator = torch.Generator().manual_seed(8)
    logits = torch.randn(1, 3, 6, 8, generator=generator)
    ones = torch.ones(1, 6, 8)
    assert overlap_loss(logits, logits.softmax(dim=1), ones, "dice", 1).item() == 0
    other = logits + 0.1 * torch.randn(1, 3, 6, 8, generator=generator)
    assert overlap_loss(other, logits.softmax(dim=1), ones, "dice", 1) > 0.01
    # Of 0 and 1 they are class maps.
    labels = random_maps(9)
    certain = torch.nn.functional.one_hot(labels, 3).movedim(-1, 1).float()
    soft = overlap_loss(logits, certain, ones, "dice", 1)
    assert soft.item() == overlap_loss(logits, labels, ones, "dice", 1).item()


@pytest.mark.parametrize("kind", ["dice", "lovasz"])
def test_descent_draws_the_storm(kind):
    labels = torch.zeros(1, 12, 12, dtype=torch.long)
    labels[:, 4:8, 3:9] = 1
    labels[:, 9:, :2] = 2
    logits = torch.zeros(1, 3, 12, 12, requires_grad=True)
    ones = torch.ones(labels.shape)
    optimizer = torch.optim.Adam([logits], lr=0.3)
    for _ in range(60):
        optimizer.zero_grad()
        overlap_loss(logits, labels, ones, kind, 1).backward()
        optimizer.step()
    assert torch.equal(logits.argmax(dim=1), labels)


def test_what_has_no_meaning_is_refused():
    logits, labels, ones = torch.zeros(1, 3, 2, 2), random_maps(0, (1, 2, 2)), torch.ones(1, 2, 2)
    with pytest.raises(ValueError, match="kind must be dice or lovasz, got 'none'"):
        overlap_loss(logits, labels, ones, "none", 1)
    with pytest.raises(ValueError, match="classes must be storms or all, got 'x'"):
        overlap_loss(logits, labels, ones, "dice", 1, classes="x")
    with pytest.raises(ValueError, match="kind must be dice where labels are probabilities"):
        overlap_loss(logits, torch.rand(1, 3, 2, 2), ones, "lovasz", 1)
