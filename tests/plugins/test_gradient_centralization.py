import torch


def test_the_mean_of_every_output_unit_is_taken_out(plugin, model, clock):
    model.aux["extra"] = torch.nn.Conv2d(1, 2, (1, 2))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    model.backbone.stem.weight.grad = torch.tensor([[1.0, 3.0], [0.0, 0.0], [-2.0, 4.0]])
    model.backbone.norm.bias.grad = torch.tensor([1.0, 2.0, 6.0])
    model.aux["extra"].weight.grad = torch.tensor([1.0, 5.0, 2.0, 2.0]).view(2, 1, 1, 2)
    model.head("fine").linear.weight.grad = None
    plugin("gradient_centralization").GradientCentralization().on_gradients(model, clock)
    assert model.backbone.stem.weight.grad.tolist() == [[-1.0, 1.0], [0.0, 0.0], [-3.0, 3.0]]
    assert model.backbone.norm.bias.grad.tolist() == [1.0, 2.0, 6.0]
    assert model.aux["extra"].weight.grad.flatten().tolist() == [-2.0, 2.0, 0.0, 0.0]
    assert model.head("fine").linear.weight.grad is None
