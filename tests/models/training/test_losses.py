import pytest
import torch

from models.networks import build_network
from models.networks.timm_backbone import DISTRIBUTION_MONTHS, AgeOutputs, NoAgeError
from models.training.losses import AgeLoss, ClassLoss, month_targets
from models.training.recipe import Loss
from schemas.releases import NetworkHead, SexMode

BOY = torch.tensor([[1.0]])


def said(
    months: float | None = None, *, logits: torch.Tensor | None = None, sex: float | None = None
) -> AgeOutputs:
    return AgeOutputs(
        months=None if months is None else torch.tensor([months]),
        month_logits=logits,
        sex_logit=None if sex is None else torch.tensor([sex]),
    )


@pytest.mark.parametrize(("kind", "loss"), [("l1", 0.5), ("mse", 0.25)])
def test_an_error_of_half_a_deviation_costs_what_its_norm_says(kind: str, loss: float) -> None:
    wanted = AgeLoss(Loss.model_validate({"age": kind}), age_sd_months=40)

    assert float(wanted(said(120), BOY, torch.tensor([100.0]))) == pytest.approx(loss)


def test_a_distribution_is_best_where_the_label_is() -> None:
    loss = AgeLoss(Loss(age="distribution", distribution_sd_months=3), age_sd_months=40)
    label = torch.tensor([100.0])
    near, far = (torch.zeros(1, DISTRIBUTION_MONTHS) for _ in range(2))
    near[0, 100], far[0, 140] = 5.0, 5.0

    assert loss(said(100, logits=near), BOY, label) < loss(said(140, logits=far), BOY, label)


def test_wanted_months_are_probabilities_whose_mean_is_the_label() -> None:
    for spread in (0.0, 4.0):
        wanted = month_targets(torch.tensor([100.0]), sd_months=spread)

        assert float(wanted.sum()) == pytest.approx(1)
        assert float(wanted[0] @ torch.arange(DISTRIBUTION_MONTHS).float()) == pytest.approx(100)


def test_the_weights_of_age_and_sex_are_those_of_the_recipe() -> None:
    loss = AgeLoss(Loss(age_weight=2.0, sex_weight=3.0), age_sd_months=40)

    value = loss(said(140, sex=0.0), BOY, torch.tensor([100.0]))

    assert float(value) == pytest.approx(2.0 * 1.0 + 3.0 * float(torch.tensor(2.0).log()))


def test_learned_doubt_makes_a_bad_task_count_less() -> None:
    loss = AgeLoss(Loss(learned_weights=True), age_sd_months=1)
    optimizer = torch.optim.SGD(loss.parameters(), lr=0.01)

    loss(said(110, sex=0.0), BOY, torch.tensor([100.0])).backward()
    optimizer.step()

    doubt_of_age, doubt_of_sex = loss.log_variances.tolist()
    assert doubt_of_age > doubt_of_sex


def test_a_rare_class_counts_more_when_classes_are_balanced() -> None:
    logits, labels = torch.tensor([[2.0, 0.0], [2.0, 0.0]]), torch.tensor([0, 1])
    weights = torch.tensor([0.2, 1.8])

    plain = ClassLoss(Loss(), weights=weights)(logits, labels)
    balanced = ClassLoss(Loss(class_weights="balanced"), weights=weights)(logits, labels)

    assert balanced > plain


def test_the_f_measure_is_lost_by_whoever_finds_no_case() -> None:
    loss = ClassLoss(Loss(classes="f_measure"), weights=torch.ones(2))
    labels = torch.tensor([0, 1])

    right = loss(torch.tensor([[9.0, -9.0], [-9.0, 9.0]]), labels)
    blind = loss(torch.tensor([[9.0, -9.0], [9.0, -9.0]]), labels)

    assert float(right) == pytest.approx(0, abs=1e-3)
    assert float(blind) > 0.6


@pytest.mark.parametrize("mode", list(SexMode))
def test_each_sex_mode_says_what_it_should_and_hears_what_it_may(mode: SexMode) -> None:
    head = NetworkHead(dense_features=(16,), sex=mode, sex_classifier=(8,))
    network = build_network("resnet10t", age_mean_months=120, age_sd_months=40, head=head).eval()
    feature_map = network.features(torch.rand(1, 1, 64, 64))

    boy = network.outputs(feature_map, torch.ones(1, 1))
    girl = network.outputs(feature_map, torch.zeros(1, 1))

    assert (boy.sex_logit is not None) == (mode not in (SexMode.INPUT, SexMode.NONE))
    assert (boy.months is None) == (mode is SexMode.ONLY)
    if boy.months is not None and girl.months is not None:
        hears = mode in (SexMode.INPUT, SexMode.EXPLICIT_TRUE)
        assert torch.equal(boy.months, girl.months) == (not hears)


def test_a_network_of_the_sex_alone_gives_no_age() -> None:
    head = NetworkHead(sex=SexMode.ONLY)
    network = build_network("resnet10t", age_mean_months=120, age_sd_months=40, head=head)

    with pytest.raises(NoAgeError, match="no age"):
        network(torch.rand(2, 1, 64, 64), torch.ones(2, 1))


def test_the_age_of_a_distribution_is_its_mean() -> None:
    head = NetworkHead(distribution=True)
    network = build_network("resnet10t", age_mean_months=120, age_sd_months=40, head=head).eval()

    outputs = network.outputs(network.features(torch.rand(1, 1, 64, 64)), torch.ones(1, 1))

    assert outputs.month_logits is not None
    assert outputs.months is not None
    shares = outputs.month_logits.softmax(dim=1)
    expected = (shares * torch.arange(DISTRIBUTION_MONTHS)).sum()
    assert torch.allclose(outputs.months, expected, atol=1e-3)
