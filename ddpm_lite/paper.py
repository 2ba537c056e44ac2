"""The numbers of the paper and its code, in one place: prose and plots read them here, and tests hold the code to them.

Sources: "paper" is arXiv:2006.11239v2 (Ho, Jain, Abbeel 2020), "code" its published code (hojonathanho/diffusion),
"computed" follows from the other two in float64 and is worked out anew by the tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Fact:
    """One number: its value, its source ("paper", "code" or "computed"), and what it is or where it stands."""

    value: float | tuple[float, ...]
    source: str
    note: str


FACTS = MappingProxyType(
    {
        # The forward process
        "T": Fact(1000, "paper", "section 4; chosen without a sweep"),
        "beta_1": Fact(1e-4, "paper", "section 4"),
        "beta_T": Fact(0.02, "paper", "section 4; beta is linear in t"),
        "alpha_bar_T": Fact(
            4.035830e-5, "computed", "the signal's share of the variance that is left at t = T"
        ),
        "sqrt_alpha_bar_T": Fact(0.0063528, "computed", "the factor of x_0 in x_T"),
        "half_signal_t": Fact(259, "computed", "the last t at which alpha_bar_t is at least 1/2"),
        "snr_1": Fact(9999, "computed", "signal-to-noise ratio alpha_bar / (1 - alpha_bar) at t = 1"),
        "snr_T": Fact(4.036e-5, "computed", "the same at t = T"),
        "prior_bpd": Fact(1e-5, "paper", "section 4: L_T, about, in bits/dim on images in [-1, 1]"),
        # The posterior
        "beta_tilde_1": Fact(
            0.0, "computed", "exactly; the code takes log beta_tilde_2 in place of its logarithm"
        ),
        "beta_tilde_2": Fact(5.453188e-5, "computed", "DDPM eq. (7)"),
        "beta_tilde_488": Fact(0.00979157, "computed", "DDPM eq. (7)"),
        "beta_tilde_T": Fact(0.01999998, "computed", "DDPM eq. (7): next to beta_T"),
        # The weights of the bound, beta_t^2 / (2 sigma_t^2 alpha_t (1 - alpha_bar_t)) with sigma_t^2 = beta_t
        "vlb_weight_2": Fact(0.272692, "computed", "DDPM eq. (12)"),
        "vlb_weight_100": Fact(0.0100813, "computed", "DDPM eq. (12)"),
        "vlb_weight_T": Fact(0.0102045, "computed", "DDPM eq. (12)"),
        # The networks
        "cifar10_parameters": Fact(35_746_307, "computed", "from the code's CIFAR-10 network"),
        "lsun_parameters": Fact(
            113_673_219, "computed", "from the code's 256 x 256 network; the paper says 114M"
        ),
        "base": Fact(128, "code", "channels at full resolution"),
        "multipliers": Fact((1, 2, 2, 2), "code", "CIFAR-10"),
        "lsun_multipliers": Fact((1, 1, 2, 2, 4, 4), "code", "LSUN and CelebA-HQ, 256 x 256"),
        "blocks": Fact(2, "code", "residual blocks a level"),
        "attention_size": Fact(16, "paper", "appendix B: self-attention at 16 x 16"),
        "groups": Fact(32, "code", "of each group normalisation"),
        "dropout": Fact(0.1, "paper", "appendix B, CIFAR-10"),
        # Training and sampling
        "lr": Fact(2e-4, "paper", "appendix B; Adam"),
        "lr_256": Fact(2e-5, "paper", "appendix B, 256 x 256"),
        "batch": Fact(128, "paper", "appendix B, CIFAR-10"),
        "batch_256": Fact(64, "paper", "appendix B, larger images"),
        "ema": Fact(0.9999, "paper", "appendix B"),
        "steps": Fact(800_000, "paper", "appendix B, CIFAR-10"),
        "steps_per_second": Fact(21, "paper", "appendix B, on a TPU v3-8"),
        "training_hours": Fact(10.6, "paper", "appendix B, the same"),
        "sampling_seconds": Fact(17, "paper", "appendix B: a batch of 256 images"),
        "warmup": Fact(5000, "code", "steps over which the learning rate rises; not in the paper"),
        "grad_clip": Fact(1.0, "code", "largest gradient norm; not in the paper"),
        "rate_bpd": Fact(1.78, "paper", "section 4.3: L_1 + ... + L_T on CIFAR-10"),
        "distortion_bpd": Fact(1.97, "paper", "section 4.3: L_0"),
        "rmse": Fact(0.95, "paper", "section 4.3: on a scale from 0 to 255"),
    }
)

# Table 1, CIFAR-10: objective -> (Inception score, its standard error, FID, test NLL and train NLL in bits/dim)
TABLE_1 = MappingProxyType({"L": (7.67, 0.13, 13.51, 3.70, 3.69), "L_simple": (9.46, 0.11, 3.17, 3.75, 3.72)})
TEST_SET_FID = 5.24  # of L_simple; the 3.17 of Table 1 is measured against the training set

# Table 2: (predicted, objective, variance) -> (Inception score, FID); None where training was unstable
TABLE_2 = MappingProxyType(
    {
        ("mu_tilde", "L", "learned"): (7.28, 23.69),
        ("mu_tilde", "L", "fixed"): (8.06, 13.22),
        ("mu_tilde", "mse", "fixed"): None,
        ("eps", "L", "learned"): None,
        ("eps", "L", "fixed"): (7.67, 13.51),
        ("eps", "L_simple", "fixed"): (9.46, 3.17),
    }
)

# Table 3: FID on LSUN 256 x 256
TABLE_3 = MappingProxyType({"bedroom": 6.36, "bedroom, large": 4.90, "church": 7.89, "cat": 19.75})

# Table 4: (reverse steps made, rate in bits/dim, distortion as RMSE on a scale from 0 to 255)
TABLE_4 = ((1000, 1.77581, 0.95136), (900, 0.11994, 12.02277), (500, 0.00716, 38.03236))

# sqrt(alpha_bar_T) of a linear schedule that keeps the paper's beta_1 and beta_T but has only T steps: how much of
# the image is left where the sampler assumes pure noise.
SIGNAL_LEFT = MappingProxyType({50: 0.776, 150: 0.468, 250: 0.282, 300: 0.219, 1000: 0.0064})
