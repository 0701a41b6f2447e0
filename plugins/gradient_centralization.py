"""Gradient centralization."""

from __future__ import annotations

from tlresearch import Clock, Method, Model, register


@register("method", "gradient_centralization")
class GradientCentralization(Method):
    """Takes the mean out of every weight's gradient (Yong et al., 2020, arXiv:2004.01461, equation 1).

    ∇w_i ← ∇w_i − mean(∇w_i) for each output unit i of a weight with two dimensions or more (linear, convolution and,
    as in the authors' code, embedding); biases and scales are left alone.
    """

    def on_gradients(self, model: Model, clock: Clock) -> None:
        for parameter in model.parameters():
            gradient = parameter.grad
            if gradient is not None and gradient.ndim > 1:
                gradient -= gradient.mean(dim=tuple(range(1, gradient.ndim)), keepdim=True)
