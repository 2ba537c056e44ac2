"""Measurements beside two peers, in one run: `python course.py bench`, or `python -m benchmarks [NAMES] [--quick]`.

measure.py   timing in turns (A B A B), medians, ratios, FLOPs, what machine this is
models.py    networks of the same size: ours, diffusers', denoising-diffusion-pytorch's
training.py  sampling.py  memory.py  slider.py   one subject each: run(options) -> tables
report.py    tables as Markdown; RESULTS.md is written by the command, never by hand
"""
