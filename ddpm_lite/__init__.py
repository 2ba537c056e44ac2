"""ddpm-lite: "Denoising Diffusion Probabilistic Models" (Ho, Jain, Abbeel 2020), built from nothing.

Equation numbers in this package are those of arXiv:2006.11239v2.
"""

__version__ = "0.1.0"
